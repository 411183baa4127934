package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func TestB39ExitStatus(t *testing.T) {
	b := newBox(t)
	for _, tt := range []struct {
		script string
		want   driver.ExitStatus
	}{
		{"exit 0", driver.ExitStatus{}},
		{"exit 7", driver.ExitStatus{Code: 7}},
		{"exit 127", driver.ExitStatus{Code: 127}},
		{"exit 255", driver.ExitStatus{Code: 255}},
		{"kill -KILL $$", driver.ExitStatus{Signal: "SIGKILL"}},
		{"kill -TERM $$", driver.ExitStatus{Signal: "SIGTERM"}},
		{"kill -SEGV $$", driver.ExitStatus{Signal: "SIGSEGV"}},
		{"kill -USR1 $$", driver.ExitStatus{Signal: "SIGUSR1"}},
		{"kill -PIPE $$", driver.ExitStatus{Signal: "SIGPIPE"}},
		{"kill -HUP $$", driver.ExitStatus{Signal: "SIGHUP"}},
		{"kill -INT $$", driver.ExitStatus{Signal: "SIGINT"}},
		{"kill -QUIT $$", driver.ExitStatus{Signal: "SIGQUIT"}},
		{"sh -c 'kill -KILL $$'; exit $?", driver.ExitStatus{Code: 137}},
	} {
		t.Run(tt.script, func(t *testing.T) {
			b := b.in(t)
			r := b.run(b.script("ulimit -c 0; "+tt.script), nil)
			if r.err != nil || r.status != tt.want {
				t.Fatalf("got %+v, error %v, want %+v", r.status, r.err, tt.want)
			}
		})
	}
}

func TestB39BytesUnchanged(t *testing.T) {
	b := newBox(t)
	in := make([]byte, 3<<20+17)
	_, _ = rand.Read(in)
	t.Run("input to output", func(t *testing.T) {
		b := b.in(t)
		r := b.run(b.spec("cat"), bytes.NewReader(in))
		if r.err != nil || r.stdout != string(in) || r.stderr != "" {
			t.Fatalf("%d bytes came back of %d, error %v", len(r.stdout), len(in), r.err)
		}
	})
	t.Run("input to error", func(t *testing.T) {
		b := b.in(t)
		r := b.run(b.script("cat >&2"), bytes.NewReader(in))
		if r.err != nil || r.stderr != string(in) || r.stdout != "" {
			t.Fatalf("%d bytes came back of %d, error %v", len(r.stderr), len(in), r.err)
		}
	})
	t.Run("both apart", func(t *testing.T) {
		b := b.in(t)
		r := b.run(b.script("printf 'a\\000\\377\\r\\n'; printf 'b\\004' >&2"), nil)
		if r.stdout != "a\x00\xff\r\n" || r.stderr != "b\x04" {
			t.Fatalf("got %q and %q", r.stdout, r.stderr)
		}
	})
	t.Run("nil fields", func(t *testing.T) {
		b := b.in(t)
		status, err := b.Exec(t.Context(), b.script("cat; echo x; echo y >&2; exit 3"), driver.ExecIO{})
		if err != nil || status.Code != 3 {
			t.Fatalf("got %+v, %v", status, err)
		}
	})
}

func TestB39InputThatIsNotRead(t *testing.T) {
	b := newBox(t)
	in := &counting{left: 8 << 20}
	r := b.run(b.spec("true"), in)
	if r.err != nil || r.status != (driver.ExitStatus{}) {
		t.Fatalf("got %+v, %v", r.status, r.err)
	}
	eventually(t, "input dropped to its end", func() bool { return in.atEnd() })
}

// counting is zeros.
type counting struct {
	mu   sync.Mutex
	left int
	end  bool
}

func (c *counting) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == 0 {
		c.end = true
		return 0, io.EOF
	}
	n := min(len(p), c.left)
	clear(p[:n])
	c.left -= n
	return n, nil
}

func (c *counting) atEnd() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end
}

func TestB39EndOfInputEndsNothingElse(t *testing.T) {
	b := newBox(t)
	if got := b.must(b.script("cat; sleep 0.2; echo after"), strings.NewReader("in\n")); got != "in\nafter\n" {
		t.Fatalf("got %q", got)
	}
}

