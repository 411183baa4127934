package guest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// server answers requests on an address and port, its arguments.
const server = `exec python3 -c '
import socket, sys, threading
l = socket.create_server((sys.argv[1], int(sys.argv[2])))
def serve(c):
    while not (b := c.recv(9999)).endswith(b"\r\n\r\n") and b: pass
    c.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello"); c.close()
while True: threading.Thread(target=serve, args=(l.accept()[0],)).start()
' "$1" "$2"`

func TestB39CommandsComeThrough(t *testing.T) {
	everyWay(t, func(t *testing.T, g *guest.Guest) {
		out, errs, status := run(t, g, "sh", "-c", `printf 'a\0b\377'; echo err >&2; exit 7`)
		if out != "a\x00b\xff" || errs != "err\n" || status.Code != 7 {
			t.Errorf("%q, %q, %+v", out, errs, status)
		}
		var back bytes.Buffer
		input := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		_, err := g.Exec(t.Context(), driver.ExecSpec{Argv: []string{"cat"}, Dir: "/", ExecID: "cat"},
			driver.ExecIO{Stdin: bytes.NewReader(input), Stdout: &back})
		if err != nil || !bytes.Equal(back.Bytes(), input) {
			t.Errorf("%d bytes came back of %d: %v", back.Len(), len(input), err)
		}
		_, err = g.Exec(t.Context(), driver.ExecSpec{Argv: []string{"no-such-command"}, Dir: "/", ExecID: "none"}, driver.ExecIO{})
		if driver.ReasonOf(err) != driver.CommandNotFound {
			t.Errorf("a missing command: %v", err)
		}
	})
}

func TestB41CancelEndsAllThatDescends(t *testing.T) {
	for _, user := range []string{"", "nobody"} { // root in a container sees less of others' processes
		t.Run("user "+user, func(t *testing.T) {
			g := inContainer(t, bySocket)
			ctx, cancel := context.WithCancelCause(t.Context())
			_, err := g.Exec(ctx, driver.ExecSpec{
				Argv: []string{"sh", "-c", `trap "" TERM; (setsid sh -c "trap '' TERM; sleep 5001" & ); sleep 5002`},
				User: user, Dir: "/", ExecID: "tree", KillGrace: 100 * time.Millisecond,
			}, driver.ExecIO{Started: func(int64) { time.AfterFunc(200*time.Millisecond, func() { cancel(nil) }) }})
			if driver.ReasonOf(err) != driver.Canceled {
				t.Errorf("the end was %v", err)
			}
			if out, _, _ := run(t, g, "sh", "-c", "pgrep -f 'sleep 500[12]' | grep -vx $$"); strings.TrimSpace(out) != "" {
				t.Errorf("left: %s", out)
			}
		})
	}
}

// A command that is ended has half of its input, which must not look whole to it.
func TestB41AnEndIsNoEndOfInput(t *testing.T) {
	for _, by := range []way{bySocket, byDriver} {
		t.Run(string(by), func(t *testing.T) {
			g := inContainer(t, by)
			ctx, cancel := context.WithCancelCause(t.Context())
			input, give := io.Pipe()
			defer give.Close()
			go func() {
				_, _ = io.WriteString(give, "half\n")
			}()
			out := new(seen)
			out.when("half\n", func() { cancel(nil) })
			_, err := g.Exec(ctx, driver.ExecSpec{
				Argv: []string{"sh", "-c", `trap "" TERM; cat && echo whole >/tmp/whole; sleep 5003`},
				Dir:  "/", ExecID: "half", KillGrace: time.Second,
			}, driver.ExecIO{Stdin: input, Stdout: out})
			if driver.ReasonOf(err) != driver.Canceled {
				t.Errorf("the end was %v", err)
			}
			if out, _, _ := run(t, g, "sh", "-c", "cat /tmp/whole 2>&1"); !strings.Contains(out, "No such file") {
				t.Errorf("it took what had come for all of its input: %q", out)
			}
		})
	}
}

// seen is output that something waits for.
type seen struct {
	text string
	then func()
	all  strings.Builder
}

