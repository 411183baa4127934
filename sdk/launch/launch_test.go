package launch_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/internal/plug"
	"github.com/sero-labs/sero-runtime/sdk/launch"
	"github.com/sero-labs/sero-runtime/sdk/serve"
)

// The test binary is the driver too: SERO_TEST_DRIVER says how it behaves.
func TestMain(m *testing.M) {
	switch mode := os.Getenv("SERO_TEST_DRIVER"); mode {
	case "":
		goleak.VerifyTestMain(m)
	case "good":
		serve.Main(toy{})
	case "orderly":
		serve.Main(orderly{})
	case "stderr-json":
		fmt.Fprintln(os.Stderr, `{"@message":1}`)
		fmt.Fprintln(os.Stderr, `{"@message":"x","@level":7,"@timestamp":[]}`)
		serve.Main(toy{})
	case "garbage":
		fmt.Fprintln(os.Stdout, "hello, I am a chatty driver")
		serve.Main(toy{})
	case "wire-2":
		fmt.Fprintln(os.Stdout, "1|2|unix|/nowhere|grpc|")
		time.Sleep(time.Minute)
	case "netrpc":
		fmt.Fprintln(os.Stdout, "1|1|unix|/nowhere|netrpc|")
		time.Sleep(time.Minute)
	case "hang":
		time.Sleep(time.Minute)
	case "exit":
		fmt.Fprintln(os.Stderr, "no engine in sight")
		os.Exit(3) //nolint:forbidigo // this is a driver process
	case "no-newline":
		_, _ = os.Stdout.Write(bytes.Repeat([]byte("x"), 1<<20))
		time.Sleep(time.Minute)
	}
}

// orderly says on its end that it had the time for it.
type orderly struct{ toy }

func (orderly) Shutdown(context.Context) error {
	slog.Info("an end that nobody hears of")
	return os.WriteFile(os.Getenv("SERO_TEST_END"), []byte("in order"), 0o600)
}

// toy is a driver whose commands are a few words.
type toy struct{ driver.Driver }

func (toy) Info() driver.Info {
	return driver.Info{
		Name: "toy", Version: "1.2.3", Isolation: driver.IsolationNone,
		Facts: []driver.Capability{driver.CapExecSignal},
	}
}

