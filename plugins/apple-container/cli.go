package applecontainer

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	goversion "github.com/hashicorp/go-version"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// pathEnv names the CLI to use, on any platform.
const pathEnv = "SERO_APPLE_CONTAINER_PATH"

// installed is where Apple's package puts the CLI.
const installed = "/usr/local/bin/container"

// Deadlines of calls. None of the CLI's own holds: it waits for an answer of its
// server that cannot be given up (apple/container#1681).
const (
	versionLimit = 5 * time.Second
	statusLimit  = 6 * time.Second
	quickLimit   = 20 * time.Second // list, inspect
	createLimit  = time.Minute
	startLimit   = 2 * time.Minute
	deleteLimit  = 45 * time.Second
	signalLimit  = 20 * time.Second
)

// defaultCalls is how many calls may be under way at once: the CLI's server does
// not like storms.
const defaultCalls = 8

// cli runs Apple's command line, each call a process in a group of its own that
// is killed when its deadline has passed.
type cli struct {
	mu       sync.Mutex
	explicit string // a path that was configured
	slots    chan struct{}
	dns      []string
	engines  map[binary]engine

	alive    context.Context // ends at Shutdown
	shutdown context.CancelCauseFunc
	suspect  func()       // called when a call had no answer
	wedged   func() error // why a call should not even be made
}

// binary is one build of the CLI: another file at the same path is another one.
type binary struct {
	path string
	size int64
	time int64
}

func newCLI(path string) *cli {
	c := &cli{explicit: path, slots: make(chan struct{}, defaultCalls), engines: map[binary]engine{}}
	c.alive, c.shutdown = context.WithCancelCause(context.Background())
	return c
}

// find is the CLI's path. It touches the file system only.
func (c *cli) find() (binary, error) {
	c.mu.Lock()
	path := c.explicit
	c.mu.Unlock()
	if path == "" {
		if runtime.GOOS != "darwin" || runtime.GOARCH != "arm64" {
			return binary{}, driver.Errorf(driver.Unsupported, "Apple's container runs on Macs with Apple silicon only, and this is %s/%s", runtime.GOOS, runtime.GOARCH).
				Remedy("use another driver", "sero", "driver", "ls")
		}
		path = installed
		if _, err := os.Stat(path); err != nil {
			if path, err = exec.LookPath("container"); err != nil {
				return binary{}, errNotInstalled("Apple's container is not installed: there is no %s, and none on PATH", installed)
			}
		}
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return binary{}, errNotInstalled("Apple's container cannot be used: %w", err)
	case info.IsDir() || info.Mode()&0o111 == 0:
		return binary{}, errNotInstalled("Apple's container cannot be used: %s is no program", path)
	}
	return binary{path: path, size: info.Size(), time: info.ModTime().UnixNano()}, nil
}

func errNotInstalled(format string, args ...any) *driver.Error {
	return driver.Errorf(driver.EngineNotInstalled, format, args...).
		Remedy("install it from https://github.com/apple/container/releases").
		Remedy("or use another driver", "sero", "driver", "ls")
}

// engine is the release that is installed, asked for once for each file.
func (c *cli) engine(ctx context.Context) (engine, error) {
	b, err := c.find()
	if err != nil {
		return engine{}, err
	}
	c.mu.Lock()
	e, known := c.engines[b]
	c.mu.Unlock()
	if known {
		return e, nil
	}
	r, err := c.spawn(ctx, b.path, command{limit: versionLimit, args: []string{"--version"}})
	if err != nil {
		return engine{}, err
	}
	var v *goversion.Version
	if v, err = parseVersion(r.stdout); err != nil || r.code != 0 {
		return engine{}, driver.Errorf(driver.EngineNotInstalled, "%s is not Apple's container: it tells no version", b.path).
			Remedy("name the right one in the environment variable " + pathEnv)
	}
	if e, err = engineOf(v); err != nil {
		return engine{}, err
	}
	c.mu.Lock()
	c.engines[b] = e
	c.mu.Unlock()
	return e, nil
}

// command is one call of the CLI.
type command struct {
	limit  time.Duration
	args   []string
	free   bool // takes no slot: it lasts, or it must get through
	probe  bool // made although the system seems wedged
	output func(line string)
}

// result is what came of a call.
type result struct {
	args           []string
	stdout, stderr string
	code           int
}

// call makes a call of the CLI. Its error is about the call itself: no such
// program, no answer, ctx has ended. What the CLI says is in the result.
func (c *cli) call(ctx context.Context, cmd command) (result, error) {
	b, err := c.find()
	if err != nil {
		return result{}, err
	}
	if _, err := c.engine(ctx); err != nil {
		return result{}, err
	}
	if !cmd.probe {
		if err := c.wedged(); err != nil {
			return result{}, err
		}
	}
	if !cmd.free {
		release, err := c.slot(ctx)
		if err != nil {
			return result{}, err
		}
		defer release()
	}
	return c.spawn(ctx, b.path, cmd)
}

// ready is why no call can be made now, or nil.
func (c *cli) ready(ctx context.Context) error {
	if _, err := c.engine(ctx); err != nil {
		return err
	}
	return c.wedged()
}

