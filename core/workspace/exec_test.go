package workspace_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

func (w *world) exec(o workspace.ExecOptions) (string, workspace.ExecResult, error) {
	w.t.Helper()
	var out bytes.Buffer
	result, err := w.Exec(w.t.Context(), o, driver.ExecIO{Stdout: &out}, nil, nil)
	return out.String(), result, err
}

func (w *world) sh(o workspace.ExecOptions, script string) string {
	w.t.Helper()
	o.Argv = []string{"sh", "-c", script}
	out, result, err := w.exec(o)
	if err != nil || result.Code != 0 {
		w.t.Fatalf("%s: %+v %v", script, result, err)
	}
	return strings.TrimSpace(out)
}

func TestB39ExecRunsAndReports(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir := w.dir("shop", "")
	var out, errs bytes.Buffer
	var started []string
	result, err := w.Exec(t.Context(), workspace.ExecOptions{Ref: workspace.Ref{Dir: dir}, Argv: []string{"sh", "-c", "cat; echo oops >&2; exit 7"}},
		driver.ExecIO{Stdin: strings.NewReader("hello"), Stdout: &out, Stderr: &errs},
		func(ws workspace.Workspace, at string, pid int64) {
			started = append(started, ws.ID, at)
			if pid == 0 || out.Len() > 0 {
				t.Error("pid", pid, "output before the start:", out.String())
			}
		}, nil)
	if err != nil || result.Code != 7 || out.String() != "hello" || errs.String() != "oops\n" || len(started) != 2 || started[0] != "shop" {
		t.Errorf("%+v %v %q %q %v", result, err, out.String(), errs.String(), started)
	}
}