func (toy) Health(ctx context.Context, report func(driver.Health) error) error {
	if err := report(driver.Health{State: driver.HealthReady}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (toy) Get(ctx context.Context, id string) (driver.Sandbox, error) {
	switch id {
	case "slow":
		<-ctx.Done()
		return driver.Sandbox{}, ctx.Err()
	case "future":
		return driver.Sandbox{ID: id, State: 99}, nil
	default:
		return driver.Sandbox{}, driver.Errorf(driver.NotFound, "no sandbox %s", id).About(id).Remedy("make one", "sero", "up")
	}
}

func (toy) Exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	stdio.Started(7)
	switch spec.Argv[0] {
	case "cat":
		_, err := io.Copy(stdio.Stdout, stdio.Stdin)
		return driver.ExitStatus{Code: 3}, err
	case "flood":
		for range 2000 {
			fmt.Fprintln(os.Stdout, strings.Repeat("noise ", 100))
		}
		return driver.ExitStatus{}, nil
	case "panic":
		panic("the toy broke")
	case "give-up":
		fmt.Fprintln(os.Stderr, "out of ideas")
		<-stdio.Signals // go-plugin has copied what goes to os.Stderr
		os.Exit(9)      //nolint:forbidigo // this is a driver process
	case "wait": // ignores its input
		select {
		case name := <-stdio.Signals:
			return driver.ExitStatus{Signal: name}, nil
		case <-ctx.Done():
			return driver.ExitStatus{}, ctx.Err()
		}
	}
	return driver.ExitStatus{}, nil
}

func start(t *testing.T, mode string) (*launch.Process, error) {
	t.Helper()
	return startWithin(t.Context(), t, mode)
}

func startWithin(ctx context.Context, t *testing.T, mode string) (*launch.Process, error) {
	t.Helper()
	return startLogged(ctx, t, mode, nil)
}

func startLogged(ctx context.Context, t *testing.T, mode string, log *slog.Logger) (*launch.Process, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "sl") // short: sockets live below it
	if err != nil {
		t.Fatal(err)
	}
	patience := 30 * time.Second
	if mode == "hang" {
		patience = time.Second
	}
	p, err := launch.Start(ctx, launch.Config{
		Path: self, Env: []string{"SERO_TEST_DRIVER=" + mode, "PATH=" + os.Getenv("PATH")},
		RunDir: dir, HostVersion: "0.1.0", StartTimeout: patience, Log: log,
	})
	t.Cleanup(func() {
		if p != nil {
			_ = p.Close(context.WithoutCancel(t.Context()))
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "d", "*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		_ = os.RemoveAll(dir)
	})
	return p, err
}

func mustStart(t *testing.T, mode string) *launch.Process {
	t.Helper()
	p, err := start(t, mode)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestStart(t *testing.T) {
	p := mustStart(t, "good")
	if got := p.Info(); got.Name != "toy" || got.Version != "1.2.3" {
		t.Errorf("info %+v", got)
	}
	if !driver.Has(p, driver.CapExec) || driver.Has(p, driver.CapCopy) {
		t.Errorf("capabilities %v", p.Declared())
	}
	_, err := p.Get(t.Context(), "x")
	if e := driver.AsError(err); e == nil || e.Reason != driver.NotFound || e.Resource != "x" || len(e.Remedies) != 1 || e.Remedies[0].Command[1] != "up" {
		t.Errorf("error crossed as %#v", err)
	}
	if s, err := p.Get(t.Context(), "future"); err != nil || s.State != driver.SandboxUnknown {
		t.Errorf("a future state came as %v, %v", s.State, err)
	}
	err = p.CopyOut(t.Context(), "x", "/", io.Discard)
	if driver.ReasonOf(err) != driver.Unsupported {
		t.Errorf("undeclared call: %v", err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, errors.New("get: no answer"))
	defer cancel()
	if _, err := p.Get(ctx, "slow"); driver.ReasonOf(err) != driver.Timeout || !strings.Contains(err.Error(), "get: no answer") {
		t.Errorf("deadline: %v", err)
	}
}

// Whenever a start is given up, no connection is left that is tried again for
// ever; goleak looks at the end.
func TestB8AStartThatIsGivenUpLeavesNoConnection(t *testing.T) {
	for after := range 60 {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Duration(after)*time.Millisecond, errors.New("given up"))
		if p, err := startWithin(ctx, t, "good"); err == nil {
			_ = p.Close(t.Context())
		}
		cancel()
	}
}

func TestStartFailures(t *testing.T) {
	for mode, want := range map[string]struct {
		reason driver.Reason
		text   string
	}{
		"garbage":    {driver.DriverFailed, "hello, I am a chatty driver"},
		"wire-2":     {driver.DriverIncompatible, "protocol 2, this sero speaks 1"},
		"netrpc":     {driver.DriverIncompatible, "gRPC"},
		"hang":       {driver.DriverFailed, "did not start within"},
		"exit":       {driver.DriverFailed, "exit status 3); it last said: no engine in sight"},
		"no-newline": {driver.DriverFailed, "instead of its handshake"},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			_, err := start(t, mode)
			if driver.ReasonOf(err) != want.reason || !strings.Contains(err.Error(), want.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v (%s)", err, driver.ReasonOf(err))
			}
		})
	}
}

func TestStderrThatBreaksGoPlugin(t *testing.T) {
	p := mustStart(t, "stderr-json")
	if _, err := p.Get(t.Context(), "x"); driver.ReasonOf(err) != driver.NotFound {
		t.Error(err)
	}
}

func TestExec(t *testing.T) {
	p := mustStart(t, "good")
	in := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // 2 MiB, over every window
	var out bytes.Buffer
	status, err := p.Exec(t.Context(), driver.ExecSpec{SandboxID: "a", Argv: []string{"cat"}}, driver.ExecIO{Stdin: bytes.NewReader(in), Stdout: &out})
	if err != nil || status.Code != 3 || !bytes.Equal(out.Bytes(), in) {
		t.Fatalf("%v, %v, %d bytes", status, err, out.Len())
	}
	if _, err := p.Exec(t.Context(), driver.ExecSpec{Argv: []string{"flood"}}, driver.ExecIO{}); err != nil {
		t.Error(err)
	}
}

// A signal passes while the command takes no input.
func TestSignalPassesBlockedInput(t *testing.T) {
	p := mustStart(t, "good")
	signals := make(chan string, 1)
	endless := readerFunc(func(b []byte) (int, error) { return len(b), nil })
	started := func(int64) { signals <- "SIGINT" }
	status, err := p.Exec(t.Context(), driver.ExecSpec{Argv: []string{"wait"}}, driver.ExecIO{Stdin: endless, Signals: signals, Started: started})
	if err != nil || status.Signal != "SIGINT" {
		t.Errorf("%v, %v", status, err)
	}
}