// slot waits for its turn among the calls.
func (c *cli) slot(ctx context.Context) (release func(), err error) {
	c.mu.Lock()
	slots := c.slots
	c.mu.Unlock()
	select {
	case slots <- struct{}{}:
		return func() { <-slots }, nil
	case <-ctx.Done():
		return nil, ctxError(ctx)
	}
}

// answerMargin is how much before its caller's deadline a call gives up, so that
// the caller still hears why.
const answerMargin = 150 * time.Millisecond

var errNoAnswer = errors.New("the CLI gave no answer")

func (c *cli) spawn(ctx context.Context, path string, cmd command) (result, error) {
	limit := cmd.limit
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, max(time.Until(deadline)-answerMargin, time.Millisecond))
	}
	call, cancel := context.WithTimeoutCause(ctx, limit, errNoAnswer)
	defer cancel()
	stop := context.AfterFunc(c.alive, cancel)
	defer stop()
	p := exec.CommandContext(call, path, cmd.args...) //nolint:gosec // the user's own CLI
	stdout, stderr := &capped{limit: 32 << 20, line: cmd.output}, &capped{limit: 256 << 10, line: cmd.output}
	p.Env, p.Stdout, p.Stderr = environ(), stdout, stderr
	inGroup(p)
	if err := p.Start(); err != nil {
		return result{}, startError(path, err)
	}
	done := make(chan error, 1)
	go func() { done <- p.Wait() }() // a process that cannot even be killed is not waited for
	var err error
	select {
	case err = <-done:
	case <-call.Done():
		select {
		case err = <-done:
		case <-time.After(2 * time.Second):
			err = call.Err()
		}
	}
	switch cause := context.Cause(call); {
	case c.alive.Err() != nil:
		return result{}, errClosed()
	case ctx.Err() != nil:
		return result{}, ctxError(ctx)
	case err != nil && errors.Is(cause, errNoAnswer):
		if !cmd.probe {
			c.suspect()
		}
		return result{}, errWedged(cmd.args, limit)
	}
	r := result{args: cmd.args, stdout: stdout.String(), stderr: stderr.String(), code: p.ProcessState.ExitCode()}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return r, driver.Errorf(driver.Internal, "running %s: %w", path, err)
	}
	return r, nil
}

// inGroup makes a process a group of its own, which is killed when the process's
// context ends.
func inGroup(p *exec.Cmd) {
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.Cancel = func() error { return syscall.Kill(-p.Process.Pid, syscall.SIGKILL) }
	p.WaitDelay = time.Second // its output may be held open by others
}

func startError(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return errNotInstalled("Apple's container cannot be used: %w", err)
	}
	return driver.Errorf(driver.Internal, "%s does not start: %w", path, err)
}

func errClosed() error { return driver.Errorf(driver.Canceled, "the driver is shutting down") }

// errWedged says that the CLI does not answer. It is never a verdict on a
// sandbox.
func errWedged(args []string, limit time.Duration) *driver.Error {
	what := strings.Join(args[:min(len(args), 2)], " ")
	if len(args) > 0 && !strings.HasPrefix(what, "system") && !strings.HasPrefix(what, "image") {
		what = args[0]
	}
	e := driver.Errorf(driver.EngineWedged, "Apple's container system does not answer: \"container %s\" said nothing for %s",
		what, limit.Round(10*time.Millisecond))
	e.Retryable = true
	return remedyRestart(e)
}

// remedyRestart says how to restart the system, and what that does. The driver
// never does it by itself (B17).
func remedyRestart(e *driver.Error) *driver.Error {
	return e.Remedy("restart the system: that stops everything in it, other people's too, and shows it first", "sero", "driver", "restart", "apple-container")
}

// environ is the driver's environment without what changes what the CLI does
// behind the driver's back: its own variables (the default platform, debug output
// among the errors and others), and those with which it makes the builder anew
// when they change, its cache lost.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return strings.HasPrefix(name, "CONTAINER_") || name == "NO_COLOR" || name == "BUILDKIT_COLORS"
	})
}

// capped keeps the first bytes that are written to it and drops the rest; line,
// if there is one, is called with each line.
type capped struct {
	limit int
	line  func(string)

	mu      sync.Mutex
	kept    []byte
	pending []byte
}

const maxLine = 4 << 10

// Write takes all of p.
func (w *capped) Write(p []byte) (int, error) {
	for _, text := range w.take(p) {
		w.line(text)
	}
	return len(p), nil
}

// take keeps what there is room for and returns the lines that are whole now, if
// anybody wants them.
func (w *capped) take(p []byte) (lines []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept = append(w.kept, p[:min(len(p), max(0, w.limit-len(w.kept)))]...)
	if w.line == nil {
		return nil
	}
	for _, c := range p {
		if c == '\n' || c == '\r' {
			if text := strings.TrimSpace(string(w.pending)); text != "" {
				lines = append(lines, text)
			}
			w.pending = w.pending[:0]
		} else if len(w.pending) < maxLine {
			w.pending = append(w.pending, c)
		}
	}
	return lines
}

// String is what was kept.
func (w *capped) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.kept)
}