func TestExecDirectories(t *testing.T) {
	w := newWorld(t, fake.Script{})
	shop := w.dir("shop", "")
	deep := w.dir("shop/web/src", "")
	inside := w.upDir(shop).SandboxDir
	for name, c := range map[string]struct {
		o    workspace.ExecOptions
		want string
	}{
		"by directory":         {workspace.ExecOptions{Ref: workspace.Ref{Dir: deep}}, inside + "/web/src"},
		"by id":                {workspace.ExecOptions{Ref: workspace.Ref{ID: "shop"}}, inside},
		"by both":              {workspace.ExecOptions{Ref: workspace.Ref{ID: "shop", Dir: deep}}, inside + "/web/src"},
		"by both, elsewhere":   {workspace.ExecOptions{Ref: workspace.Ref{ID: "shop", Dir: w.root}}, inside},
		"relative to the root": {workspace.ExecOptions{Ref: workspace.Ref{Dir: deep}, Dir: "web"}, inside + "/web"},
		"absolute":             {workspace.ExecOptions{Ref: workspace.Ref{Dir: deep}, Dir: "/"}, "/"},
	} {
		if got := w.sh(c.o, "pwd"); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestB27Environment(t *testing.T) {
	w := newWorld(t, fake.Script{})
	script := "echo $TERM,$HOST,$HOSTNAME,$VITE_HOST,$A,$B"
	dir := w.dir("shop", `{"env": {"A": "file", "B": "file", "VITE_HOST": "mine"}}`)
	ref := workspace.Ref{Dir: dir}
	if got := w.sh(workspace.ExecOptions{Ref: ref, Env: []driver.EnvVar{{Name: "B", Value: "given"}}}, script); got != "xterm-256color,0.0.0.0,0.0.0.0,mine,file,given" {
		t.Error(got)
	}
	host := w.dir("bare", `{"mode": "host", "env": {"A": "file"}}`)
	w.trust(host)
	if got := w.sh(workspace.ExecOptions{Ref: workspace.Ref{Dir: host}}, script); strings.Contains(got, "0.0.0.0") || !strings.HasSuffix(got, ",file,") {
		t.Error("in host mode:", got)
	}
	if got := w.sh(workspace.ExecOptions{Ref: workspace.Ref{Dir: host}, Terminal: &driver.TerminalSize{Rows: 24, Cols: 80}}, "echo $TERM"); got != "xterm-256color" {
		t.Error(got)
	}
	w.write(filepath.Join(dir, "sero.json"), `{"env": {"A": "changed"}}`)
	if got := w.sh(workspace.ExecOptions{Ref: ref}, "echo $A"); got != "changed" {
		t.Error("a change of env does not reach the next command:", got)
	}
}

func TestB41TimeoutAndCancel(t *testing.T) {
	w := newWorld(t, fake.Script{})
	ref := workspace.Ref{Dir: w.dir("shop", "")}
	_, result, err := w.exec(workspace.ExecOptions{Ref: ref, Argv: []string{"sleep", "600"}, Timeout: 50 * time.Millisecond})
	if err != nil || !result.TimedOut {
		t.Errorf("%+v %v", result, err)
	}
	_, result, err = w.exec(workspace.ExecOptions{Ref: ref, Argv: []string{"true"}, Timeout: time.Hour})
	if err != nil || result.TimedOut || result.Code != 0 {
		t.Errorf("%+v %v", result, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	_, err = w.Exec(ctx, workspace.ExecOptions{Ref: ref, Argv: []string{"sleep", "600"}}, driver.ExecIO{},
		func(workspace.Workspace, string, int64) { cancel(errors.New("enough")) }, nil)
	if err == nil || !strings.Contains(err.Error(), "enough") {
		t.Error(err)
	}
}

func TestExecMakesAVanishedSandboxAnew(t *testing.T) {
	w := newWorld(t, fake.Script{})
	ref := workspace.Ref{Dir: w.dir("shop", "")}
	w.sh(workspace.ExecOptions{Ref: ref}, "true")
	gets := w.box.Calls("GetSandbox")
	w.sh(workspace.ExecOptions{Ref: ref}, "true")
	if n := w.box.Calls("GetSandbox"); n != gets {
		t.Error("a ready workspace is looked up again for each command")
	}
	for name, spoil := range map[string]func() error{
		"stopped": func() error { return w.box.Stop(t.Context(), "sero-shop", time.Second) },
		"removed": func() error { return w.box.Remove(t.Context(), "sero-shop", true) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		input := strings.Repeat("x", 100_000)
		result, err := w.Exec(t.Context(), workspace.ExecOptions{Ref: ref, Argv: []string{"cat"}},
			driver.ExecIO{Stdin: strings.NewReader(input), Stdout: &out}, nil, nil)
		if err != nil || result.Code != 0 || out.String() != input {
			t.Errorf("%s: %+v %v, %d bytes", name, result, err, out.Len())
		}
	}
	w.script(fake.Script{Rules: []fake.Rule{{Call: "Exec", Error: &fake.Failure{Reason: driver.NotRunning}}}})
	before := w.box.Calls("Exec")
	_, _, err := w.exec(workspace.ExecOptions{Ref: ref, Argv: []string{"true"}})
	wantReason(t, err, driver.NotRunning)
	if n := w.box.Calls("Exec") - before; n != 2 {
		t.Errorf("%d attempts", n)
	}
}

// A sandbox that is slow, or paused, may yet begin a command that did not start in
// time: it is not sent again.
func TestACommandThatMayYetBeginIsSentOnce(t *testing.T) {
	w := newWorld(t, fake.Script{})
	ref := workspace.Ref{Dir: w.dir("shop", "")}
	w.sh(workspace.ExecOptions{Ref: ref}, "true")
	w.script(fake.Script{Rules: []fake.Rule{{Call: "Exec", Error: &fake.Failure{Reason: driver.Timeout}}}})
	before := w.box.Calls("Exec")
	_, _, err := w.exec(workspace.ExecOptions{Ref: ref, Argv: []string{"true"}})
	wantReason(t, err, driver.Timeout)
	if n := w.box.Calls("Exec") - before; n != 1 {
		t.Errorf("it was sent %d times", n)
	}
}

// What a command that let a paused sandbox go on ran in is listed as running once
// the command has ended, also where the engine lets it go on before it says so.
func TestB15ACommandEndsInARunningSandbox(t *testing.T) {
	w := newWorld(t, fake.Script{})
	ref := workspace.Ref{Dir: w.dir("shop", "")}
	w.sh(workspace.ExecOptions{Ref: ref}, "true")
	d := &pausedDriver{Driver: w.box, running: make(chan struct{}), ran: make(chan struct{})}
	d.paused.Store(true)
	w.replace("box", d)
	if _, _, err := w.exec(workspace.ExecOptions{Ref: ref, Argv: []string{"true"}}); err != nil {
		t.Fatal(err)
	}
	if got := states(w.List(t.Context())); got != "shop:running" {
		t.Error(got)
	}
}

// pausedDriver has one paused sandbox. Its Start lets what runs in it go on, and
// returns only after that has ended.
type pausedDriver struct {
	driver.Driver
	paused       atomic.Bool
	running, ran chan struct{}
	once         sync.Once
}

func (d *pausedDriver) Start(ctx context.Context, id string) (driver.Sandbox, error) {
	close(d.running)
	<-d.ran
	time.AfterFunc(100*time.Millisecond, func() { d.paused.Store(false) })
	for d.paused.Load() {
		if err := ctx.Err(); err != nil {
			return driver.Sandbox{}, err
		}
		time.Sleep(time.Millisecond)
	}
	return d.Get(ctx, id)
}

func (d *pausedDriver) Exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	select {
	case <-d.running:
	case <-ctx.Done():
		return driver.ExitStatus{}, ctx.Err()
	}
	defer d.once.Do(func() { close(d.ran) })
	return d.Driver.Exec(ctx, spec, stdio)
}

func (d *pausedDriver) Get(ctx context.Context, id string) (driver.Sandbox, error) {
	sb, err := d.Driver.Get(ctx, id)
	if d.paused.Load() {
		sb.State = driver.SandboxPaused
	}
	return sb, err
}

func (d *pausedDriver) List(ctx context.Context, labels map[string]string) ([]driver.Sandbox, error) {
	list, err := d.Driver.List(ctx, labels)
	for i := range list {
		if d.paused.Load() {
			list[i].State = driver.SandboxPaused
		}
	}
	return list, err
}

func TestExecRefusesBadInput(t *testing.T) {
	w := newWorld(t, fake.Script{Without: []driver.Capability{driver.CapExecTTY, driver.CapExecUser}})
	ref := workspace.Ref{Dir: w.dir("shop", "")}
	w.sh(workspace.ExecOptions{Ref: ref}, "true") // it is ready from now on
	ls := []string{"ls"}
	for name, c := range map[string]struct {
		o      workspace.ExecOptions
		reason driver.Reason
	}{
		"no command":       {workspace.ExecOptions{}, driver.InvalidArgument},
		"empty command":    {workspace.ExecOptions{Argv: []string{""}}, driver.InvalidArgument},
		"shell and argv":   {workspace.ExecOptions{Argv: ls, LoginShell: true}, driver.InvalidArgument},
		"escape":           {workspace.ExecOptions{Argv: ls, Dir: "../x"}, driver.InvalidArgument},
		"hidden escape":    {workspace.ExecOptions{Argv: ls, Dir: "a/../../x"}, driver.InvalidArgument},
		"NUL":              {workspace.ExecOptions{Argv: []string{"a\x00"}}, driver.InvalidArgument},
		"env name":         {workspace.ExecOptions{Argv: ls, Env: []driver.EnvVar{{Name: "A=B"}}}, driver.InvalidArgument},
		"env value":        {workspace.ExecOptions{Argv: ls, Env: []driver.EnvVar{{Name: "A", Value: "\x00"}}}, driver.InvalidArgument},
		"negative timeout": {workspace.ExecOptions{Argv: ls, Timeout: -1}, driver.InvalidArgument},
		"no rows":          {workspace.ExecOptions{Argv: ls, Terminal: &driver.TerminalSize{}}, driver.InvalidArgument},
		"driver":           {workspace.ExecOptions{Argv: ls, Driver: "no such"}, driver.InvalidArgument},
		"terminal":         {workspace.ExecOptions{Argv: ls, Terminal: &driver.TerminalSize{Rows: 1, Cols: 1}}, driver.Unsupported},
		"user":             {workspace.ExecOptions{Argv: ls, User: "root"}, driver.Unsupported},
	} {
		c.o.Ref = ref
		before := w.box.Calls("Exec")
		_, _, err := w.exec(c.o)
		if driver.ReasonOf(err) != c.reason || w.box.Calls("Exec") != before {
			t.Errorf("%s: %v", name, err)
		}
		if c.reason == driver.InvalidArgument && w.box.Calls("CreateSandbox") > 0 && name != "terminal" && name != "user" && len(driver.AsError(err).Remedies) == 0 {
			t.Errorf("%s: no remedy", name)
		}
	}
	_, _, err := w.exec(workspace.ExecOptions{Ref: ref, Argv: []string{"no-such-command"}})
	wantReason(t, err, driver.CommandNotFound)
}

func TestLoginShell(t *testing.T) {
	w := newWorld(t, fake.Script{})
	shell := filepath.Join(w.root, "shell")
	w.write(shell, "")
	if err := os.Chmod(shell, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file string
		env  []driver.EnvVar
		want []string
	}{
		"host":           {`{"mode": "host"}`, nil, []string{"/bin/sh", "-l"}},
		"host, caller's": {`{"mode": "host"}`, []driver.EnvVar{{Name: "SHELL", Value: shell}}, []string{shell, "-l"}},
		"host, broken":   {`{"mode": "host"}`, []driver.EnvVar{{Name: "SHELL", Value: "/no/shell"}}, []string{"/bin/sh", "-l"}},
	} {
		t.Run(name, func(t *testing.T) {
			spy := &spyDriver{Driver: w.host}
			w.replaceHost(spy)
			dir := w.dir("shop", c.file)
			w.trust(dir)
			_, _, _ = w.exec(workspace.ExecOptions{Ref: workspace.Ref{Dir: dir}, LoginShell: true, Env: c.env})
			if !slices.Equal(spy.argv, c.want) {
				t.Error(spy.argv)
			}
		})
	}
}

func TestListStates(t *testing.T) {
	w := newWorld(t, fake.Script{})
	for _, id := range []string{"gone", "idle", "runs"} {
		w.upDir(w.dir(id, ""))
	}
	w.up(workspace.UpOptions{Ref: workspace.Ref{Dir: w.dir("bare", "")}, Driver: "host"})
	if _, _, err := w.Stop(t.Context(), workspace.Ref{ID: "idle"}, time.Second); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(w.dir("gone", "")); err != nil {
		t.Fatal(err)
	}
	if got := states(w.List(t.Context())); got != "bare:running gone:directory-missing idle:stopped runs:running" {
		t.Error(got)
	}
	_, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{ID: "gone"}}, nil)
	if e := wantReason(t, err, driver.NotFound); !strings.Contains(e.Message, "gone") {
		t.Error(e)
	}

	// After a crash of the daemon with its drivers: no ghosts of the host.
	w.stopDriver("host", true)
	w.stopDriver("box", true)
	again := w.manager()
	list := again.List(t.Context())
	if got := states(list); got != "bare:stopped gone:directory-missing idle:unknown runs:unknown" {
		t.Error(got)
	}
	if !strings.Contains(list[3].StateMessage, "does not run") {
		t.Error(list[3].StateMessage)
	}
	w.stopDriver("box", false)
	w.script(fake.Script{Rules: []fake.Rule{{Call: "ListSandboxes", Hang: true}}})
	begun := time.Now()
	list = again.List(t.Context())
	if got := states(list); got != "bare:stopped gone:directory-missing idle:unknown runs:unknown" || time.Since(begun) > guard {
		t.Error(got, time.Since(begun))
	}
	if !strings.Contains(list[3].StateMessage, "did not answer") {
		t.Error(list[3].StateMessage)
	}
	if got, err := again.Get(t.Context(), workspace.Ref{ID: "idle"}); err != nil || got.State != workspace.StateUnknown {
		t.Error(got, err)
	}
}

func TestStopAndRemove(t *testing.T) {
	w := newWorld(t, fake.Script{})
	servers := &recordingServers{}
	w.SetDevServers(servers)
	dir := w.dir("shop", "")
	w.write(filepath.Join(dir, "file"), "precious")
	w.upDir(dir)
	var wg sync.WaitGroup
	running := make(chan struct{})
	wg.Go(func() {
		result, err := w.Exec(t.Context(), workspace.ExecOptions{Ref: workspace.Ref{ID: "shop"}, Argv: []string{"sleep", "600"}}, driver.ExecIO{},
			func(workspace.Workspace, string, int64) { close(running) }, nil)
		if err == nil && result.Signal == "" && result.Code == 0 {
			t.Error("a command that was stopped looks like a success")
		}
	})
	<-running
	if _, n := w.Running(); n != 1 {
		t.Error(n, "commands")
	}
	got, lines, err := w.Stop(t.Context(), workspace.Ref{ID: "shop"}, 50*time.Millisecond)
	wg.Wait()
	if err != nil || got.State != workspace.StateStopped || !slices.Equal(lines, []string{"dev server web", "sandbox sero-shop in driver box"}) {
		t.Errorf("%v %v %v", got.State, lines, err)
	}
	if a, b := w.Running(); a+b != 0 {
		t.Error(a, b)
	}
	if _, lines, err = w.Stop(t.Context(), workspace.Ref{Dir: dir}, 0); err != nil || len(lines) != 1 {
		t.Error("a second stop:", lines, err)
	}
	id, removed, err := w.Remove(t.Context(), workspace.Ref{ID: "shop"})
	if err != nil || id != "shop" || !slices.Contains(removed, "sandbox sero-shop in driver box") || !slices.Equal(servers.forgotten, []string{"shop"}) {
		t.Error(id, removed, err)
	}
	if id, removed, err = w.Remove(t.Context(), workspace.Ref{ID: "shop"}); id != "" || err != nil || removed != nil {
		t.Error(id, removed, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(text) != "precious" {
		t.Error("the workspace's files were touched")
	}
	if len(w.List(t.Context())) != 0 || len(w.manager().List(t.Context())) != 0 {
		t.Error("it is still known")
	}
	types := w.eventTypes()
	for _, want := range []event.Type{event.WorkspaceStarting, event.WorkspaceRunning, event.WorkspaceStopping, event.WorkspaceStopped, event.WorkspaceRemoved} {
		if !slices.Contains(types, want) {
			t.Error("no event", want)
		}
	}
	if w.upDir(dir).ID != "shop" {
		t.Error("it cannot be opened again")
	}
}

func TestStopEndsAStartThatHangs(t *testing.T) {
	w := newWorld(t, fake.Script{Rules: []fake.Rule{{Call: "CreateSandbox", Times: 1, Hang: true}}})
	dir := w.dir("shop", "")
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil)
		if e := driver.AsError(err); e == nil || e.Reason != driver.Canceled || !strings.Contains(e.Message, "stopped") {
			t.Error(err)
		}
	})
	eventually(t, "it hangs", func() bool { return w.box.Calls("CreateSandbox") == 1 })
	if _, _, err := w.Stop(t.Context(), workspace.Ref{ID: "shop"}, 0); err != nil {
		t.Error(err)
	}
	wg.Wait()
	w.upDir(dir)
}

// TestRandomPairs runs up, exec, stop and remove of one workspace against each
// other; whatever happens, it ends in a legal state and can be used again.
func TestRandomPairs(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir := w.dir("shop", "")
	ref := workspace.Ref{Dir: dir}
	allowed := map[driver.Reason]bool{"": true, driver.Canceled: true, driver.NotFound: true, driver.NotRunning: true}
	operations := []func() error{
		func() error { _, err := w.Up(t.Context(), workspace.UpOptions{Ref: ref}, nil); return err },
		func() error {
			_, err := w.Exec(t.Context(), workspace.ExecOptions{Ref: ref, Argv: []string{"true"}}, driver.ExecIO{}, nil, nil)
			return err
		},
		func() error { _, _, err := w.Stop(t.Context(), ref, time.Second); return err },
		func() error { _, _, err := w.Remove(t.Context(), ref); return err },
		func() error { _ = w.List(t.Context()); return nil },
	}
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			for j := range 60 {
				if err := operations[(i*7+j*(i+3))%len(operations)](); !allowed[driver.ReasonOf(err)] {
					t.Errorf("%v", err)
				}
			}
		})
	}
	wg.Wait()
	w.upDir(dir)
	if got := states(w.List(t.Context())); got != "shop:running" {
		t.Error(got)
	}
}