func TestExecStartedComesFirst(t *testing.T) {
	b := newBox(t)
	var mu sync.Mutex
	var order []string
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, s)
	}
	var pid int64
	_, err := b.Exec(t.Context(), b.script("echo $$"), driver.ExecIO{
		Started: func(p int64) { pid = p; time.Sleep(50 * time.Millisecond); note("started") },
		Stdout:  writerFunc(func(p []byte) (int, error) { note(string(p)); return len(p), nil }),
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"started", fmt.Sprintf("%d\n", pid)}, order); diff != "" {
		t.Fatal(diff)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestExecRefused(t *testing.T) {
	b := newBox(t)
	write := func(name, content string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(b.dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := write("plain", "x", 0o644)
	garbage := write("garbage", "\x01\x02\x03", 0o755)
	orphan := write("orphan", "#!/no/such/interpreter\n", 0o755)
	if err := os.Mkdir(filepath.Join(b.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	write("bin/refused", "x", 0o644)
	path := driver.EnvVar{Name: "PATH", Value: filepath.Join(b.dir, "bin")}
	for _, tt := range []struct {
		name   string
		spec   driver.ExecSpec
		reason driver.Reason
		field  string
	}{
		{"no command", driver.ExecSpec{}, driver.InvalidArgument, "argv"},
		{"empty command", driver.ExecSpec{Argv: []string{""}}, driver.InvalidArgument, "argv"},
		{"NUL", driver.ExecSpec{Argv: []string{"echo", "a\x00b"}}, driver.InvalidArgument, "argv[1]"},
		{"missing", driver.ExecSpec{Argv: []string{"no-such-command"}}, driver.CommandNotFound, "argv[0]"},
		{"missing with line break", driver.ExecSpec{Argv: []string{"no\nsuch"}}, driver.CommandNotFound, "argv[0]"},
		{"missing path", driver.ExecSpec{Argv: []string{"./no-such"}}, driver.CommandNotFound, "argv[0]"},
		{"below a file", driver.ExecSpec{Argv: []string{plain + "/x"}}, driver.CommandNotFound, "argv[0]"},
		{"empty PATH", driver.ExecSpec{Argv: []string{"cat"}, Env: []driver.EnvVar{{Name: "PATH"}}}, driver.CommandNotFound, "argv[0]"},
		{"own PATH", driver.ExecSpec{Argv: []string{"cat"}, Env: []driver.EnvVar{path}}, driver.CommandNotFound, "argv[0]"},
		{"no exec bit", driver.ExecSpec{Argv: []string{plain}}, driver.CommandNotExecutable, "argv[0]"},
		{"no exec bit on PATH", driver.ExecSpec{Argv: []string{"refused"}, Env: []driver.EnvVar{path}}, driver.CommandNotExecutable, "argv[0]"},
		{"directory", driver.ExecSpec{Argv: []string{b.dir}}, driver.CommandNotExecutable, "argv[0]"},
		{"device", driver.ExecSpec{Argv: []string{"/dev/null"}}, driver.CommandNotExecutable, "argv[0]"},
		{"unknown format", driver.ExecSpec{Argv: []string{garbage}}, driver.CommandNotExecutable, "argv[0]"},
		{"no interpreter", driver.ExecSpec{Argv: []string{orphan}}, driver.CommandNotExecutable, "argv[0]"},
		{"too long", driver.ExecSpec{Argv: []string{"echo", strings.Repeat("x", 5<<20)}}, driver.InvalidArgument, "argv"},
		{"missing directory", driver.ExecSpec{Argv: []string{"true"}, Dir: "/no/such"}, driver.NotFound, "working_dir"},
		{"file for directory", driver.ExecSpec{Argv: []string{"true"}, Dir: plain}, driver.InvalidArgument, "working_dir"},
		{"relative directory", driver.ExecSpec{Argv: []string{"true"}, Dir: "x"}, driver.InvalidArgument, "working_dir"},
		{"NUL in directory", driver.ExecSpec{Argv: []string{"true"}, Dir: "/x\x00"}, driver.InvalidArgument, "working_dir"},
		{"env name", driver.ExecSpec{Argv: []string{"true"}, Env: []driver.EnvVar{{Name: "A"}, {Name: "A B"}}}, driver.InvalidArgument, "env[1].name"},
		{"env name with =", driver.ExecSpec{Argv: []string{"true"}, Env: []driver.EnvVar{{Name: "A=B"}}}, driver.InvalidArgument, "env[0].name"},
		{"env value", driver.ExecSpec{Argv: []string{"true"}, Env: []driver.EnvVar{{Name: "A", Value: "\x00"}}}, driver.InvalidArgument, "env[0].value"},
		{"user", driver.ExecSpec{Argv: []string{"true"}, User: "nobody"}, driver.Unsupported, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := b.in(t)
			tt.spec.SandboxID = b.id
			r := b.run(tt.spec, nil)
			wantReason(t, r.err, tt.reason, tt.field)
			if r.started != 0 {
				t.Error("started was called")
			}
		})
	}
	t.Run("no sandbox", func(t *testing.T) {
		b := b.in(t)
		wantReason(t, b.run(driver.ExecSpec{SandboxID: "sero-other", Argv: []string{"true"}}, nil).err, driver.NotFound, "")
	})
	t.Run("not running", func(t *testing.T) {
		b := b.in(t)
		if err := b.Stop(t.Context(), b.id, 0); err != nil {
			t.Fatal(err)
		}
		wantReason(t, b.run(b.spec("true"), nil).err, driver.NotRunning, "")
	})
}

func TestExecLookup(t *testing.T) {
	b := newBox(t)
	for _, dir := range []string{"first", "second"} {
		if err := os.MkdirAll(filepath.Join(b.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// A directory and a file without the bit do not hide what comes later.
	if err := os.MkdirAll(filepath.Join(b.dir, "first", "tool"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "second", "tool"), []byte("#!/bin/sh\necho \"$0\" \"$PWD\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	spec := b.spec("tool")
	spec.Env = []driver.EnvVar{{Name: "PATH", Value: b.dir + "/first:" + b.dir + "/second:/bin"}}
	if got, want := b.must(spec, nil), b.dir+"/second/tool "+b.dir+"\n"; got != want {
		t.Errorf("on PATH: got %q, want %q", got, want)
	}
	spec = b.spec("./tool")
	spec.Dir = b.dir + "/second"
	if got, want := b.must(spec, nil), "./tool "+b.dir+"/second\n"; got != want {
		t.Errorf("in the working directory: got %q, want %q", got, want)
	}
	spec = b.spec("tool")
	spec.Env = []driver.EnvVar{{Name: "PATH", Value: "second"}}
	if got, want := b.must(spec, nil), b.dir+"/second/tool "+b.dir+"\n"; got != want {
		t.Errorf("on a relative PATH: got %q, want %q", got, want)
	}
}

func TestExecInheritsNoDescriptors(t *testing.T) {
	b := newBox(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	// ls itself opens one for the directory.
	if got := b.must(b.spec("ls", "/dev/fd/"), strings.NewReader("")); got != "0\n1\n2\n3\n" {
		t.Fatalf("open in the command: %q", got)
	}
	script := `import fcntl,os,sys; sys.exit(any(fcntl.fcntl(i, fcntl.F_GETFL) & os.O_NONBLOCK for i in range(3)))`
	if r := b.run(b.spec("python3", "-c", script), strings.NewReader("")); r.err != nil || r.status.Code != 0 {
		if driver.ReasonOf(r.err) == driver.CommandNotFound {
			testutil.Missing(t, "python3", "it is not on PATH")
		}
		t.Fatalf("standard streams do not block: %+v %v", r.status, r.err)
	}
}

func TestExecSignals(t *testing.T) {
	b := newBox(t)
	signals := make(chan string)
	out := newLines()
	_, done := b.background(t.Context(), b.script(
		`trap 'echo usr1' USR1; trap 'echo int; exit 4' INT; sleep 60 & echo ready; while :; do wait; done`),
		driver.ExecIO{Signals: signals, Stdout: out})
	out.want(t, "ready")
	signals <- "SIGUSR1"
	out.want(t, "usr1")
	signals <- "SIGNONSENSE" // ignored
	signals <- "SIGINT"
	out.want(t, "int")
	if r := b.wait(done); r.err != nil || r.status.Code != 4 {
		t.Fatalf("got %+v, %v", r.status, r.err)
	}
}

// lines is a writer that tests wait on.
type lines struct {
	mu   sync.Mutex
	text string
}

func newLines() *lines { return &lines{} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text += string(p)
	return len(p), nil
}

func (l *lines) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text
}

// want waits for text and forgets everything up to its end.
func (l *lines) want(t *testing.T, text string) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("output was %q", l.all())
		}
	}()
	eventually(t, text, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		_, rest, ok := strings.Cut(l.text, text)
		if ok {
			l.text = rest
		}
		return ok
	})
}

func TestExecManyAtOnce(t *testing.T) {
	b := newBox(t)
	// Each waits for all the others: in sequence they would never end.
	const n = 32
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			script := fmt.Sprintf("touch here.%d; while [ $(ls here.* | wc -l) -lt %d ]; do sleep 0.02; done; echo %d", i, n, i)
			if got := b.must(b.script(script), nil); got != fmt.Sprintln(i) {
				t.Errorf("got %q", got)
			}
		})
	}
	wg.Wait()
}

func TestExecContextAlreadyEnded(t *testing.T) {
	b := newBox(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no longer wanted"))
	r := b.runContext(ctx, b.script("touch ran"), driver.ExecIO{})
	wantReason(t, r.err, driver.Canceled, "")
	if _, err := os.Stat(b.dir + "/ran"); err == nil {
		t.Error("it ran")
	}
}
