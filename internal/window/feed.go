package window

import (
	"context"
	"errors"
	"io"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Feed is what the caller of a command sends while it runs, as the command
// takes it. Its methods never block, so that no frame waits behind another:
// input has a window, of sizes only the last one counts, and more signals than
// a command takes are dropped.
type Feed struct {
	Stdin   *Buffer
	resize  chan driver.TerminalSize
	signals chan string
}

// NewFeed makes a Feed that calls consumed with how much more input was taken.
func NewFeed(consumed func(n int)) *Feed {
	return &Feed{
		Stdin:   NewBuffer(driver.StdinWindow, consumed),
		resize:  make(chan driver.TerminalSize, 1),
		signals: make(chan string, 16),
	}
}

// Input adds standard input; it fails when the caller sends more than was
// acknowledged.
func (f *Feed) Input(p []byte) error {
	if !f.Stdin.Push(p) {
		return driver.Errorf(driver.InvalidArgument, "more than %d bytes of input were sent without waiting for stdin_consumed", driver.StdinWindow)
	}
	return nil
}

// EndInput ends standard input.
func (f *Feed) EndInput() { f.Stdin.Close(io.EOF) }

// Resize sets the terminal's size. It has one caller.
func (f *Feed) Resize(size driver.TerminalSize) {
	select { // replace a size that was not taken yet
	case <-f.resize:
	default:
	}
	f.resize <- size
}

// Signal sends a signal by name.
func (f *Feed) Signal(name string) {
	select {
	case f.signals <- name:
	default:
	}
}

// Close ends the input for a command that is over.
func (f *Feed) Close() { f.Stdin.Close(io.ErrClosedPipe) }

// IO is the Feed as a command's input side.
func (f *Feed) IO() driver.ExecIO {
	return driver.ExecIO{Stdin: f.Stdin, Resize: f.resize, Signals: f.signals}
}

// Copy sends what r gives in frames of at most driver.MaxFrame bytes, as fast as
// the window lets it, until the end of r (nil) or an error of r, of send, or of
// ctx.
func (w *Window) Copy(ctx context.Context, r io.Reader, send func([]byte) error) error {
	buf := make([]byte, driver.MaxFrame)
	for {
		n, err := r.Read(buf)
		for sent := 0; sent < n; {
			k, acquireErr := w.Acquire(ctx, n-sent)
			if acquireErr != nil {
				return acquireErr
			}
			if sendErr := send(buf[sent : sent+k]); sendErr != nil {
				return sendErr
			}
			sent += k
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
