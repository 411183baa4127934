package session

import (
	"context"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

// The size of a terminal that does not tell its own.
const (
	defaultRows = 24
	defaultCols = 80
)

// foregroundPoll is how often a process in the background looks whether it may
// read from its terminal again.
const foregroundPoll = 250 * time.Millisecond

// terminal is the terminal that this process was started in, if it was.
type terminal struct {
	stdin   int   // its descriptor, -1 when standard input is no terminal
	outputs []int // where a size may be read
	shown   bool  // standard output is one

	mu    sync.Mutex
	saved *term.State // the mode to go back to; nil while it is not raw
}

func newTerminal(cfg Config) *terminal {
	t := &terminal{stdin: -1}
	if cfg.Stdin != nil {
		t.add(cfg.Stdin, &t.stdin)
	}
	if f, ok := cfg.Stdout.(*os.File); ok {
		t.add(f, nil)
		t.shown = term.IsTerminal(int(f.Fd()))
	}
	return t
}

func (t *terminal) add(f *os.File, stdin *int) {
	fd := int(f.Fd())
	if !term.IsTerminal(fd) {
		return
	}
	t.outputs = append(t.outputs, fd)
	if stdin != nil {
		*stdin = fd
	}
}

// raw hands every key to the command. It does nothing where standard input is
// no terminal.
func (t *terminal) raw() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stdin < 0 || t.saved != nil {
		return nil
	}
	saved, err := term.MakeRaw(t.stdin)
	t.saved = saved
	return err
}

// restore undoes raw and tells whether there was something to undo. It may be
// called at any time and more than once.
func (t *terminal) restore() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.saved == nil {
		return false
	}
	_ = term.Restore(t.stdin, t.saved) // a terminal that is gone needs nothing
	t.saved = nil
	return true
}

// size is the terminal's, or a usual one.
func (t *terminal) size() *apipb.TerminalSize {
	for _, fd := range t.outputs {
		if cols, rows, err := term.GetSize(fd); err == nil && cols > 0 && rows > 0 {
			return &apipb.TerminalSize{Rows: uint32(rows), Cols: uint32(cols)}
		}
	}
	return &apipb.TerminalSize{Rows: defaultRows, Cols: defaultCols}
}

// awaitForeground waits while standard input is a terminal and this process is
// in its background, where a read would stop it: a command that reads nothing
// may then run with "&". It returns ctx's cause at its end.
func (t *terminal) awaitForeground(ctx context.Context) error {
	for t.stdin >= 0 {
		group, err := unix.IoctlGetInt(t.stdin, unix.TIOCGPGRP)
		if err != nil || group == unix.Getpgrp() {
			return nil
		}
		select {
		case <-time.After(foregroundPoll):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
