package workspace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/environ"
	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// ExecOptions describe one command.
type ExecOptions struct {
	Ref        Ref // its Dir, if in the workspace, is where the command runs when Dir is empty
	Argv       []string
	Env        []driver.EnvVar // on top of the workspace's
	Caller     []driver.EnvVar // of environ.Caller: below the workspace's, in host mode only
	Dir        string          // relative to the workspace, or absolute in the sandbox
	User       string          // exec.user@1; empty: sero.json's, else the owner of the files, else the sandbox's
	Terminal   *driver.TerminalSize
	Timeout    time.Duration // of the command, not of making the workspace ready; 0: none
	Keep       guest.Keep    // with Bytes, in a container with the helper: as Detach, and AttachSession can go on with it
	LoginShell bool          // the user's shell instead of Argv, which must be empty
	Detach     bool          // in a container the command outlives ctx and this process, its further output dropped
	Driver     string        // as in UpOptions, for this once

	ExecID    string        // unique in the workspace; empty: one is made
	KillGrace time.Duration // 0: driver.DefaultKillGrace
}

// ExecResult is how a command ended.
type ExecResult struct {
	driver.ExitStatus
	TimedOut bool // Timeout ended it; the exit status says nothing then
}

var (
	errTimedOut = errors.New("the command's timeout is over")
	errStopped  = driver.Errorf(driver.Canceled, "the workspace was stopped")
)

// Exec makes a workspace ready, runs one command in it and returns when it has
// ended; driver.ExecIO has the rules. onStarted, which may be nil, is called
// once before any output, with the workspace and the directory as the sandbox
// sees it. When ctx ends, the command's process group does.
//
// Errors: those of Up, InvalidArgument for a bad command, directory or
// environment, Unsupported for what the driver lacks, CommandNotFound,
// CommandNotExecutable, and those of the driver.
func (m *Manager) Exec(ctx context.Context, options ExecOptions, stdio driver.ExecIO,
	onStarted func(w Workspace, dir string, pid int64), progress func(driver.Progress),
) (ExecResult, error) {
	if err := options.Check(); err != nil {
		return ExecResult{}, err
	}
	for again := false; ; {
		e, at, err := m.open(options.Ref, "")
		if err != nil {
			return ExecResult{}, err
		}
		ready, err := m.ensure(ctx, e, wish{driver: options.Driver}, again, progress)
		if errors.Is(err, errRemoved) {
			continue
		}
		if err != nil {
			return ExecResult{}, err
		}
		c := &command{m: m, e: e, sandbox: ready, at: at, options: options, onStarted: onStarted, stops: e.stopCount()}
		result, err := c.run(ctx, stdio)
		if again || !madeReady[driver.ReasonOf(err)] || c.started.Load() {
			return result, err
		}
		again = true // it ended behind our back, and nothing has run
	}
}

// madeReady are the failures of a command that making its workspace ready again
// may mend. A command that took too long to begin is not among them: a sandbox
// that is slow, or paused, may yet begin it, and nothing is run twice.
var madeReady = map[driver.Reason]bool{
	driver.NotFound: true, driver.NotRunning: true, driver.Corrupt: true, driver.EngineNotRunning: true,
}

// Check is nil for a command that may be run, else InvalidArgument. Exec makes
// the same check before anything else.
func (o ExecOptions) Check() error {
	if err := checkWish(o.Driver); err != nil {
		return err
	}
	switch {
	case o.LoginShell && len(o.Argv) > 0:
		return argument("argv", "a login shell takes no command").Remedy("leave one of the two out")
	case !o.LoginShell && (len(o.Argv) == 0 || o.Argv[0] == ""):
		return argument("argv", "there is no command to run").Remedy("name a command", "sero", "exec", "--", "ls")
	case o.Timeout < 0:
		return argument("timeout", "the timeout is negative").Remedy("give a positive one, or none")
	case o.Dir != "" && !path.IsAbs(o.Dir) && !filepath.IsLocal(o.Dir):
		return argument("dir", "%s leads out of the workspace", shown(o.Dir)).Remedy("give a path below the workspace, or an absolute one")
	case strings.ContainsRune(o.Dir, 0), slices.ContainsFunc(o.Argv, func(a string) bool { return strings.ContainsRune(a, 0) }):
		return argument("argv", "there is a NUL byte in the command or its directory").Remedy("remove it")
	}
	if t := o.Terminal; t != nil && (t.Rows == 0 || t.Cols == 0) {
		return argument("terminal", "a terminal needs at least one row and one column").Remedy("give its size")
	}
	if name := environ.NotCallers(o.Caller); name != "" {
		return argument("caller", "%s is not taken from the caller's environment", shown(name)).Remedy("give it in env")
	}
	return cmp.Or(checkEnv(o.Env), checkEnv(o.Caller))
}

