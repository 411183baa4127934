// Package command is sero's command line: one file for each verb or noun. A
// command reads its flags, calls the daemon and hands the answer to a view. It
// makes no decisions about workspaces; those are the core's.
package command

import (
	"context"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/cmd/sero/internal/session"
	"github.com/sero-labs/sero-runtime/cmd/sero/internal/view"
	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/internal/harmless"
	"github.com/sero-labs/sero-runtime/internal/inherit"
	"github.com/sero-labs/sero-runtime/internal/version"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// callTimeout bounds a call that only reads or changes the daemon's memory.
const callTimeout = time.Minute

// readyTimeout bounds a call that may make a workspace ready first, with an
// image to build or pull.
const readyTimeout = time.Hour

// Main runs the command line and returns the process's exit code.
func (p Program) Main(args []string) int {
	if serve := p.servedDriver(args); serve != nil {
		serve()
		return exitOK
	}
	a := &app{program: p, stdin: os.Stdin, stdout: shown(os.Stdout), stderr: shown(os.Stderr)}
	defer a.settle()
	a.view = &view.View{Out: a.stdout, Err: a.stderr, Terminal: term.IsTerminal(int(os.Stderr.Fd()))}
	a.view.Plain = os.Getenv("TERM") == "dumb"
	ctx, release := interruptible()
	defer release()
	a.releaseSignals = release
	return a.run(ctx, args)
}

// shown is where an output goes: to a terminal without what would steer it, for
// much of what is shown is a sandbox's; to anything else as it is.
func shown(f *os.File) io.Writer {
	if term.IsTerminal(int(f.Fd())) {
		return harmless.NewWriter(f)
	}
	return f
}

// settle leaves the terminal without the colours of others.
func (a *app) settle() {
	for _, out := range []io.Writer{a.stdout, a.stderr} {
		if w, ok := out.(*harmless.Writer); ok {
			_ = w.Settle() // a terminal that is gone needs nothing
		}
	}
}

// interruptible is a context that a signal ends, with the signal as its cause.
// The second signal kills, as it does any program. After release signals have no
// effect on it.
func interruptible() (_ context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	ch := make(chan os.Signal, 1)
	done := make(chan struct{})
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		switch {
		case !inherit.Ignored(sig):
			signal.Notify(ch, sig)
		case !signal.Ignored(sig):
			signal.Notify(make(chan os.Signal, 1), sig) // ignored here, but not by what this process starts
		}
	}
	go func() {
		select {
		case sig := <-ch:
			signal.Stop(ch)
			number, _ := sig.(syscall.Signal)
			cancel(&session.Interrupted{Signal: number})
		case <-done:
		}
	}()
	return ctx, sync.OnceFunc(func() {
		signal.Stop(ch)
		close(done)
	})
}

// app is one invocation.
type app struct {
	program        Program
	stdin          *os.File
	stdout, stderr io.Writer // fit for sandboxes' text
	view           *view.View

	args           []string // the command line
	releaseSignals func()   // for a command that handles them itself
	workspace      string   // --workspace
	workspaceSet   bool
	beside         string // --beside
}

func (a *app) run(ctx context.Context, args []string) int {
	a.args = args
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if cause, ok := context.Cause(ctx).(*session.Interrupted); ok && err != nil { //nolint:errorlint // it is set unwrapped, just above
		err = cause
	}
	if wantsJSON(cmd, args) {
		a.view.JSON = true
	}
	return a.report(cmd, err)
}

// connect meets the daemon, starting it if need be, and says once if it is of
// another version.
func (a *app) connect(ctx context.Context) (*daemonclient.Client, error) {
	c, err := daemonclient.Ensure(ctx, a.daemon)
	if err != nil {
		return nil, err
	}
	a.warnVersion(c)
	return c, nil
}

// connectQuietly is connect for a command whose standard error is another's: the
// warning is for a person at a terminal only.
func (a *app) connectQuietly(ctx context.Context) (*daemonclient.Client, error) {
	if a.view.Terminal {
		return a.connect(ctx)
	}
	return daemonclient.Ensure(ctx, a.daemon)
}

func (a *app) warnVersion(c *daemonclient.Client) {
	if v := c.Status.GetVersion(); v != version.Version {
		a.view.Notice("warning: the daemon that runs is " + v + ", this is " + version.Version +
			"; to change over: sero daemon stop")
	}
}

// reference is the workspace that the command is about: the one named by an
// argument or by --workspace, else the one of the current directory.
func (a *app) reference(args ...string) (*apipb.WorkspaceRef, error) {
	switch {
	case len(args) > 0 && a.workspaceSet:
		return nil, usagef("the workspace is given twice, as %q and by --workspace", args[0])
	case len(args) > 0:
		return workspaceID(args[0])
	case a.workspaceSet:
		return workspaceID(a.workspace)
	}
	dir, err := absolute(".")
	if err != nil {
		return nil, driver.AsError(err).Remedy("change to a directory that exists, or name the workspace with --workspace")
	}
	return &apipb.WorkspaceRef{Directory: dir}, nil
}

// absolute is a path from the current directory. It does not look at that, as
// filepath.Abs may: it need not answer.
func absolute(path string) (string, error) {
	if filepath.IsAbs(path) {
		return filepath.Clean(path), nil
	}
	dir, err := syscall.Getwd()
	if err != nil {
		return "", driver.Errorf(driver.NotFound, "the current directory cannot be found: %w", err)
	}
	return filepath.Join(dir, path), nil
}

// workspaceID refuses the empty id, which on the wire would mean the directory;
// the core knows the rule for the rest.
func workspaceID(id string) (*apipb.WorkspaceRef, error) {
	if id == "" {
		e := driver.Errorf(driver.NameInvalid, "the workspace id is empty")
		return nil, e.Remedy("see the workspaces there are", "sero", "ls")
	}
	return &apipb.WorkspaceRef{Id: id}, nil
}

// workspaceFlag gives a command -w.
func (a *app) workspaceFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&a.workspace, "workspace", "w", "", "`id` of the workspace [that of the current directory]")
	_ = cmd.RegisterFlagCompletionFunc("workspace", a.completeWorkspaces)
}

// jsonFlag gives a command --json.
func (a *app) jsonFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.view.JSON, "json", false, "answer in JSON")
}

// call bounds an API call in time.
func call(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, driver.Errorf(driver.Timeout, "the daemon did not answer within %v", d))
}
