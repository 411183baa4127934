// Package session runs one command through the daemon as if it were a child of
// this process: input, both outputs, signals, terminal and exit status.
//
// It owns the stream, the terminal's mode and this process's signals while the
// command runs. It does not own what is run, nor what is printed besides the
// command's output.
package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"connectrpc.com/connect"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/api/apipb/apipbconnect"
	"github.com/sero-labs/sero-runtime/internal/window"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Config is what runs and where its bytes come from and go.
type Config struct {
	// Start describes the command. Run fills in the terminal's size.
	Start *apipb.ExecStart
	// Terminal asks for a terminal in the workspace. If Stdin is one too, it is
	// in raw mode while the command runs.
	Terminal bool
	// DetachKeys, typed in a session, leave it; Run then returns ErrDetached.
	DetachKeys []byte
	// Attached, if set, is called when a session is looked at, and when who
	// writes to it has changed.
	Attached func(*apipb.ExecAttached)
	// Pipes is the daemon's socket for pipes; empty: all goes in frames.
	Pipes string
	// Stdin, Stdout and Stderr are the command's.
	Stdin          *os.File
	Stdout, Stderr io.Writer
	// Progress and Started, if set, are called as the daemon reports, before any
	// output is written.
	Progress func(*apipb.Progress)
	Started  func(*apipb.ExecStarted)
}

// Exit is how the command ended.
type Exit struct {
	driver.ExitStatus
	TimedOut bool
}

// Interrupted is the error of a session that a signal to this process ended. The
// daemon ends the command.
type Interrupted struct {
	Signal syscall.Signal
}

// Error tells which signal it was.
func (e *Interrupted) Error() string { return "ended by " + signalName(e.Signal) }

// ErrOutputClosed is the error of a session whose output nobody reads any more.
// The daemon ends the command.
var ErrOutputClosed = errors.New("standard output is closed")

// Run runs the command and waits for its end. A command that fails has an Exit
// and no error; an error means that its status is not known, or that it never
// ran: a *driver.Error, an *Interrupted or ErrOutputClosed.
//
// It does not wait for a read of Stdin to return, so a goroutine may be left
// behind in that read.
func Run(ctx context.Context, exec apipbconnect.ExecServiceClient, cfg Config) (Exit, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &session{
		cfg: cfg, ctx: ctx, cancel: cancel,
		window: window.New(driver.StdinWindow),
		tty:    newTerminal(cfg),
		ended:  make(chan result, 1),
	}
	defer s.tty.restore()
	stop := s.catchSignals()
	defer stop()
	if cfg.Terminal && s.tty.shown {
		s.looks = newLooks(cfg.Stdout)
		s.cfg.Stdout = s.looks
	}
	exit, err := s.run(ctx, exec)
	if err != nil || cfg.Start.GetSession() != nil || exit.TimedOut || exit.Signal != "" || exit.Code > 128 {
		s.looks.undo() // what ends by itself leaves its terminal as it wants to
	}
	return exit, err
}

// run opens the stream and waits for the command's end.
func (s *session) run(ctx context.Context, exec apipbconnect.ExecServiceClient) (Exit, error) {
	cfg := s.cfg

	stream, err := exec.Exec(ctx)
	if err != nil {
		return Exit{}, s.failure(err)
	}
	s.stream = stream
	// Only an end of the request lets the transport see that ctx has ended.
	defer func() { _ = stream.CloseRequest() }()
	if cfg.Terminal {
		cfg.Start.Terminal = s.tty.size()
	} else {
		defer s.openPipes()()
	}
	if err := s.send(&apipb.ExecRequest{Frame: &apipb.ExecRequest_Start{Start: cfg.Start}}); err != nil && !errors.Is(err, io.EOF) {
		return Exit{}, s.failure(err)
	}
	s.spawn(func() {
		r := s.receive()
		s.output.await(s.ctx)
		s.ended <- r
	})
	select {
	case r := <-s.ended:
		return r.exit, r.err
	case <-ctx.Done():
		return Exit{}, s.failure(ctx.Err())
	}
}

// session is the state of one Run.
type session struct {
	cfg    Config
	ctx    context.Context // of this one call, shared by its goroutines
	cancel context.CancelCauseFunc
	window *window.Window
	tty    *terminal
	looks  *looks // of the terminal; nil where there is none
	ended  chan result

	input  *input  // nil: it goes in frames
	output *output // nil: it comes in frames
	stream *connect.BidiStreamForClientSimple[apipb.ExecRequest, apipb.ExecResponse]

	mu      sync.Mutex // serialises Send; guards started
	started bool
}

type result struct {
	exit Exit
	err  error
}

// openPipes makes pipes for what goes through them faster than in frames.
func (s *session) openPipes() (closePipes func()) {
	if s.input = openInput(s.ctx, s.cfg); s.input != nil {
		s.cfg.Start.Input = s.input.name
	}
	if s.output = openOutput(s.ctx, s.cfg); s.output != nil {
		s.cfg.Start.Output = s.output.name
	}
	return func() {
		s.input.close()
		s.output.close()
	}
}

// spawn runs f in a goroutine whose panic does not leave the terminal raw.
func (s *session) spawn(f func()) {
	go func() {
		defer func() {
			if r := recover(); r != nil {
				s.looks.undo()
				s.tty.restore()
				panic(r)
			}
		}()
		f()
	}()
}

func (s *session) send(r *apipb.ExecRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.Send(r)
}

