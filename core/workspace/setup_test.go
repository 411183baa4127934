package workspace_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// guard is far above what any step takes.
const guard = 30 * time.Second

// world is a Manager over fake drivers: "box", which isolates, and "host".
type world struct {
	*workspace.Manager
	t      *testing.T
	root   string // for workspaces' directories
	state  string
	events *event.Bus
	box    *fake.Driver
	host   *fake.Driver

	mu       sync.Mutex
	down     map[string]bool          // drivers that do not run
	spies    map[string]driver.Driver // in place of the drivers of these names
	requests []negotiate.Request

	willStart bool // the choice says that the engine is stopped
}

type option func(*world, *workspace.Options)

func newWorld(t *testing.T, script fake.Script, options ...option) *world {
	t.Helper()
	w := &world{t: t, root: resolved(t, t.TempDir()), state: t.TempDir(), events: event.NewBus(), down: map[string]bool{}, spies: map[string]driver.Driver{}}
	script.Name = "box"
	w.box = fake.New(script)
	w.host = fake.New(fake.Script{Name: "host", Isolation: "none"})
	t.Cleanup(func() { w.box.Close(); w.host.Close() })
	w.Manager = w.manager(options...)
	return w
}

// manager is a new Manager on the same state and drivers, as after a restart of
// the daemon.
func (w *world) manager(options ...option) *workspace.Manager {
	w.t.Helper()
	o := workspace.Options{
		StateDir: w.state, Installation: "here", Drivers: w, Chooser: w, Events: w.events,
		UserHome: filepath.Join(w.root, "home", "me"), Shell: "/bin/sh", ListTimeout: 200 * time.Millisecond,
	}
	for _, set := range options {
		set(w, &o)
	}
	m, err := workspace.NewManager(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(m.Close)
	return m
}

func machine(m config.Machine) option {
	return func(_ *world, o *workspace.Options) { o.Machine = m }
}

func resolved(t *testing.T, dir string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Driver and Started make the world the Manager's Drivers.
func (w *world) Driver(_ context.Context, name string) (driver.Driver, error) {
	if d, ok := w.Started(name); ok {
		return d, nil
	}
	return nil, driver.Errorf(driver.DriverNotFound, "there is no driver %s", name)
}

func (w *world) Started(name string) (driver.Driver, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.down[name]:
		return nil, false
	case w.spies[name] != nil:
		return w.spies[name], true
	case name == "box":
		return w.box, true
	case name == "host":
		return w.host, true
	default:
		return nil, false
	}
}

// Choose makes the world the Manager's Chooser: box, unless the host is asked for.
func (w *world) Choose(_ context.Context, r negotiate.Request) (negotiate.Choice, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, r)
	switch {
	case r.Mode == config.ModeHost:
		return negotiate.Choice{Desired: "host", Actual: "host", HostMode: true, Reason: "asked for", Isolation: driver.IsolationNone}, nil
	case r.Driver == "" || r.Driver == "box":
		return negotiate.Choice{Desired: "auto", Actual: "box", Reason: "the strongest", Isolation: driver.IsolationSharedKernel, WillStart: w.willStart}, nil
	default:
		return negotiate.Choice{}, driver.Errorf(driver.DriverNotFound, "there is no driver %s", r.Driver)
	}
}

func (w *world) lastRequest() negotiate.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests[len(w.requests)-1]
}

func (w *world) stopDriver(name string, down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down[name] = down
}

// dir makes a directory, with a sero.json if text is not empty.
func (w *world) dir(name, text string) string {
	w.t.Helper()
	dir := filepath.Join(w.root, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if text != "" {
		w.write(filepath.Join(dir, config.FileName), text)
	}
	return dir
}

func (w *world) write(path, text string) {
	w.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) up(options workspace.UpOptions) workspace.Workspace {
	w.t.Helper()
	got, err := w.Up(w.t.Context(), options, nil)
	if err != nil {
		w.t.Fatalf("up %+v: %v", options, err)
	}
	return got
}

func (w *world) upDir(dir string) workspace.Workspace {
	w.t.Helper()
	return w.up(workspace.UpOptions{Ref: workspace.Ref{Dir: dir}})
}

func wantReason(t *testing.T, err error, reason driver.Reason) *driver.Error {
	t.Helper()
	if driver.ReasonOf(err) != reason {
		t.Fatalf("want %s, got %s: %v", reason, driver.ReasonOf(err), err)
	}
	return driver.AsError(err)
}

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(guard); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never came true: %s", what)
		}
	}
}

func (w *world) eventTypes() []event.Type {
	var types []event.Type
	_ = w.events.Watch(w.t.Context(), 0, false, func(e event.Event) error {
		types = append(types, e.Type)
		return nil
	})
	return types
}

func (w *world) replaceHost(d driver.Driver) { w.replace("host", d) }

// replace puts a driver in the place of the one of this name.
func (w *world) replace(name string, d driver.Driver) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spies[name] = d
}
