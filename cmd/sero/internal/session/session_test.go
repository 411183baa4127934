package session

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/creack/pty"
	"go.uber.org/goleak"
	"golang.org/x/term"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/api/apipb/apipbconnect"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type (
	request  = apipb.ExecRequest
	response = apipb.ExecResponse
	stream   = connect.BidiStream[request, response]
)

// daemon is an ExecService that answers with a function.
type daemon func(ctx context.Context, s *stream) error

func (d daemon) Exec(ctx context.Context, s *stream) error { return d(ctx, s) }

// serve starts d and returns its client.
func serve(t *testing.T, d daemon) apipbconnect.ExecServiceClient {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(apipbconnect.NewExecServiceHandler(d))
	server := httptest.NewUnstartedServer(mux)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	transport := &http.Transport{Protocols: server.Config.Protocols}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
	})
	return apipbconnect.NewExecServiceClient(&http.Client{Transport: transport}, server.URL)
}

func started() *response {
	return &response{Frame: &apipb.ExecResponse_Started{Started: &apipb.ExecStarted{}}}
}

func stdout(p string) *response {
	return &response{Frame: &apipb.ExecResponse_Stdout{Stdout: []byte(p)}}
}

func stderr(p string) *response {
	return &response{Frame: &apipb.ExecResponse_Stderr{Stderr: []byte(p)}}
}

func consumed(n int) *response {
	return &response{Frame: &apipb.ExecResponse_StdinConsumed{StdinConsumed: int64(n)}}
}

func exit(e *apipb.ExecExit) *response {
	return &response{Frame: &apipb.ExecResponse_Exit{Exit: e}}
}

// begin takes the start frame and tells that the command runs.
func begin(s *stream) (*apipb.ExecStart, error) {
	first, err := s.Receive()
	if err != nil {
		return nil, err
	}
	return first.GetStart(), s.Send(started())
}

// pipe is standard input that the test writes.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Close()
		r.Close()
	})
	return r, w
}

func config(stdin *os.File) (cfg Config, out, errs *bytes.Buffer) {
	out, errs = new(bytes.Buffer), new(bytes.Buffer)
	start := &apipb.ExecStart{Argv: []string{"x"}}
	return Config{Start: start, Stdin: stdin, Stdout: out, Stderr: errs}, out, errs
}

func TestOutputAndStatusComeThrough(t *testing.T) {
	for _, c := range []struct {
		name string
		exit *apipb.ExecExit
		want Exit
		code int
	}{
		{"B39 exit code", &apipb.ExecExit{Code: 7}, Exit{ExitStatus: driver.ExitStatus{Code: 7}}, 7},
		{"B39 signal", &apipb.ExecExit{Signal: "SIGKILL"}, Exit{ExitStatus: driver.ExitStatus{Signal: "SIGKILL"}}, 137},
		{"B41 timeout", &apipb.ExecExit{Signal: "SIGTERM", TimedOut: true}, Exit{ExitStatus: driver.ExitStatus{Signal: "SIGTERM"}, TimedOut: true}, 143},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := serve(t, func(_ context.Context, s *stream) error {
				if _, err := begin(s); err != nil {
					return err
				}
				for _, r := range []*response{stdout("a\x00\xff"), stderr("e\r\n"), stdout("b"), exit(c.exit)} {
					if err := s.Send(r); err != nil {
						return err
					}
				}
				return nil
			})
			cfg, out, errs := config(nil)
			got, err := Run(t.Context(), client, cfg)
			if err != nil || got != c.want || got.ShellCode() != c.code {
				t.Errorf("Run = %+v, %v; want %+v", got, err, c.want)
			}
			if out.String() != "a\x00\xffb" || errs.String() != "e\r\n" {
				t.Errorf("stdout %q, stderr %q", out, errs)
			}
		})
	}
}