// command is one command in a sandbox that was ready.
type command struct {
	m         *Manager
	e         *entry
	sandbox   *sandbox
	at        place
	options   ExecOptions
	onStarted func(w Workspace, dir string, pid int64)
	started   atomic.Bool
	stops     int // of the workspace, before it
}

func (c *command) run(ctx context.Context, stdio driver.ExecIO) (ExecResult, error) {
	name := c.sandbox.choice.Actual
	d, err := c.m.options.Drivers.Driver(ctx, name)
	if err != nil {
		return ExecResult{}, err
	}
	file, err := c.e.config()
	if err != nil {
		return ExecResult{}, err
	}
	spec, err := c.resolve(ctx, d, file)
	if err != nil {
		return ExecResult{}, err
	}
	if err := cmp.Or(checkEnvSize(spec.Env), driver.NeedAll(d, spec.Needs())); err != nil {
		return ExecResult{}, err
	}
	if stdio.Signals != nil && !driver.Has(d, driver.CapExecSignal) {
		stdio.Signals = nil
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer c.e.track(spec.ExecID, end)()
	if c.options.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, c.options.Timeout, errTimedOut)
		defer stop()
	}
	running := make(chan struct{})
	gate := &gatedReader{source: stdio.Stdin, open: running, over: ctx.Done()}
	if stdio.Stdin != nil {
		stdio.Stdin = gate
	}
	caller := stdio.Started
	stdio.Started = func(pid int64) {
		if c.started.Swap(true) {
			return
		}
		if c.onStarted != nil {
			c.onStarted(c.m.answerOf(c.e, c.sandbox), spec.Dir, pid)
		}
		if caller != nil {
			caller(pid)
		}
		close(running)
	}
	status, err := c.exec(ctx, d, spec, stdio)
	if c.started.Load() {
		err = c.e.whyEnded(c.stops, status, err)
	}
	switch cause := context.Cause(ctx); {
	case err == nil:
		return ExecResult{ExitStatus: status}, nil
	case errors.Is(cause, errTimedOut):
		return ExecResult{ExitStatus: status, TimedOut: true}, nil
	case cause != nil:
		return ExecResult{}, driver.AsError(cause)
	}
	return ExecResult{}, err
}

// exec runs the command where it belongs: on the host by the driver, in a
// sandbox by whoever works there.
func (c *command) exec(ctx context.Context, d driver.Driver, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	if c.sandbox.choice.HostMode {
		return d.Exec(ctx, spec, stdio)
	}
	inside, stop := c.m.guest(c.e, c.sandbox), c.watchStart(ctx)
	var status driver.ExitStatus
	var err error
	if c.options.Keep.Bytes > 0 {
		status, err = inside.ExecKept(ctx, spec, c.options.Keep, stdio)
	} else {
		status, err = inside.Exec(ctx, spec, stdio)
	}
	trouble := driver.AsError(stop())
	if late := driver.AsError(err); trouble != nil && late != nil && late.Reason == driver.Timeout && !c.started.Load() {
		late.Message += ", and the workspace could not be made ready: " + trouble.Message
		late.Remedies = append(late.Remedies, trouble.Remedies...)
		err = late
	}
	return status, err
}

// startPatience is how long a sandbox may take to begin a command before the
// driver is asked about it.
const startPatience = 3 * time.Second

// readyPatience is how long a command that has ended waits for the sandbox that
// was made ready for it: what is listed next is then what the command ran in.
const readyPatience = 2 * time.Second

// watchStart makes the workspace ready again when the command has not begun in a
// while: a sandbox that somebody paused then goes on, and begins it. The function
// that it returns ends that, and says why it failed.
func (c *command) watchStart(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancelCause(ctx)
	result := make(chan error, 1)
	timer := time.AfterFunc(startPatience, func() {
		var err error
		if !c.started.Load() {
			_, err = c.m.ensure(ctx, c.e, wish{driver: c.options.Driver}, true, nil)
		}
		result <- err
	})
	return func() error {
		defer cancel(nil)
		if timer.Stop() {
			return nil
		}
		defer time.AfterFunc(readyPatience, func() { cancel(errBegun) }).Stop()
		if err := <-result; !errors.Is(err, errBegun) {
			return err
		}
		return nil
	}
}