// when has f called once the output has a text in it.
func (s *seen) when(text string, f func()) { s.text, s.then = text, sync.OnceFunc(f) }

// Write keeps p.
func (s *seen) Write(p []byte) (int, error) {
	s.all.Write(p)
	if strings.Contains(s.all.String(), s.text) {
		s.then()
	}
	return len(p), nil
}

func TestUserSignalTerminal(t *testing.T) {
	g := inContainer(t, bySocket)
	var out bytes.Buffer
	_, err := g.Exec(t.Context(), driver.ExecSpec{Argv: []string{"sh", "-c", "id -un; echo $HOME"}, User: "nobody", Dir: "/", ExecID: "u"}, driver.ExecIO{Stdout: &out})
	if err != nil || out.String() != "nobody\n/nonexistent\n" {
		t.Errorf("B39 user: %q, %v", out.String(), err)
	}
	signals := make(chan string, 1)
	status, err := g.Exec(t.Context(), driver.ExecSpec{Argv: []string{"sleep", "1000"}, Dir: "/", ExecID: "s"},
		driver.ExecIO{Signals: signals, Started: func(int64) { signals <- "SIGUSR1" }})
	if err != nil || status.Signal != "SIGUSR1" {
		t.Errorf("B39 signal: %+v, %v", status, err)
	}
	out.Reset()
	resize := make(chan driver.TerminalSize, 1)
	_, err = g.Exec(t.Context(), driver.ExecSpec{
		Argv: []string{"sh", "-c", `stty size; while [ "$(stty size)" = "24 80" ]; do sleep 0.05; done; stty size`}, Dir: "/", ExecID: "t",
		Terminal: &driver.TerminalSize{Rows: 24, Cols: 80},
	}, driver.ExecIO{Stdout: &out, Resize: resize, Started: func(int64) { resize <- driver.TerminalSize{Rows: 33, Cols: 99} }})
	if err != nil || !strings.HasSuffix(out.String(), "33 99\r\n") {
		t.Errorf("B40 resize: %q, %v", out.String(), err)
	}
}

// watch collects what is reported until the test ends.
func watch(t *testing.T, g *guest.Guest) func(is func([]driver.Listener) bool) {
	t.Helper()
	var mu sync.Mutex
	var last []driver.Listener
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- g.Listeners(ctx, func(set []driver.Listener) error {
			mu.Lock()
			defer mu.Unlock()
			last = slices.Clone(set)
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel(nil)
		if err := <-done; driver.ReasonOf(err) != driver.Canceled {
			t.Errorf("the watch ended with %v", err)
		}
	})
	return func(is func([]driver.Listener) bool) {
		t.Helper()
		eventually(t, "the listeners that the test waits for", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return is(last)
		})
	}
}

func TestListenersDialStop(t *testing.T) {
	everyWay(t, func(t *testing.T, g *guest.Guest) {
		until := watch(t, g)
		ended := make(chan driver.ExitStatus, 1)
		go func() {
			status, _ := g.Exec(t.Context(), driver.ExecSpec{Argv: []string{"sh", "-c", server, "sh", "127.0.0.1", "8123"}, Dir: "/etc", ExecID: "web"}, driver.ExecIO{})
			ended <- status
		}()
		until(func(set []driver.Listener) bool {
			return slices.ContainsFunc(set, func(l driver.Listener) bool {
				return l.Port == 8123 && l.Address == "127.0.0.1" && l.PID > 1 && strings.HasPrefix(l.Command, "python3") && l.ExecID == "web"
			})
		})
		for range 2 {
			c, err := g.Dial(t.Context(), "127.0.0.1:8123")
			if err != nil {
				t.Fatalf("B36 dial: %v", err)
			}
			if _, err := io.WriteString(c, "GET /hostname HTTP/1.0\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if half, ok := c.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
				t.Error("B36: the connection cannot be closed for writing alone")
			}
			answer, err := io.ReadAll(c)
			if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.0 200") {
				t.Errorf("B36: %q, %v", answer, err)
			}
			_ = c.Close()
		}
		if _, err := g.Dial(t.Context(), "127.0.0.1:9"); driver.ReasonOf(err) != driver.NotFound || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("B36: where nobody listens: %v", err)
		}
		stopped, err := g.StopListeners(t.Context(), 8123, 5*time.Second)
		if err != nil || len(stopped) != 1 || stopped[0].Port != 8123 {
			t.Errorf("B34: stopped %+v, %v", stopped, err)
		}
		<-ended
		until(func(set []driver.Listener) bool { return len(set) == 0 })
		if again, err := g.StopListeners(t.Context(), 8123, time.Second); err != nil || len(again) != 0 {
			t.Errorf("B34: stopped twice: %+v, %v", again, err)
		}
	})
}