// receive handles what the daemon sends until the command's end.
func (s *session) receive() result {
	for {
		msg, err := s.stream.Receive()
		if err != nil {
			return result{err: s.failure(err)}
		}
		switch f := msg.GetFrame().(type) {
		case *apipb.ExecResponse_Progress:
			if s.cfg.Progress != nil {
				s.cfg.Progress(f.Progress)
			}
		case *apipb.ExecResponse_Started:
			err = s.start(f.Started)
		case *apipb.ExecResponse_Stdout:
			_, err = s.cfg.Stdout.Write(f.Stdout)
		case *apipb.ExecResponse_Stderr:
			_, err = s.cfg.Stderr.Write(f.Stderr)
		case *apipb.ExecResponse_Attached:
			var over bool
			if over, err = s.attached(f.Attached); over {
				return result{err: ErrDetached}
			}
		case *apipb.ExecResponse_StdinConsumed:
			s.window.Release(int(min(f.StdinConsumed, driver.StdinWindow)))
		case *apipb.ExecResponse_Exit:
			return result{exit: exitOf(f.Exit)}
		}
		if err != nil {
			s.cancel(outputError(err))
			return result{err: s.failure(err)}
		}
	}
}

func (s *session) start(started *apipb.ExecStarted) error {
	if s.cfg.Started != nil && started != nil {
		s.cfg.Started(started)
	}
	if s.cfg.Terminal {
		if err := s.tty.raw(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.started = true
	s.mu.Unlock()
	s.spawn(s.sendStdin)
	if s.output != nil {
		s.output.begun = true
		s.spawn(func() {
			if err := s.output.copy(); err != nil {
				s.cancel(outputError(err))
			}
		})
	}
	return nil
}

// attached takes the news of a session. An open one that was attached to has
// started long ago.
func (s *session) attached(a *apipb.ExecAttached) (over bool, err error) {
	if s.cfg.Attached != nil {
		s.cfg.Attached(a)
	}
	if a.GetDetached() {
		return true, nil
	}
	if s.cfg.Start.GetSession().GetAttach() && !s.isStarted() {
		return false, s.start(nil)
	}
	return false, nil
}

func exitOf(e *apipb.ExecExit) Exit {
	return Exit{
		ExitStatus: driver.ExitStatus{Code: int(e.GetCode()), Signal: e.GetSignal(), OutOfMemory: e.GetOutOfMemory()},
		TimedOut:   e.GetTimedOut(),
	}
}

// failure is why the session ended without an exit status: what this side
// decided, if it did, else what the stream says.
func (s *session) failure(err error) error {
	cause := context.Cause(s.ctx)
	if i, ok := errors.AsType[*Interrupted](cause); ok {
		return i
	}
	if errors.Is(cause, ErrOutputClosed) {
		return ErrOutputClosed
	}
	if cause != nil {
		return driver.AsError(cause)
	}
	if errors.Is(err, io.EOF) {
		return driver.Errorf(daemonclient.DaemonLost, "the daemon ended the call without the command's exit status")
	}
	return daemonclient.Error(err)
}

func outputError(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return ErrOutputClosed
	}
	return driver.Errorf(driver.Internal, "the command's output cannot be written: %w", err)
}

// sendStdin passes standard input on until it ends.
func (s *session) sendStdin() {
	if s.cfg.Stdin == nil {
		s.closeStdin()
		return
	}
	var from io.Reader = foreground{s}
	if len(s.cfg.DetachKeys) > 0 {
		from = newDetachReader(s.ctx, from, s.cfg.DetachKeys)
	}
	var err error
	if s.input != nil {
		err = s.input.copy(from)
	} else {
		err = s.window.Copy(s.ctx, from, func(p []byte) error {
			if err := s.send(&apipb.ExecRequest{Frame: &apipb.ExecRequest_Stdin{Stdin: p}}); err != nil {
				return errStream
			}
			return nil
		})
	}
	switch {
	case err == nil:
		s.closeStdin()
	case errors.Is(err, ErrDetached): // answered with detached, which receive waits for
		_ = s.send(&apipb.ExecRequest{Frame: &apipb.ExecRequest_Detach{Detach: &apipb.ExecDetach{}}})
	case errors.Is(err, errStream) || s.ctx.Err() != nil: // receive sees it too
	default:
		s.cancel(driver.Errorf(driver.InvalidArgument, "standard input cannot be read: %w", err))
	}
}

var errStream = errors.New("the stream is broken")

// foreground reads standard input when that cannot stop this process.
type foreground struct{ *session }

// Read waits until this process may read from its terminal, and reads.
func (f foreground) Read(p []byte) (int, error) {
	if err := f.tty.awaitForeground(f.ctx); err != nil {
		return 0, err
	}
	return f.cfg.Stdin.Read(p)
}

func (s *session) closeStdin() {
	// An error here is seen by receive too.
	_ = s.send(&apipb.ExecRequest{Frame: &apipb.ExecRequest_StdinClose{StdinClose: &apipb.ExecStdinClose{}}})
}

// sendSignal passes a signal on; one that comes before the command runs has
// nobody to go to.
func (s *session) sendSignal(name string) {
	s.mu.Lock()
	started := s.started
	s.mu.Unlock()
	if started {
		_ = s.send(&apipb.ExecRequest{Frame: &apipb.ExecRequest_Signal{Signal: name}})
	}
}

func signalName(sig syscall.Signal) string {
	if name, ok := forwarded[sig]; ok {
		return name
	}
	return fmt.Sprintf("signal %d", int(sig))
}
