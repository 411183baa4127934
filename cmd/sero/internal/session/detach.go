package session

import (
	"errors"
	"fmt"
	"io"
	"strings"
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

// detachReader passes on what is typed until the detach keys are, which it gives
// to nobody. The keys before the last are held back until the next one tells.
type detachReader struct {
	from io.Reader
	keys []byte
	held int
	out  []byte // read, not yet passed on
	err  error
}

// Read reads what is typed; it fails with ErrDetached at the detach keys.
func (d *detachReader) Read(p []byte) (int, error) {
	for len(d.out) == 0 && d.err == nil {
		buf := make([]byte, len(p))
		n, err := d.from.Read(buf)
		for _, b := range buf[:n] {
			if d.key(b); d.err != nil {
				break
			}
		}
		if d.err == nil {
			d.err = err
		}
	}
	n := copy(p, d.out)
	if d.out = d.out[n:]; n > 0 {
		return n, nil
	}
	return 0, d.err
}

func (d *detachReader) key(b byte) {
	if b != d.keys[d.held] {
		d.out = append(d.out, d.keys[:d.held]...)
		d.held = 0
	}
	if b != d.keys[d.held] {
		d.out = append(d.out, b)
		return
	}
	if d.held++; d.held == len(d.keys) {
		d.err = ErrDetached
	}
}