func TestExecEnds(t *testing.T) {
	p := mustStart(t, "good")
	gone := errors.New("the user left")
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err := p.Exec(ctx, driver.ExecSpec{Argv: []string{"wait"}}, driver.ExecIO{Started: func(int64) { cancel(gone) }})
	if !errors.Is(err, gone) {
		t.Errorf("cancelled: %v", err)
	}
	broken := writerFunc(func([]byte) (int, error) { return 0, syscall.EPIPE })
	in := strings.NewReader("x")
	_, err = p.Exec(t.Context(), driver.ExecSpec{Argv: []string{"cat"}}, driver.ExecIO{Stdin: in, Stdout: broken})
	if err != nil && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("broken output: %v", err)
	}
	failing := readerFunc(func([]byte) (int, error) { return 0, syscall.EIO })
	_, err = p.Exec(t.Context(), driver.ExecSpec{Argv: []string{"wait"}}, driver.ExecIO{Stdin: failing})
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("broken input: %v", err)
	}
}

func TestB8CrashTellsLastWords(t *testing.T) {
	p := mustStart(t, "good")
	_, err := p.Exec(t.Context(), driver.ExecSpec{Argv: []string{"panic"}}, driver.ExecIO{})
	if driver.ReasonOf(err) != driver.DriverCrashed || !strings.Contains(err.Error(), "panic: the toy broke") {
		t.Errorf("panic: %v", err)
	}
	<-p.Exited()
	if driver.ReasonOf(p.Err()) != driver.DriverCrashed {
		t.Error(p.Err())
	}
}

func TestB8KilledDriver(t *testing.T) {
	p := mustStart(t, "good")
	_, err := p.Exec(t.Context(), driver.ExecSpec{Argv: []string{"wait"}}, driver.ExecIO{Started: func(int64) { p.Kill() }})
	if driver.ReasonOf(err) != driver.DriverCrashed || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("killed: %v", err)
	}
}

func TestHundredStarts(t *testing.T) {
	if testing.Short() {
		t.Skip("100 processes")
	}
	for range 100 {
		p := mustStart(t, "good")
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.Exited():
		default:
			t.Fatal("Close returned before the end")
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// A Go driver's plain writes to os.Stderr travel another way than its panics.
func TestB8LastWordsOnStderr(t *testing.T) {
	signals := make(chan string, 1)
	log := slog.New(slog.NewTextHandler(writerFunc(func(line []byte) (int, error) {
		if bytes.Contains(line, []byte("out of ideas")) {
			select {
			case signals <- "SIGTERM":
			default: // it is told again when the driver has ended
			}
		}
		return len(line), nil
	}), &slog.HandlerOptions{Level: slog.LevelDebug}))
	p, err := startLogged(t.Context(), t, "good", log)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Exec(t.Context(), driver.ExecSpec{Argv: []string{"give-up"}}, driver.ExecIO{Signals: signals})
	if driver.ReasonOf(err) != driver.DriverCrashed {
		t.Fatal(err)
	}
	<-p.Exited()
	if !strings.Contains(p.Err().Error(), "out of ideas") {
		t.Errorf("last words: %v", p.Err())
	}
}

// A core that is killed reads nothing any more, and a driver that says something
// then still ends what it started.
func TestADriverWhoseCoreIsKilledEndsInOrder(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	end := filepath.Join(t.TempDir(), "end")
	lifeline, core, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer core.Close()
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = []string{
		"SERO_TEST_DRIVER=orderly", "SERO_TEST_END=" + end, "PLUGIN_PROTOCOL_VERSIONS=1", "PLUGIN_UNIX_SOCKET_DIR=" + t.TempDir(),
		plug.CookieKey + "=" + plug.CookieValue, fmt.Sprintf("%s=%d", plug.LifelineEnv, plug.LifelineFD),
	}
	cmd.ExtraFiles = []*os.File{lifeline}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = lifeline.Close()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || !strings.Contains(line, "|grpc|") {
		t.Errorf("it said %q, %v", line, err)
	}
	_ = errors.Join(stdout.Close(), stderr.Close(), core.Close())
	_ = cmd.Wait() // it ends its group, and itself, by SIGKILL
	if text, err := os.ReadFile(end); err != nil || string(text) != "in order" {
		t.Errorf("%q, %v", text, err)
	}
}