type recordingServers struct {
	mu        sync.Mutex
	forgotten []string
	stopped   int
}

func (r *recordingServers) StopWorkspace(context.Context, string) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped++
	return []string{"dev server web"}, nil
}

func (r *recordingServers) stops() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stopped
}

func (r *recordingServers) ForgetWorkspace(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgotten = append(r.forgotten, id)
}

// TestASecondAttemptHasAllOfTheInput uses a driver that takes input at once and
// then finds that the sandbox does not run.
func TestASecondAttemptHasAllOfTheInput(t *testing.T) {
	w := newWorld(t, fake.Script{})
	eager := &eagerDriver{Driver: w.host}
	w.replaceHost(eager)
	var out bytes.Buffer
	_, err := w.Exec(t.Context(), workspace.ExecOptions{Ref: workspace.Ref{Dir: w.dir("shop", "")}, Driver: "host", Argv: []string{"cat"}},
		driver.ExecIO{Stdin: strings.NewReader("all of it"), Stdout: &out}, nil, nil)
	if err != nil || out.String() != "all of it" || eager.calls != 2 {
		t.Errorf("%q %v after %d calls", out.String(), err, eager.calls)
	}
}

type eagerDriver struct {
	driver.Driver
	calls int
}

func (e *eagerDriver) Exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	if e.calls++; e.calls > 1 {
		return e.Driver.Exec(ctx, spec, stdio)
	}
	read := make(chan struct{})
	go func() {
		_, _ = stdio.Stdin.Read(make([]byte, 3))
		close(read)
	}()
	select {
	case <-read:
	case <-time.After(50 * time.Millisecond): // it waits for the start, as it should
	}
	return driver.ExitStatus{}, driver.Errorf(driver.NotRunning, "not running")
}

// spyDriver notes the command of the last Exec and does not run it.
type spyDriver struct {
	driver.Driver
	argv []string
}

func (s *spyDriver) Exec(_ context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	s.argv = spec.Argv
	if stdio.Started != nil {
		stdio.Started(1)
	}
	return driver.ExitStatus{}, nil
}

// A13: an environment that no program can be given is refused as too large, by name.
func TestA13TooManyVariables(t *testing.T) {
	w := newWorld(t, fake.Script{})
	ref := workspace.Ref{Dir: w.dir("shop", "")}
	var env []driver.EnvVar
	for i := range 50_000 {
		env = append(env, driver.EnvVar{Name: fmt.Sprintf("V%06d", i), Value: "x"})
	}
	for _, env := range [][]driver.EnvVar{env, {{Name: "V", Value: strings.Repeat("x", 128<<10)}}} {
		_, _, err := w.exec(workspace.ExecOptions{Ref: ref, Argv: []string{"true"}, Env: env})
		if e := wantReason(t, err, driver.InvalidArgument); e.Field != "env" || !strings.Contains(e.Message, "too large") {
			t.Errorf("%+v", e)
		}
	}
}
