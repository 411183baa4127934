package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// DefaultDetachKeys are those of docker: Ctrl-P, Ctrl-Q.
const DefaultDetachKeys = "ctrl-p,ctrl-q"

// ErrDetached is the error of a session that was left and goes on.
var ErrDetached = errors.New("detached")

// ParseDetachKeys reads keys as docker writes them: single characters and
// "ctrl-x", separated by commas.
func ParseDetachKeys(text string) ([]byte, error) {
	var keys []byte
	for key := range strings.SplitSeq(text, ",") {
		name, ctrl := strings.CutPrefix(key, "ctrl-")
		switch {
		case len(name) != 1, ctrl && (name[0] < '@' || name[0] > '_') && (name[0] < 'a' || name[0] > 'z'):
			return nil, fmt.Errorf("%q is neither a character nor ctrl- and a letter", key)
		case ctrl:
			keys = append(keys, name[0]&0x1f)
		default:
			keys = append(keys, name[0])
		}
	}
	return keys, nil
}

// holdFor is how long a key is held back that may be the first of the detach keys.
const holdFor = 400 * time.Millisecond

// detachReader passes on what is typed until the detach keys are, which it keeps.
// Those before the last are held back until the next key, or a moment has passed:
// then they were meant for the command.
type detachReader struct {
	ctx  context.Context // of the session
	from io.Reader
	keys []byte
	held int
	out  []byte // read, not yet passed on
	err  error

	typed chan typed
	late  *time.Timer // runs while keys are held
}

// typed is what one read gave.
type typed struct {
	keys []byte
	err  error
}

func newDetachReader(ctx context.Context, from io.Reader, keys []byte) *detachReader {
	d := &detachReader{ctx: ctx, from: from, keys: keys, typed: make(chan typed), late: time.NewTimer(time.Hour)}
	d.late.Stop()
	go d.read()
	return d
}

// read reads until the end, or until its reading is not wanted any more.
func (d *detachReader) read() {
	for {
		buf := make([]byte, 4096)
		n, err := d.from.Read(buf)
		select {
		case d.typed <- typed{buf[:n], err}:
		case <-d.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// Read reads what is typed; it fails with ErrDetached at the detach keys.
func (d *detachReader) Read(p []byte) (int, error) {
	for len(d.out) == 0 && d.err == nil {
		select {
		case t := <-d.typed:
			d.take(t)
		case <-d.late.C:
			d.release()
		case <-d.ctx.Done():
			d.err = context.Cause(d.ctx)
		}
	}
	n := copy(p, d.out)
	if d.out = d.out[n:]; n > 0 {
		return n, nil
	}
	return 0, d.err
}

func (d *detachReader) take(t typed) {
	for _, b := range t.keys {
		if d.key(b); d.err != nil {
			return
		}
	}
	d.late.Stop()
	switch {
	case t.err != nil:
		d.release()
		d.err = t.err
	case d.held > 0:
		d.late.Reset(holdFor)
	}
}

// release passes on what is held.
func (d *detachReader) release() {
	d.out = append(d.out, d.keys[:d.held]...)
	d.held = 0
}

func (d *detachReader) key(b byte) {
	if b != d.keys[d.held] {
		d.release()
	}
	if b != d.keys[d.held] {
		d.out = append(d.out, b)
		return
	}
	if d.held++; d.held == len(d.keys) {
		d.err = ErrDetached
	}
}
