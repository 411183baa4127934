//go:build linux

package agent

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/core/guest/frame"
	"github.com/sero-labs/sero-runtime/core/guest/mux"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// command is what a running command takes from the core.
type command struct {
	stdin   *mux.Input
	resize  chan driver.TerminalSize
	signals chan string
}

func newCommand() *command {
	return &command{stdin: mux.NewInput(), resize: make(chan driver.TerminalSize, 1), signals: make(chan string, 16)}
}

// io connects the command; out gets both outputs.
func (c *command) io(e *frame.Exec, out output, started func(pid int64)) driver.ExecIO {
	stdio := driver.ExecIO{
		Stdout: out, Stderr: out.stderr(), Resize: c.resize, Signals: c.signals, Started: started,
	}
	if e.Stdin {
		stdio.Stdin = c.stdin
	}
	return stdio
}

// obey takes frames of a stream until it is reset or ctx ends.
func (c *command) obey(ctx context.Context, s *mux.Stream) error {
	for {
		f, err := s.Next(ctx)
		if err != nil {
			return err
		}
		switch {
		case len(f.Data) > 0:
			c.stdin.Push(s, f)
		case f.End:
			c.stdin.Close(io.EOF)
		case f.Resize != nil:
			select { // the last one wins
			case <-c.resize:
			default:
			}
			c.resize <- driver.TerminalSize{Rows: uint16(f.Resize.Rows), Cols: uint16(f.Resize.Cols)}
		case f.Signal != "":
			select {
			case c.signals <- f.Signal:
			default: // more than it takes
			}
		case f.Reset:
			return errReset
		}
	}
}

// output writes what a command does.
type output interface {
	io.Writer
	stderr() io.Writer
}

// streamOutput writes to a stream.
type streamOutput struct {
	ctx    context.Context // of the stream; an io.Writer has no other way to know it
	stream *mux.Stream
	toErr  bool
}

// Write sends b.
func (o streamOutput) Write(b []byte) (int, error) {
	if err := o.stream.Write(o.ctx, b, o.toErr); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (o streamOutput) stderr() io.Writer { return streamOutput{o.ctx, o.stream, true} }

func execSpec(e *frame.Exec) driver.ExecSpec {
	spec := driver.ExecSpec{
		ExecID: e.ExecID, Argv: e.Argv, Dir: e.Dir, User: e.User,
		KillGrace: time.Duration(e.KillGraceMS) * time.Millisecond,
	}
	for _, assignment := range e.Env {
		name, value, _ := strings.Cut(assignment, "=")
		spec.Env = append(spec.Env, driver.EnvVar{Name: name, Value: value, Secret: true})
	}
	if t := e.Terminal; t != nil {
		spec.Terminal = &driver.TerminalSize{Rows: uint16(t.Rows), Cols: uint16(t.Cols)}
	}
	return spec
}

func exitFrame(status driver.ExitStatus) *frame.Exit {
	return &frame.Exit{Code: uint32(status.Code), Signal: status.Signal, OutOfMemory: status.OutOfMemory}
}

// exec runs a command that ends with its stream.
func (c *conn) exec(s *mux.Stream, e *frame.Exec) error {
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	cmd := newCommand()
	defer cmd.stdin.Close(io.ErrClosedPipe)
	go func() { // ends with ctx
		err := cmd.obey(ctx, s)
		if errors.Is(err, errReset) {
			err = driver.Errorf(driver.Canceled, "the caller has ended the command")
		}
		cancel(err)
		cmd.stdin.Close(io.ErrClosedPipe) // no io.EOF: what came is not all
	}()
	if err := c.begin(s.ID()); err != nil {
		return err
	}
	// What a command that is being ended still writes is to arrive.
	out := streamOutput{ctx: c.ctx, stream: s}
	status, err := c.agent.inside.Exec(ctx, execSpec(e), cmd.io(e, out, func(pid int64) {
		_ = s.Send(c.ctx, &frame.Frame{Started: &frame.Started{PID: uint64(pid)}})
	}))
	if err != nil {
		return err
	}
	return s.Send(c.ctx, &frame.Frame{Exit: exitFrame(status)})
}
