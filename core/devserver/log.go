package devserver

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/sero-labs/sero-runtime/internal/brief"
)

// logSize is how much of a server's output is kept, in bytes.
const logSize = 1 << 20

// logChunk is the largest piece that a reader gets at once, in bytes.
const logChunk = 32 << 10

// outputLog keeps the last part of a server's output, both streams in the order
// they came. Readers have positions of their own in it, so that writing never
// waits for one; who is too slow is told how much it missed.
type outputLog struct {
	mu     sync.Mutex
	ring   []byte // grows up to logSize
	end    int64  // bytes ever written
	wakeup chan struct{}
	closed bool
}

// Write adds output. It never fails and never waits for a reader.
func (l *outputLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(p)
	if skip := n - logSize; skip > 0 {
		l.end += int64(skip)
		p = p[skip:]
	}
	l.grow(int(min(l.end+int64(len(p)), logSize)))
	for len(p) > 0 {
		k := copy(l.ring[l.end%int64(len(l.ring)):], p)
		l.end += int64(k)
		p = p[k:]
	}
	l.wake()
	return n, nil
}

// grow makes the ring large enough, in steps, as long as it was never full.
func (l *outputLog) grow(need int) {
	if need <= len(l.ring) {
		return
	}
	size := max(len(l.ring), 4<<10)
	for size < need {
		size *= 2
	}
	ring := make([]byte, min(size, logSize))
	if len(l.ring) > 0 {
		copy(ring, l.ring[:min(l.end, int64(len(l.ring)))])
	}
	l.ring = ring
}

func (l *outputLog) wake() {
	if l.wakeup != nil {
		close(l.wakeup)
		l.wakeup = nil
	}
}

// close ends those who follow once they have read everything.
func (l *outputLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.wake()
}

// mark adds a line of sero's own.
func (l *outputLog) mark(text string) {
	l.mu.Lock()
	newline := ""
	if l.end > 0 && l.ring[(l.end-1)%int64(len(l.ring))] != '\n' {
		newline = "\n"
	}
	l.mu.Unlock()
	_, _ = fmt.Fprintf(l, "%s[sero] %s\n", newline, text)
}

func (l *outputLog) position() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

func (l *outputLog) start() int64 { return max(0, l.end-int64(len(l.ring))) }

// from copies a piece of what is kept, from a position on. l.mu must be held.
func (l *outputLog) from(position int64, most int) []byte {
	n := int(min(l.end-position, int64(most)))
	piece := make([]byte, 0, n)
	for n > 0 {
		at := position % int64(len(l.ring))
		k := min(int64(n), int64(len(l.ring))-at)
		piece = append(piece, l.ring[at:at+k]...)
		position, n = position+k, n-int(k)
	}
	return piece
}

// tail is the position of the last lines, counted from not before a position: of
// all for 0, of none for less.
func (l *outputLog) tail(lines int, notBefore int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := min(max(l.start(), notBefore), l.end)
	switch {
	case lines < 0:
		return l.end
	case lines == 0:
		return first
	}
	text := l.from(first, logSize)
	at := len(bytes.TrimSuffix(text, []byte("\n")))
	for ; lines > 0 && at >= 0; lines-- {
		at = bytes.LastIndexByte(text[:at], '\n')
	}
	return first + int64(at+1)
}

// lastLines are the last lines since a position, fit for a message.
func (l *outputLog) lastLines(lines int, since int64) []string {
	position := l.tail(lines, since)
	l.mu.Lock()
	text := string(l.from(position, logSize))
	l.mu.Unlock()
	text = strings.TrimSuffix(text, "\n")
	if text == "" {
		return nil
	}
	out := strings.Split(text, "\n")
	for i, line := range out {
		const most = 500
		if len(line) > most {
			line = brief.Head(line, most) + "…"
		}
		out[i] = strings.TrimSuffix(strings.ToValidUTF8(line, "\uFFFD"), "\r")
	}
	return out
}

// read calls report with what was written from a position on. With follow it
// goes on until ctx ends, report fails or the log is closed.
func (l *outputLog) read(ctx context.Context, position int64, follow bool, report func([]byte) error) error {
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		piece, next, wait := l.next(position)
		position = next
		if len(piece) > 0 {
			if err := report(piece); err != nil {
				return err
			}
			continue
		}
		if !follow || wait == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-wait:
		}
	}
}

// next is the piece at a position and where the one after begins, or what to
// wait for; nil when nothing will come any more.
func (l *outputLog) next(position int64) ([]byte, int64, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lost := l.start() - position; lost > 0 {
		return fmt.Appendf(nil, "\n[sero] %d bytes of output are not kept any more\n", lost), l.start(), nil
	}
	if position < l.end {
		piece := l.from(position, logChunk)
		return piece, position + int64(len(piece)), nil
	}
	if l.closed {
		return nil, position, nil
	}
	if l.wakeup == nil {
		l.wakeup = make(chan struct{})
	}
	return nil, position, l.wakeup
}
