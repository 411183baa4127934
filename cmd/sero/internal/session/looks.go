package session

import (
	"io"
	"time"

	"github.com/sero-labs/sero-runtime/internal/ttymode"
)

// undoPatience is for a terminal that takes nothing, such as one that Ctrl-S has
// stopped.
const undoPatience = time.Second

// looks is a terminal that is put back when the session in it is left: out of the
// alternate screen, with its cursor, without mouse reports.
type looks struct {
	to    io.Writer
	turn  chan struct{} // has a token while no write is under way
	modes *ttymode.Tracker
	over  bool
}

func newLooks(to io.Writer) *looks {
	l := &looks{to: to, turn: make(chan struct{}, 1), modes: ttymode.New()}
	l.turn <- struct{}{}
	return l
}

// Write passes on output until undo, and drops it then.
func (l *looks) Write(p []byte) (int, error) {
	<-l.turn
	defer func() { l.turn <- struct{}{} }()
	if l.over {
		return len(p), nil
	}
	_, _ = l.modes.Write(p)
	return l.to.Write(p)
}

// undo is the opposite of whatever the session switched on.
func (l *looks) undo() {
	if l == nil {
		return
	}
	select {
	case <-l.turn:
	case <-time.After(undoPatience):
		return
	}
	defer func() { l.turn <- struct{}{} }()
	if l.over {
		return
	}
	l.over = true
	if undo := l.modes.Undo(); undo != "" {
		_, _ = io.WriteString(l.to, undo) // a terminal that is gone needs nothing
	}
}
