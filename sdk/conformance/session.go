package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/launch"
)

// Session is what a case works with. Its methods fail the case when what they
// need goes wrong.
type Session struct {
	Ctx context.Context // ends at the case's deadline

	r *runner
	w *worker

	mu    sync.Mutex
	kills []func()
}

// Driver is a running driver, which cases on the same worker share.
func (s *Session) Driver(t T) *launch.Process {
	t.Helper()
	p, err := s.w.driver(s.Ctx)
	if err != nil {
		t.Fatalf("the driver does not start: %v", err)
	}
	s.onKill(p.Kill)
	return p
}

// Launch starts a driver process for this case alone.
func (s *Session) Launch(t T) *launch.Process {
	t.Helper()
	return s.launch(t, launchOptions{})
}

func (s *Session) launch(t T, o launchOptions) *launch.Process {
	t.Helper()
	p, err := s.r.launch(s.Ctx, o)
	if err != nil {
		t.Fatalf("the driver does not start: %v", err)
	}
	s.onKill(p.Kill)
	t.Cleanup(func() { closeProcess(p) })
	return p
}

func (s *Session) onKill(kill func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kills = append(s.kills, kill)
}

func (s *Session) killAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, kill := range s.kills {
		kill()
	}
}

// declares tells whether the driver has a capability.
func (s *Session) declares(c driver.Capability) bool {
	return slices.Contains(s.r.shake.Capabilities, c)
}

// Spec is a sandbox that does not exist yet, with a workspace of its own.
func (s *Session) Spec(t T) driver.SandboxSpec {
	t.Helper()
	n := s.r.seq.next()
	workspace := filepath.Join(s.r.base, fmt.Sprintf("w%d", n))
	if err := os.Mkdir(workspace, 0o777); err != nil {
		t.Fatalf("making a workspace: %v", err)
	}
	id := fmt.Sprintf("sero-conf-%s-%d", s.r.nonce, n)
	spec := driver.SandboxSpec{
		ID: id, WorkspaceDir: workspace, Image: s.r.c.Profile.Image,
		Labels: map[string]string{
			driver.LabelManaged: "true", driver.LabelDriver: s.r.shake.Info.Name,
			driver.LabelWorkspaceID: strings.TrimPrefix(id, "sero-"), driver.LabelWorkspacePath: workspace,
			driver.LabelInstallation: "conformance", driver.LabelSpecHash: fmt.Sprintf("hash-%d", n),
			labelRun: s.r.nonce,
		},
	}
	if s.declares(driver.CapMountBind) {
		spec.Mounts = []driver.Mount{{Source: workspace, Target: "/workspace"}}
	}
	return spec
}

// Create makes a sandbox and sees to its removal.
func (s *Session) Create(t T, d driver.Driver, spec driver.SandboxSpec) driver.Sandbox {
	t.Helper()
	s.willRemove(t, d, spec.ID)
	sb, err := d.Create(s.Ctx, spec)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	return sb
}

// willRemove removes a sandbox at the end of the case, if it is there.
func (s *Session) willRemove(t T, d driver.Driver, id string) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeoutCause(context.Background(), 20*time.Second, errDeadline)
		defer cancel()
		_ = d.Remove(ctx, id, true) // what stays is found by the clean-up cases
	})
}

// Created makes a stopped sandbox.
func (s *Session) Created(t T) string {
	t.Helper()
	spec := s.Spec(t)
	s.Create(t, s.Driver(t), spec)
	return spec.ID
}

// Running makes a sandbox that runs.
func (s *Session) Running(t T) string {
	t.Helper()
	return s.runningOn(t, s.Driver(t), s.Spec(t)).ID
}

func (s *Session) runningOn(t T, d driver.Driver, spec driver.SandboxSpec) driver.Sandbox {
	t.Helper()
	s.Create(t, d, spec)
	sb, err := d.Start(s.Ctx, spec.ID)
	if err != nil {
		t.Fatalf("Start: %v", err)
	}
	sb.ID = spec.ID // what Start says of it is a case of its own
	return sb
}

// OK fails the case when a call has failed.
func (s *Session) OK(t T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v, want success", what, err)
	}
}

// Fails checks a call's reason.
func (s *Session) Fails(t T, what string, err error, reasons ...driver.Reason) {
	t.Helper()
	if err == nil {
		t.Errorf("%s succeeded, want %v", what, reasons)
	} else if !slices.Contains(reasons, driver.ReasonOf(err)) {
		t.Errorf("%s: %s (%v), want %v", what, driver.ReasonOf(err), err, reasons)
	}
}

// StateIs checks where a sandbox is in its life.
func (s *Session) StateIs(t T, d driver.Driver, id string, want driver.SandboxState) {
	t.Helper()
	sb, err := d.Get(s.Ctx, id)
	if err != nil {
		t.Errorf("Get: %v", err)
	} else if sb.State != want {
		t.Errorf("the sandbox is %s, want %s", sb.State, want)
	}
}