func TestB34StopSparesTheFirstGroup(t *testing.T) {
	id, engine := container(t, true)
	g := guestOf(t, id, bySocket, dockerExec{engine: engine})
	// The whole tree of a server that ignores SIGTERM goes; a neighbour stays.
	go func() {
		_, _ = g.Exec(t.Context(), driver.ExecSpec{Argv: []string{"sh", "-c", `trap "" TERM; sleep 5003 & ` + server, "sh", "0.0.0.0", "8124"}, Dir: "/", ExecID: "tree"}, driver.ExecIO{})
	}()
	go func() {
		_, _ = g.Exec(t.Context(), driver.ExecSpec{Argv: []string{"sleep", "5004"}, Dir: "/", ExecID: "other"}, driver.ExecIO{})
	}()
	eventually(t, "the server", func() bool {
		c, err := g.Dial(t.Context(), "127.0.0.1:8124")
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	if _, err := g.StopListeners(t.Context(), 8124, 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	out, _, _ := run(t, g, "sh", "-c", `pgrep -x sleep | while read -r p; do tr '\0' ' ' <"/proc/$p/cmdline"; echo; done`)
	if strings.Contains(out, "5003") || !strings.Contains(out, "5004") || !strings.Contains(out, "1000") {
		t.Errorf("left: %s", out)
	}
}

func TestListen(t *testing.T) {
	g := inContainer(t, bySocket)
	l, err := g.Listen(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
			_, err = io.Copy(c, io.MultiReader(strings.NewReader("echo "), c))
		}
		done <- err
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	out, _, _ := run(t, g, "python3", "-c", `
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"hello"); s.shutdown(socket.SHUT_WR)
b = b""
while d := s.recv(99): b += d
print(b.decode())`, port)
	if err := <-done; err != nil || out != "echo hello\n" {
		t.Errorf("%q, %v", out, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close, Accept says %v", err)
	}
	if at, err := g.Clock(t.Context()); err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("the clock: %v, %v", at, err)
	}
}

// TestC7OnlyOwnListenersOfASharedNetwork has a sandbox on the network of its host:
// what others listen on there is not the sandbox's.
func TestC7OnlyOwnListenersOfASharedNetwork(t *testing.T) {
	for _, by := range []way{bySocket, byDriver, plain} {
		t.Run(string(by), func(t *testing.T) {
			other, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			id, engine := container(t, by != plain, "--network", "host")
			target := guest.Target{
				SandboxID: id, Owner: "test " + t.Name(), HasHelper: by != plain, HostsNet: true,
				Driver: func(context.Context) (driver.Driver, error) { return dockerExec{engine: engine}, nil },
			}
			if by == bySocket {
				target.Shared = helpers(t)
			}
			g := guest.New(target)
			t.Cleanup(g.Close)
			free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			own := uint16(free.Addr().(*net.TCPAddr).Port)
			free.Close()
			ctx, cancel := context.WithCancelCause(t.Context())
			var serving sync.WaitGroup
			serving.Go(func() {
				_, _ = g.Exec(ctx, driver.ExecSpec{
					Argv: []string{"sh", "-c", server, "sh", "127.0.0.1", strconv.Itoa(int(own))}, Dir: "/etc", ExecID: "own",
				}, driver.ExecIO{})
			})
			defer serving.Wait()
			defer cancel(nil)
			watch(t, g)(func(set []driver.Listener) bool {
				for _, l := range set {
					if l.Port != own {
						t.Fatalf("port %d is another program's", l.Port)
					}
				}
				return len(set) == 1
			})
		})
	}
}
