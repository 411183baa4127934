package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// rounds is how often a case that depends on luck is tried.
func rounds(normal, stress int) int {
	if os.Getenv("SERO_TEST_STRESS") != "" {
		return stress
	}
	return normal
}

func TestB39OutputRightBeforeExit(t *testing.T) {
	const size = 8 << 20
	b := newBox(t)
	for i := range rounds(200, 1000) {
		var n counter
		status, err := b.Exec(t.Context(), b.spec("head", "-c", fmt.Sprint(size), "/dev/zero"), driver.ExecIO{Stdout: &n})
		if err != nil || status.Code != 0 || n.Load() != size {
			t.Fatalf("round %d: %d bytes, %+v, %v", i, n.Load(), status, err)
		}
	}
}

type counter struct{ atomic.Int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.Add(int64(len(p)))
	return len(p), nil
}

func TestB39OutputToSlowReader(t *testing.T) {
	b := newBox(t)
	data := make([]byte, 512<<10)
	_, _ = rand.Read(data)
	var got bytes.Buffer
	slow := writerFunc(func(p []byte) (int, error) {
		time.Sleep(2 * linger / 3)
		return got.Write(p)
	})
	// The command has ended long before the reader has all, and what it left
	// behind writes on and on.
	if err := os.WriteFile(b.dir+"/data", data, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := b.Exec(t.Context(), b.script("cat data; (sleep 0.05; exec yes) & exit"), driver.ExecIO{Stdout: slow})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(got.Bytes(), data) {
		t.Fatalf("%d bytes, not those that the command wrote", got.Len())
	}
}

func TestB39SlowReaderSlowsTheCommand(t *testing.T) {
	b := newBox(t)
	open := make(chan struct{})
	var n counter
	blocked := writerFunc(func(p []byte) (int, error) { <-open; return n.Write(p) })
	const size = 4 << 20
	_, done := b.background(t.Context(), b.script(fmt.Sprintf("head -c %d /dev/zero; touch written", size)), driver.ExecIO{Stdout: blocked})
	// Others are not slowed down: they write as much meanwhile, several times.
	for range 5 {
		b.must(b.spec("head", "-c", fmt.Sprint(size), "/dev/zero"), nil)
	}
	if _, err := os.Stat(b.dir + "/written"); err == nil {
		t.Error("the command wrote everything to nobody")
	}
	close(open)
	if r := b.wait(done); r.err != nil || n.Load() != size {
		t.Fatalf("%d bytes, %v", n.Load(), r.err)
	}
}

func TestExecReturnsThoughOutputIsHeldOpen(t *testing.T) {
	b := newBox(t)
	for name, left := range map[string]string{
		"silent":  "sleep 60 &",
		"talking": "(while :; do echo x; sleep 0.01; done) &",
		"noisy":   "yes &",
		"daemon":  "setsid sleep 60 &",
	} {
		t.Run(name, func(t *testing.T) {
			b := b.in(t)
			began := time.Now()
			r := b.run(b.script(left+" echo $! > pid; echo done"), nil)
			if r.err != nil || !strings.Contains(r.stdout, "done\n") {
				t.Fatalf("got %q, %v", r.stdout[:min(len(r.stdout), 100)], r.err)
			}
			if took := time.Since(began); took > patience/2 {
				t.Errorf("it took %s", took)
			}
			// It lives on and does not die of a closed pipe.
			pid := b.pidFrom("pid")
			if name != "daemon" {
				time.Sleep(50 * time.Millisecond)
				if !alive(pid) {
					t.Error("what was left behind is dead")
				}
			}
			if err := os.Remove(b.dir + "/pid"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// terminal is a command on a terminal.
func (b *box) terminal(argv ...string) driver.ExecSpec {
	s := b.spec(argv...)
	s.Terminal = &driver.TerminalSize{Rows: 33, Cols: 101}
	return s
}

func TestB39Terminal(t *testing.T) {
	b := newBox(t)
	t.Run("is one", func(t *testing.T) {
		b := b.in(t)
		got := b.must(b.terminal("/bin/sh", "-c", "test -t 0 && test -t 1 && test -t 2 && stty size && echo $TERM; ps -o tpgid= -p $$; echo $$"), nil)
		f := strings.Fields(got)
		if len(f) != 5 || f[0] != "33" || f[1] != "101" || f[2] != "xterm-256color" || f[3] != f[4] {
			t.Fatalf("got %q", got)
		}
	})
	t.Run("everything on standard output", func(t *testing.T) {
		b := b.in(t)
		r := b.run(b.terminal("/bin/sh", "-c", "echo out; echo err >&2"), nil)
		if r.stdout != "out\r\nerr\r\n" || r.stderr != "" {
			t.Fatalf("got %q and %q", r.stdout, r.stderr)
		}
	})
	t.Run("output right before exit", func(t *testing.T) {
		b := b.in(t)
		want := strings.Repeat("0123456789abcde\r\n", 5000)
		if err := os.WriteFile(b.dir+"/big", []byte(strings.Repeat("0123456789abcde\n", 500)), 0o644); err != nil {
			t.Fatal(err)
		}
		for i := range rounds(50, 500) {
			got := b.must(b.terminal("/bin/sh", "-c", `i=0; while [ $i -lt 10 ]; do cat big; i=$((i+1)); done`), nil)
			if i == 0 && got == "" {
				t.Fatal("no output")
			}
			if got != want {
				t.Fatalf("round %d: %d bytes, want %d", i, len(got), len(want))
			}
		}
	})
}

func TestB39TerminalControl(t *testing.T) {
	b := newBox(t)
	t.Run("resize", func(t *testing.T) {
		b := b.in(t)
		resize := make(chan driver.TerminalSize)
		out := newLines()
		ended, end := io.Pipe()
		defer func() { _ = end.Close() }()
		_, done := b.background(t.Context(), b.terminal("/bin/sh", "-c",
			`trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.05; done`),
			driver.ExecIO{Stdin: ended, Stdout: out, Resize: resize})
		out.want(t, "ready")
		resize <- driver.TerminalSize{Rows: 12, Cols: 34}
		out.want(t, "12 34")
		b.wait(done)
	})
	t.Run("signal to the foreground", func(t *testing.T) {
		b := b.in(t)
		signals := make(chan string)
		out := newLines()
		ended, end := io.Pipe()
		defer func() { _ = end.Close() }()
		// With job control the sleep is a group of its own, in the foreground.
		_, done := b.background(t.Context(), b.terminal("bash", "-ic", "echo ready; sleep 60; echo status $?; exit 5"),
			driver.ExecIO{Stdin: ended, Stdout: out, Signals: signals})
		out.want(t, "ready")
		eventually(t, "sleep in the foreground", func() bool { return b.foreground(t, "sleep") })
		signals <- "SIGTERM"
		out.want(t, "status 143")
		if r := b.wait(done); r.err != nil || r.status.Code != 5 {
			t.Fatalf("got %+v, %v", r.status, r.err)
		}
	})
	t.Run("interrupt key", func(t *testing.T) {
		b := b.in(t)
		read, write := io.Pipe()
		defer func() { _ = write.Close() }()
		out := newLines()
		_, done := b.background(t.Context(), b.terminal("/bin/sh", "-c", "trap 'exit 6' INT; echo ready; while :; do sleep 0.05; done"),
			driver.ExecIO{Stdin: read, Stdout: out})
		out.want(t, "ready")
		if _, err := write.Write([]byte{3}); err != nil {
			t.Fatal(err)
		}
		if r := b.wait(done); r.err != nil || r.status.Code != 6 {
			t.Fatalf("got %+v, %v", r.status, r.err)
		}
	})
}

func TestB39TerminalEnds(t *testing.T) {
	b := newBox(t)
	t.Run("end of input", func(t *testing.T) {
		b := b.in(t)
		got := b.must(b.terminal("/bin/sh", "-c", "stty -echo; cat; echo over"), strings.NewReader("a line\nhalf"))
		if !strings.HasSuffix(got, "over\r\n") || !strings.Contains(got, "a line\r\nhalf") {
			t.Fatalf("got %q", got)
		}
		b.must(b.terminal("cat"), nil)
	})
	t.Run("closed and opened again", func(t *testing.T) {
		b := b.in(t)
		for range 20 { // cat closes everything before it exits
			b.must(b.terminal("cat"), nil)
		}
		r := b.run(b.terminal("/bin/sh", "-c", `tty=$(tty); exec <&- >&- 2>&-; sleep 0.1; echo again > $tty; exit 3`), strings.NewReader(""))
		if r.err != nil || r.status.Code != 3 || r.stdout != "again\r\n" {
			t.Fatalf("got %+v, %v, %q", r.status, r.err, r.stdout)
		}
	})
	t.Run("held open by what is left", func(t *testing.T) {
		b := b.in(t)
		got := b.must(b.terminal("/bin/sh", "-c", "(trap '' HUP; sleep 60) & echo done"), nil)
		if got != "done\r\n" {
			t.Fatalf("got %q", got)
		}
	})
}

// foreground tells whether a process of that name runs in the sandbox.
func (b *box) foreground(t *testing.T, name string) bool {
	t.Helper()
	found, err := b.processes.survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, members := range found {
		for _, p := range members {
			data, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.PID))
			if err == nil && strings.TrimSpace(string(data)) == name {
				return true
			}
		}
	}
	return false
}

func TestExecCallerLost(t *testing.T) {
	b := newBox(t)
	broken := errors.New("broken")
	t.Run("writer", func(t *testing.T) {
		b := b.in(t)
		r, err := b.Exec(t.Context(), b.script("echo $$ > w; echo x; exec sleep 60"), driver.ExecIO{
			Stdout: writerFunc(func([]byte) (int, error) { return 0, broken }),
		})
		if !errors.Is(err, broken) || driver.ReasonOf(err) != driver.Canceled {
			t.Fatalf("got %+v, %v", r, err)
		}
		if alive(b.pidFrom("w")) {
			t.Error("the command lives")
		}
	})
	t.Run("reader", func(t *testing.T) {
		b := b.in(t)
		var pid int64
		_, err := b.Exec(t.Context(), b.spec("sleep", "60"), driver.ExecIO{
			Started: func(p int64) { pid = p },
			Stdin:   readerFunc(func([]byte) (int, error) { return 0, broken }),
		})
		if !errors.Is(err, broken) || driver.ReasonOf(err) != driver.Canceled {
			t.Fatal(err)
		}
		if pid == 0 || alive(int(pid)) {
			t.Errorf("the command %d lives", pid)
		}
	})
}

func BenchmarkExecTrue(bm *testing.B) {
	d, id := benchDriver(bm)
	for bm.Loop() {
		if _, err := d.Exec(bm.Context(), driver.ExecSpec{SandboxID: id, Argv: []string{"true"}}, driver.ExecIO{Stdout: io.Discard, Stderr: io.Discard}); err != nil {
			bm.Fatal(err)
		}
	}
}

func BenchmarkExecOutput(bm *testing.B) {
	d, id := benchDriver(bm)
	const size = 256 << 20
	bm.SetBytes(size)
	for bm.Loop() {
		if _, err := d.Exec(bm.Context(), driver.ExecSpec{SandboxID: id, Argv: []string{"head", "-c", fmt.Sprint(size), "/dev/zero"}}, driver.ExecIO{Stdout: io.Discard}); err != nil {
			bm.Fatal(err)
		}
	}
}

func BenchmarkSurvey(bm *testing.B) {
	d, id := benchDriver(bm)
	if _, err := d.Exec(bm.Context(), driver.ExecSpec{SandboxID: id, Argv: []string{"sh", "-c", "sleep 60 &"}}, driver.ExecIO{}); err != nil {
		bm.Fatal(err)
	}
	for bm.Loop() {
		if _, err := d.processes.survey(bm.Context()); err != nil {
			bm.Fatal(err)
		}
	}
}

func benchDriver(bm *testing.B) (*Driver, string) {
	d := New()
	bm.Cleanup(func() { _ = d.Shutdown(context.WithoutCancel(bm.Context())) })
	spec := driver.SandboxSpec{ID: "bench", WorkspaceDir: bm.TempDir()}
	if _, err := d.Create(bm.Context(), spec); err != nil {
		bm.Fatal(err)
	}
	if _, err := d.Start(bm.Context(), spec.ID); err != nil {
		bm.Fatal(err)
	}
	return d, spec.ID
}