// The window: not one byte more than the command was said to have room for.
func TestInputWaitsForTheWindow(t *testing.T) {
	const size = 3 * driver.StdinWindow
	client := serve(t, func(ctx context.Context, s *stream) error {
		if _, err := begin(s); err != nil {
			return err
		}
		frames := make(chan *request)
		go func() {
			defer close(frames)
			for {
				r, err := s.Receive()
				if err != nil {
					return
				}
				frames <- r
			}
		}()
		total, acknowledged := 0, 0
		for {
			select {
			case f, ok := <-frames:
				switch {
				case !ok:
					return errors.New("the stream ended before the input did")
				case f.GetStdinClose() != nil:
					return s.Send(exit(&apipb.ExecExit{Code: int32(total / driver.StdinWindow)}))
				case len(f.GetStdin()) > driver.MaxFrame:
					return errors.New("a frame is too large")
				}
				total += len(f.GetStdin())
				if total-acknowledged > driver.StdinWindow {
					return errors.New("more than the window was sent")
				}
			case <-time.After(50 * time.Millisecond):
				if total-acknowledged != driver.StdinWindow {
					continue // still coming
				}
				acknowledged = total
				if err := s.Send(consumed(driver.StdinWindow)); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	r, w := pipe(t)
	go func() {
		_, _ = w.Write(make([]byte, size))
		_ = w.Close()
	}()
	cfg, _, _ := config(r)
	got, err := Run(t.Context(), client, cfg)
	if err != nil || got.Code != 3 {
		t.Errorf("Run = %+v, %v; want all the input", got, err)
	}
}

// A read of standard input that never returns does not hold up the end.
func TestBlockedInputDoesNotKeepTheSession(t *testing.T) {
	client := serve(t, func(_ context.Context, s *stream) error {
		if _, err := begin(s); err != nil {
			return err
		}
		return s.Send(exit(&apipb.ExecExit{}))
	})
	r, _ := pipe(t)
	cfg, _, _ := config(r)
	if _, err := Run(t.Context(), client, cfg); err != nil {
		t.Fatal(err)
	}
}

func TestSignalsAreForwarded(t *testing.T) {
	for _, sig := range []syscall.Signal{
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGCONT,
	} {
		t.Run("B39 "+forwarded[sig], func(t *testing.T) {
			client := serve(t, func(_ context.Context, s *stream) error {
				if _, err := begin(s); err != nil {
					return err
				}
				for {
					f, err := s.Receive()
					if err != nil {
						return err
					}
					if f.GetStdin() != nil {
						raise(t, sig)
					}
					if name := f.GetSignal(); name != "" {
						return s.Send(exit(&apipb.ExecExit{Signal: name}))
					}
				}
			})
			cfg, _, _ := config(oneByte(t))
			got, err := Run(t.Context(), client, cfg)
			if err != nil || got.Signal != forwarded[sig] {
				t.Errorf("Run = %+v, %v", got, err)
			}
		})
	}
}

// oneByte is standard input with a byte in it, and no end. Once that byte has come,
// the session passes signals on.
func oneByte(t *testing.T) *os.File {
	t.Helper()
	r, w := pipe(t)
	if _, err := w.Write([]byte{'x'}); err != nil {
		t.Fatal(err)
	}
	return r
}

// raise sends this process a signal.
func raise(t *testing.T, sig syscall.Signal) {
	if err := syscall.Kill(os.Getpid(), sig); err != nil {
		t.Error(err)
	}
}

func TestSecondInterruptEndsTheSession(t *testing.T) {
	gone := make(chan struct{})
	client := serve(t, func(ctx context.Context, s *stream) error {
		defer close(gone)
		if _, err := begin(s); err != nil {
			return err
		}
		for { // ignores every signal
			f, err := s.Receive()
			if err != nil {
				return err
			}
			if f.GetStdin() != nil {
				raise(t, syscall.SIGINT)
			}
			if f.GetSignal() != "" {
				raise(t, syscall.SIGINT) // an echo, which is none
				time.Sleep(repeatDelay + 100*time.Millisecond)
				if ctx.Err() != nil {
					t.Error("an echo of the first signal ended the session")
					return ctx.Err() // the next one would end this program
				}
				raise(t, syscall.SIGINT)
			}
		}
	})
	cfg, _, _ := config(oneByte(t))
	_, err := Run(t.Context(), client, cfg)
	if e, ok := errors.AsType[*Interrupted](err); !ok || e.Signal != syscall.SIGINT {
		t.Errorf("Run = %v; want Interrupted by SIGINT", err)
	}
	<-gone // the daemon saw the stream end
}

func TestFailures(t *testing.T) {
	for _, c := range []struct {
		name   string
		daemon daemon
		want   driver.Reason
	}{
		{"the daemon's own error", func(context.Context, *stream) error {
			e := connect.NewError(connect.CodeNotFound, errors.New("x"))
			d, _ := connect.NewErrorDetail(&apipb.ErrorDetail{Reason: "COMMAND_NOT_FOUND", Message: "no such command"})
			e.AddDetail(d)
			return e
		}, driver.CommandNotFound},
		{"no exit frame", func(_ context.Context, s *stream) error {
			_, err := begin(s)
			return err
		}, daemonclient.DaemonLost},
		{"the connection breaks", func(_ context.Context, s *stream) error {
			if _, err := begin(s); err != nil {
				return err
			}
			panic(http.ErrAbortHandler)
		}, daemonclient.DaemonLost},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, _, _ := config(nil)
			_, err := Run(t.Context(), serve(t, c.daemon), cfg)
			if driver.ReasonOf(err) != c.want {
				t.Errorf("Run = %v (%s); want %s", err, driver.ReasonOf(err), c.want)
			}
		})
	}
}

// failingWriter is an output that nobody reads.
type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestClosedOutputEndsTheCommand(t *testing.T) {
	gone := make(chan struct{})
	client := serve(t, func(ctx context.Context, s *stream) error {
		defer close(gone)
		if _, err := begin(s); err != nil {
			return err
		}
		for s.Send(stdout("y\n")) == nil {
		}
		return nil
	})
	cfg, _, _ := config(nil)
	cfg.Stdout = failingWriter{&os.PathError{Op: "write", Err: syscall.EPIPE}}
	if _, err := Run(t.Context(), client, cfg); !errors.Is(err, ErrOutputClosed) {
		t.Errorf("Run = %v; want ErrOutputClosed", err)
	}
	<-gone
}

// The terminal is raw while the command runs and as before on every way out.
func TestTerminalIsRestored(t *testing.T) {
	for _, c := range []struct {
		name   string
		signal syscall.Signal
		end    func(ctx context.Context, s *stream) error
		check  func(err error) bool
	}{
		{"exit", 0, func(_ context.Context, s *stream) error { return s.Send(exit(&apipb.ExecExit{})) }, func(err error) bool { return err == nil }},
		{"daemon dies", 0, func(context.Context, *stream) error { panic(http.ErrAbortHandler) }, func(err error) bool { return driver.ReasonOf(err) == daemonclient.DaemonLost }},
		{"SIGTERM", syscall.SIGTERM, waitForEnd, isInterrupted},
		{"SIGHUP", syscall.SIGHUP, waitForEnd, isInterrupted},
		{"SIGINT", syscall.SIGINT, waitForEnd, isInterrupted},
	} {
		t.Run("B40 "+c.name, func(t *testing.T) {
			master, tty, err := pty.Open()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				master.Close()
				tty.Close()
			})
			if err := pty.Setsize(tty, &pty.Winsize{Rows: 33, Cols: 99}); err != nil {
				t.Fatal(err)
			}
			before, err := term.GetState(int(tty.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			var wasRaw atomic.Bool
			client := serve(t, func(ctx context.Context, s *stream) error {
				start, err := begin(s)
				if err != nil {
					return err
				}
				if start.GetTerminal().GetRows() != 33 || start.GetTerminal().GetCols() != 99 {
					return errors.New("the size is wrong: " + start.GetTerminal().String())
				}
				if _, err := master.WriteString("k"); err != nil {
					return err
				}
				if _, err := s.Receive(); err != nil { // one key, without Enter: the terminal is raw
					return err
				}
				wasRaw.Store(true)
				if c.signal != 0 {
					if err := syscall.Kill(os.Getpid(), c.signal); err != nil {
						return err
					}
				}
				return c.end(ctx, s)
			})
			cfg, _, _ := config(tty)
			cfg.Terminal = true
			if _, err := Run(t.Context(), client, cfg); !c.check(err) {
				t.Errorf("Run = %v", err)
			}
			after, err := term.GetState(int(tty.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			if !wasRaw.Load() || *after != *before {
				t.Errorf("was raw: %v; the terminal is as before: %v", wasRaw.Load(), *after == *before)
			}
		})
	}
}

func waitForEnd(ctx context.Context, _ *stream) error {
	<-ctx.Done()
	return ctx.Err()
}

func isInterrupted(err error) bool {
	_, ok := errors.AsType[*Interrupted](err)
	return ok
}

func TestUnreadableInput(t *testing.T) {
	client := serve(t, func(ctx context.Context, s *stream) error {
		if _, err := begin(s); err != nil {
			return err
		}
		return waitForEnd(ctx, s)
	})
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cfg, _, _ := config(dir)
	_, err = Run(t.Context(), client, cfg)
	if e := driver.AsError(err); e == nil || e.Reason != driver.InvalidArgument || !strings.Contains(e.Message, "standard input") {
		t.Errorf("Run = %v", err)
	}
}
