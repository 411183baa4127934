package devserver_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/devserver"
	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a Supervisor over a workspace Manager over a fake driver.
type world struct {
	*devserver.Supervisor
	t       *testing.T
	root    string
	manager *workspace.Manager
	driver  *fake.Driver
	events  *event.Bus
	host    bool

	mu    sync.Mutex
	taken map[string]bool           // addresses where another program answers
	talks map[string]func(net.Conn) // what does at an address
	kills []string
	execs int

	stopped []driver.Listener // by StopListeners
}

// inBubble runs a test on a clock that jumps.
func inBubble(t *testing.T, script fake.Script, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(newWorld(t, script)) })
}

func newWorld(t *testing.T, script fake.Script, settings ...func(*devserver.Options)) *world {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, root: root, events: event.NewBus(), taken: map[string]bool{}, talks: map[string]func(net.Conn){}, host: script.Isolation == "none"}
	script.Name = "box"
	w.driver = fake.New(script)
	w.manager, err = workspace.NewManager(workspace.Options{
		StateDir: t.TempDir(), Installation: "here", Drivers: w, Chooser: w, Events: w.events, UserHome: "/nobody/home", LookPatience: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	options := devserver.Options{Runner: runner{w}, Events: w.events, Grace: time.Second}
	for _, set := range settings {
		set(&options)
	}
	w.Supervisor = devserver.New(options)
	w.manager.SetDevServers(w.Supervisor)
	t.Cleanup(func() {
		w.Close()
		w.manager.Close()
		w.driver.Close()
	})
	return w
}

func (w *world) Driver(context.Context, string) (driver.Driver, error) { return w.driver, nil }
func (w *world) Started(string) (driver.Driver, bool)                  { return w.driver, true }

func (w *world) Choose(context.Context, negotiate.Request) (negotiate.Choice, error) {
	return negotiate.Choice{Desired: "auto", Actual: "box", Reason: "the only one", HostMode: w.host}, nil
}

// The Runner of the Supervisor: the Manager, with the script that ends what
// was left behind done in the fake's own words.
func (w *world) Up(ctx context.Context, o workspace.UpOptions, report func(driver.Progress)) (workspace.Workspace, error) {
	return w.manager.Up(ctx, o, report)
}

func (w *world) Listeners(ctx context.Context, id string, report func([]driver.Listener) error) error {
	return w.manager.Listeners(ctx, id, report)
}

func (w *world) Exec(ctx context.Context, o workspace.ExecOptions, stdio driver.ExecIO,
	onStarted func(workspace.Workspace, string, int64), progress func(driver.Progress),
) (workspace.ExecResult, error) {
	w.mu.Lock()
	if i := slices.Index(o.Argv, "sero-stop"); i > 0 {
		o.Argv = []string{"kill", "-s", "KILL", o.Argv[i+1]}
		w.kills = append(w.kills, strings.Join(o.Argv, " "))
	} else {
		w.execs++
	}
	w.mu.Unlock()
	return w.manager.Exec(ctx, o, stdio, onStarted, progress)
}

func (w *world) count() (execs, kills int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.execs, len(w.kills)
}

// Dial answers where the test put somebody.
func (w *world) Dial(_ context.Context, _, address string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	talk := w.talks[address]
	if !w.taken[address] && talk == nil {
		return nil, errors.New("no answer")
	}
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		if talk != nil {
			talk(far)
		}
	}()
	return near, nil
}

// runner is the world as the Supervisor sees it.
type runner struct{ *world }

func (r runner) Sessions(ctx context.Context, id string) ([]guest.Session, error) {
	return r.manager.Sessions(ctx, id)
}

func (r runner) AttachSession(ctx context.Context, id, execID string, skipped func(int64), stdio driver.ExecIO) (workspace.ExecResult, error) {
	return r.manager.AttachSession(ctx, id, execID, skipped, stdio)
}

func (r runner) EndSession(ctx context.Context, id, execID string) error {
	return r.manager.EndSession(ctx, id, execID)
}

func (r runner) Get(ctx context.Context, ref workspace.Ref) (workspace.Workspace, error) {
	return r.manager.Get(ctx, ref)
}

func (r runner) Below(ref workspace.Ref) string { return r.manager.Below(ref) }

func (r runner) DevServerEntries(ctx context.Context, id string) (map[string]config.DevServer, error) {
	return r.manager.DevServerEntries(ctx, id)
}

// StopListeners does in the fake's own words what a shell does in a container.
func (w *world) StopListeners(ctx context.Context, id string, port uint16, _ time.Duration) ([]driver.Listener, error) {
	var found []driver.Listener
	_ = w.manager.Listeners(ctx, id, func(listeners []driver.Listener) error {
		for _, l := range listeners {
			if l.Port == port {
				found = append(found, l)
			}
		}
		return errors.New("seen")
	})
	for _, l := range found {
		argv := []string{"kill", "-s", "KILL", strconv.FormatInt(l.PID, 10)}
		if _, err := w.manager.Exec(ctx, workspace.ExecOptions{Ref: workspace.Ref{ID: id}, Argv: argv}, driver.ExecIO{}, nil, nil); err != nil {
			return nil, err
		}
		w.mu.Lock()
		w.stopped = append(w.stopped, l)
		w.mu.Unlock()
	}
	return found, nil
}

func (w *world) take(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.taken[address] = true
}

func (w *world) dir(name string) string {
	w.t.Helper()
	dir := filepath.Join(w.root, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	return dir
}

// spec is a shell command in the workspace "shop".
func (w *world) spec(script string) devserver.Spec {
	return devserver.Spec{Workspace: workspace.Ref{Dir: w.dir("shop")}, Command: []string{"sh", "-c", script}, Name: ""}
}

func (w *world) start(spec devserver.Spec) devserver.Server {
	w.t.Helper()
	result, err := w.Start(w.t.Context(), spec, 0, nil)
	if err != nil {
		w.t.Fatalf("%v: %v", spec.Command, err)
	}
	return result.Server
}

func (w *world) get(key string) devserver.Server {
	w.t.Helper()
	server, err := w.Get(devserver.Ref{Key: key, WorkspaceID: "shop"})
	if err != nil {
		w.t.Fatal(err)
	}
	return server
}

func (w *world) logs(key string) string {
	w.t.Helper()
	synctest.Wait() // output and listeners come by ways of their own
	var text strings.Builder
	err := w.Logs(w.t.Context(), devserver.Ref{Key: key, WorkspaceID: "shop"}, false, 0, func(p []byte) error {
		text.Write(p)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return text.String()
}

// becomes waits for a status.
func (w *world) becomes(key string, status devserver.Status) devserver.Server {
	w.t.Helper()
	for range 3000 {
		if server, err := w.Get(devserver.Ref{Key: key, WorkspaceID: "shop"}); err == nil && server.Status == status {
			return server
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.t.Fatalf("%s is %+v, not %s", key, w.get(key), status)
	return devserver.Server{}
}

func (w *world) eventLines() []string {
	var lines []string
	_ = w.events.Watch(w.t.Context(), 0, false, func(e event.Event) error {
		if strings.HasPrefix(string(e.Type), "devserver.") {
			lines = append(lines, fmt.Sprintf("%s %s", e.Type, e.Subject))
		}
		return nil
	})
	return lines
}

func wantReason(t *testing.T, err error, reason driver.Reason) *driver.Error {
	t.Helper()
	if driver.ReasonOf(err) != reason {
		t.Fatalf("want %s: %v", reason, err)
	}
	return driver.AsError(err)
}