// errBegun ends the look at a sandbox that a command waited for.
var errBegun = errors.New("the command waits no more")

// track makes the command one of the workspace's until the returned function is
// called.
func (e *entry) track(id string, end context.CancelCauseFunc) func() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.commands[id] = end
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.commands, id)
	}
}

// resolve is the command as the driver gets it, with what has to be asked for.
func (c *command) resolve(ctx context.Context, d driver.Driver, file config.Workspace) (driver.ExecSpec, error) {
	egress, err := c.egress(ctx, file)
	if err != nil {
		return driver.ExecSpec{}, err
	}
	searched, err := c.searchPath(ctx, d, file)
	if err != nil {
		return driver.ExecSpec{}, err
	}
	return c.spec(file, egress, searched), nil
}

func (c *command) spec(file config.Workspace, egress, searched []driver.EnvVar) driver.ExecSpec {
	o := c.options
	spec := driver.ExecSpec{
		SandboxID: SandboxID(c.e.id),
		ExecID:    cmp.Or(o.ExecID, c.m.newExecID()),
		Argv:      o.Argv,
		Dir:       c.directory(),
		User:      c.user(file),
		Terminal:  o.Terminal,
		KillGrace: o.KillGrace,
		Detach:    o.Detach && !c.sandbox.choice.HostMode,
	}
	spec.Env = c.env(file, egress, searched, spec.User)
	if o.LoginShell {
		spec.Argv = c.loginShell()
	}
	return spec
}

// user is who the command runs as; empty: whoever the sandbox's own user is.
func (c *command) user(file config.Workspace) string {
	if c.sandbox.choice.HostMode {
		return c.options.User
	}
	return cmp.Or(c.options.User, c.m.userOf(c.e, file), c.sandbox.user.String())
}

// newExecID is unique also among those of an earlier daemon.
func (m *Manager) newExecID() string {
	return fmt.Sprintf("exec-%x-%d", m.born, m.execs.Add(1))
}

func (c *command) env(file config.Workspace, egress, searched []driver.EnvVar, user string) []driver.EnvVar {
	var given []driver.EnvVar
	switch {
	case !c.sandbox.choice.HostMode:
		given = environ.Sandbox()
		if user == c.sandbox.user.String() {
			given = append(given, c.sandbox.user.Env()...)
		}
	case c.options.Terminal != nil:
		given = append(slices.Clone(c.options.Caller), environ.Terminal)
	default:
		given = c.options.Caller
	}
	secrets, _ := c.m.secrets(c.e, file) // what is wrong with them was said when the workspace was made ready
	return environ.Merge(given, egress, environ.Of(file.Env), searched, secrets, c.options.Env)
}

// directory is where the command runs, as the sandbox sees it.
func (c *command) directory() string {
	top := c.sandbox.state.WorkspaceDir
	switch dir := c.options.Dir; {
	case path.IsAbs(dir):
		return path.Clean(dir)
	case dir != "":
		return path.Join(top, filepath.ToSlash(dir))
	}
	below, err := filepath.Rel(c.at.root, c.at.dir)
	if err != nil {
		return top
	}
	return path.Join(top, filepath.ToSlash(below))
}

// loginShell is the user's shell on the host, and in a container the one that
// its SHELL names, else bash or sh.
func (c *command) loginShell() []string {
	if !c.sandbox.choice.HostMode {
		return []string{"/bin/sh", "-c", `exec "${SHELL:-$(command -v bash || echo /bin/sh)}" -l`}
	}
	shell := cmp.Or(c.m.options.Shell, os.Getenv("SHELL"))
	for _, v := range c.options.Env {
		if v.Name == "SHELL" {
			shell = v.Value
		}
	}
	if info, err := os.Stat(shell); !filepath.IsAbs(shell) || err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		shell = "/bin/sh"
	}
	return []string{shell, "-l"}
}

// gatedReader gives no input before the command runs, so that a second attempt
// finds all of it.
type gatedReader struct {
	source io.Reader
	open   <-chan struct{}
	over   <-chan struct{}
}

// Read waits until the command runs.
func (g *gatedReader) Read(p []byte) (int, error) {
	select {
	case <-g.open:
		return g.source.Read(p)
	case <-g.over:
		return 0, io.EOF
	}
}
