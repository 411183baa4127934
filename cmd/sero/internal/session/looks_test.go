package session

import (
	"context"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

// B: on every way out of a session its terminal is as before: no alternate
// screen, no mouse reports, a cursor. A command that ends by itself leaves what it
// wants to.
func TestBLeavingUndoesModes(t *testing.T) {
	const set, undo = "\x1b[?1049h\x1b[?1002;1006h\x1b[?25l\x1b[?2004h\x1b=", "\x1b[?2004l\x1b[?1006l\x1b[?1002l\x1b[?25h\x1b>\x1b[?1049l"
	ended := func(e *apipb.ExecExit) func(context.Context, *stream) error {
		return func(_ context.Context, s *stream) error { return s.Send(exit(e)) }
	}
	signaled := func(sig syscall.Signal) func(context.Context, *stream) error {
		return func(ctx context.Context, _ *stream) error {
			if err := syscall.Kill(os.Getpid(), sig); err != nil {
				return err
			}
			return waitForEnd(ctx, nil)
		}
	}
	for _, c := range []struct {
		name    string
		session bool
		end     func(context.Context, *stream) error
		stays   bool
	}{
		{"exit", false, ended(&apipb.ExecExit{}), true},
		{"exit of a session", true, ended(&apipb.ExecExit{}), false},
		{"killed", false, ended(&apipb.ExecExit{Signal: "SIGKILL"}), false},
		{"killed in a container", false, ended(&apipb.ExecExit{Code: 137}), false},
		{"timeout", false, ended(&apipb.ExecExit{TimedOut: true}), false},
		{"daemon dies", true, func(context.Context, *stream) error { panic(http.ErrAbortHandler) }, false},
		{"SIGTERM", true, signaled(syscall.SIGTERM), false},
		{"SIGHUP", false, signaled(syscall.SIGHUP), false},
		{"left", true, func(_ context.Context, s *stream) error {
			return s.Send(&apipb.ExecResponse{Frame: &apipb.ExecResponse_Attached{Attached: &apipb.ExecAttached{Detached: true}}})
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			master, tty, err := pty.Open()
			if err != nil {
				t.Fatal(err)
			}
			stdin, keys, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			var reading sync.WaitGroup
			t.Cleanup(func() {
				keys.Close()
				tty.Close()
				reading.Wait() // the end of tty is the end of master
				master.Close()
				stdin.Close()
			})
			var mu sync.Mutex
			var all strings.Builder
			reading.Go(func() {
				buf := make([]byte, 4096)
				for {
					n, err := master.Read(buf)
					mu.Lock()
					all.Write(buf[:n])
					mu.Unlock()
					if err != nil {
						return
					}
				}
			})
			client := serve(t, func(ctx context.Context, s *stream) error {
				if _, err := begin(s); err != nil {
					return err
				}
				if err := s.Send(&apipb.ExecResponse{Frame: &apipb.ExecResponse_Stdout{Stdout: []byte(set)}}); err != nil {
					return err
				}
				time.Sleep(50 * time.Millisecond) // so that it is shown first
				return c.end(ctx, s)
			})
			cfg, _, _ := config(stdin)
			cfg.Terminal, cfg.Stdout = true, tty
			if c.session {
				cfg.Start.Session = &apipb.ExecSession{}
			}
			_, _ = Run(t.Context(), client, cfg)
			_, _ = tty.WriteString("(end)")
			want := set + undo + "(end)"
			if c.stays {
				want = set + "(end)"
			}
			got := ""
			for deadline := time.Now().Add(10 * time.Second); !strings.HasSuffix(got, "(end)") && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
				mu.Lock()
				got = all.String()
				mu.Unlock()
			}
			if got != want {
				t.Errorf("the terminal gets %q, want %q", got, want)
			}
		})
	}
}