// outcome is what a command did.
type outcome struct {
	driver.ExitStatus
	Out, Errs string
	Err       error
}

// spec is a command of a shell script.
func (s *Session) script(id, script string) driver.ExecSpec {
	return driver.ExecSpec{
		SandboxID: id, ExecID: fmt.Sprintf("conf-%d", s.r.seq.next()),
		Argv: []string{"sh", "-c", script},
	}
}

// Sh runs a script to its end.
func (s *Session) Sh(t T, id, script string) outcome {
	t.Helper()
	return s.exec(s.Driver(t), s.script(id, script), nil)
}

// Out runs a script that must succeed, and gives its output without the last
// newline.
func (s *Session) Out(t T, id, script string) string {
	t.Helper()
	o := s.Sh(t, id, script)
	if o.Err != nil || o.ShellCode() != 0 {
		t.Fatalf("sh -c %q: exit %d %s, error %v, stderr %q", script, o.Code, o.Signal, o.Err, o.Errs)
	}
	return strings.TrimSuffix(o.Out, "\n")
}

func (s *Session) exec(d driver.Driver, spec driver.ExecSpec, stdin io.Reader) outcome {
	var out, errs bytes.Buffer
	status, err := d.Exec(s.Ctx, spec, driver.ExecIO{Stdin: stdin, Stdout: &out, Stderr: &errs})
	return outcome{status, out.String(), errs.String(), err}
}

// running command, in the background of a case.
type command struct {
	s       *Session
	stdin   *io.PipeWriter
	resize  chan driver.TerminalSize
	signals chan string
	cancel  context.CancelCauseFunc
	started chan int64
	done    chan struct{}

	mu        sync.Mutex
	out, errs bytes.Buffer
	result    outcome
}

// errCaseCancel is why a case ends a command.
var errCaseCancel = errors.New("the case cancelled the command")

// Begin runs a command in the background; the end of the case ends it.
func (s *Session) Begin(t T, d driver.Driver, spec driver.ExecSpec, change ...func(*driver.ExecIO)) *command {
	t.Helper()
	ctx, cancel := context.WithCancelCause(s.Ctx)
	r, w := io.Pipe()
	c := &command{
		s: s, stdin: w, cancel: cancel, resize: make(chan driver.TerminalSize, 4), signals: make(chan string, 4),
		started: make(chan int64, 4), done: make(chan struct{}),
	}
	stdio := driver.ExecIO{
		Stdin: r, Stdout: c.writer(&c.out), Stderr: c.writer(&c.errs), Resize: c.resize, Signals: c.signals,
		Started: func(pid int64) {
			select {
			case c.started <- pid:
			default:
			}
		},
	}
	for _, f := range change {
		f(&stdio)
	}
	go func() {
		defer close(c.done)
		status, err := d.Exec(ctx, spec, stdio)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.result = outcome{status, c.out.String(), c.errs.String(), err}
	}()
	t.Cleanup(func() {
		_ = w.CloseWithError(io.EOF) // releases the reader
		cancel(errCaseCancel)
		select {
		case <-c.done:
		case <-time.After(patience):
			t.Logf("a command does not end when its caller has gone")
		}
	})
	return c
}

type lockedWriter struct {
	c   *command
	buf *bytes.Buffer
}

func (c *command) writer(buf *bytes.Buffer) io.Writer { return lockedWriter{c, buf} }

// Write keeps p.
func (w lockedWriter) Write(p []byte) (int, error) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	return w.buf.Write(p)
}

func (c *command) output() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

// Wait gives the outcome once the command has ended.
func (c *command) Wait(t T, limit time.Duration) outcome {
	t.Helper()
	select {
	case <-c.done:
	case <-time.After(c.s.within(limit)):
		t.Fatalf("the command has not ended after %s; its output so far: %.200q", limit, c.output())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.result
}

// Expect waits until the output has a text in it.
func (c *command) Expect(t T, text string) {
	t.Helper()
	ok := c.s.eventually(10*time.Second, func() bool { return strings.Contains(c.output(), text) || isClosed(c.done) })
	if !ok || !strings.Contains(c.output(), text) {
		t.Fatalf("the output is %.200q, want %q in it (error %v, stderr %.200q)", c.output(), text, c.resultErr(), c.errs.String())
	}
}

func (c *command) resultErr() error {
	if !isClosed(c.done) {
		return nil
	}
	return c.result.Err
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// within is a limit of the contract, with what a busy machine may take longer.
func (s *Session) within(limit time.Duration) time.Duration { return limit + s.r.c.Slack }

// eventually polls until ok, or limit has passed, or the case has to end.
func (s *Session) eventually(limit time.Duration, ok func() bool) bool {
	deadline := time.Now().Add(s.within(limit))
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(deadline) || s.Ctx.Err() != nil {
			return false
		}
		time.Sleep(wait)
	}
}
