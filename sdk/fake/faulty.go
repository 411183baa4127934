package fake

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// slowHealth is longer than any suite waits for the first report.
const slowHealth = 12 * time.Second

// faulty is a Driver whose promises break as its script says. The Driver itself
// stays as it should be.
type faulty struct {
	*Driver

	mu         sync.Mutex
	configured bool
	systemUp   bool
	systemDown bool
	creating   int
	busy       map[string]bool
	state      map[string]driver.SandboxState // as Start and Stop last left it
	ghosts     []driver.Sandbox
	removed    []driver.Sandbox
	copies     map[string]string // workspaces that were swapped, by sandbox
	strays     sync.Once
	turn       chan struct{}
	slots      chan struct{}
}

func newFaulty(d *Driver) *faulty {
	f := &faulty{
		Driver: d, busy: map[string]bool{}, state: map[string]driver.SandboxState{}, copies: map[string]string{},
		turn: make(chan struct{}, 1), slots: make(chan struct{}, 16),
	}
	if d.has("ghosts") {
		f.raiseGhosts()
	}
	return f
}

// Info varies with the process under a fault.
func (f *faulty) Info() driver.Info {
	info := f.Driver.Info()
	if f.has("identity-varies") {
		info.Description += fmt.Sprintf(" in process %d", os.Getpid())
	}
	return info
}

// Schema may be broken.
func (f *faulty) Schema() string {
	if f.has("bad-schema") {
		return "{broken"
	}
	return f.Driver.Schema()
}

// Configure may take anything, or only once.
func (f *faulty) Configure(ctx context.Context, settings []byte, validateOnly bool) error {
	err := f.Driver.Configure(ctx, settings, validateOnly)
	f.mu.Lock()
	again := f.configured
	f.configured = again || (err == nil && !validateOnly)
	f.mu.Unlock()
	if f.has("configures-once") && again && err == nil {
		return driver.Errorf(driver.Internal, "settings were given already")
	}
	if e := driver.AsError(err); e != nil && f.has("field-unnamed") {
		e.Field = ""
	}
	if f.has("takes-any-setting") {
		return nil
	}
	return err
}

// Shutdown may leave something.
func (f *faulty) Shutdown(ctx context.Context) error {
	if tmp := os.Getenv("TMPDIR"); tmp != "" && f.has("leaves-file") {
		_ = os.WriteFile(filepath.Join(tmp, "fake-left"), []byte("left"), 0o600)
	}
	if f.has("ghosts") {
		_ = os.Remove(ghostFile())
	}
	return f.Driver.Shutdown(ctx)
}

// Create may give, change and keep what it should not.
func (f *faulty) Create(ctx context.Context, spec driver.SandboxSpec) (driver.Sandbox, error) {
	f.mu.Lock()
	f.creating++
	raced := f.creating > 1
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.creating--
		f.mu.Unlock()
	}()
	if f.has("create-race") {
		time.Sleep(20 * time.Millisecond)
	}
	_, findErr := f.find(spec.ID)
	f.changeSpec(&spec)
	sb, err := f.Driver.Create(ctx, spec)
	switch {
	case driver.ReasonOf(err) == driver.AlreadyExists && f.has("create-any"):
		existing, err := f.find(spec.ID)
		if err != nil {
			return driver.Sandbox{}, err
		}
		return existing.describe(), nil
	case err != nil:
		return sb, err
	case f.has("wrong-id"):
		sb.ID += "-1"
	case f.has("create-runs"):
		sb.State = driver.SandboxRunning
	case f.has("create-again") && findErr == nil, f.has("create-race") && raced:
		sb.Instance += fmt.Sprintf("-%d", time.Now().UnixNano())
	case f.has("ghosts"):
		f.keepGhost(sb)
	}
	return f.view(sb), err
}

func (f *faulty) changeSpec(spec *driver.SandboxSpec) {
	own := func(m driver.Mount) bool { return m.Source == spec.WorkspaceDir }
	spec.Mounts = slices.Clone(spec.Mounts)
	if f.has("no-mounts") {
		spec.Mounts = slices.DeleteFunc(spec.Mounts, func(m driver.Mount) bool { return !own(m) && exists(m.Source) })
	}
	for i, m := range spec.Mounts {
		if f.has("mount-writable") {
			spec.Mounts[i].ReadOnly = false
		}
		if f.has("mount-created") {
			_ = os.MkdirAll(m.Source, 0o755)
		}
		if f.has("workspace-hidden") && own(m) {
			f.hideWorkspace(spec, i)
		}
	}
	if f.has("no-memory-limit") {
		spec.Resources.MemoryBytes = 0
	}
	if f.has("no-cpu-limit") {
		spec.Resources.CPUs = 0
	}
	if f.has("no-process-limit") {
		spec.Resources.Processes = 0
	}
	if f.has("small-shm") {
		spec.Resources.SharedMemoryBytes = 64 << 20
	}
	if f.has("still-connected") {
		spec.Network = driver.NetworkDefault
	}
	if f.has("no-agent") {
		spec.ForwardSSHAgent = false
	}
	if f.has("env-cut") {
		for i, v := range spec.Env {
			cut, _, _ := bytes.Cut([]byte(v.Value), []byte("\n"))
			spec.Env[i].Value = string(cut)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// hideWorkspace mounts an empty directory instead.
func (f *faulty) hideWorkspace(spec *driver.SandboxSpec, i int) {
	f.mu.Lock()
	dir, ok := f.copies[spec.ID]
	f.mu.Unlock()
	if !ok {
		made, _ := os.MkdirTemp("", "fake-workspace-")
		f.mu.Lock()
		if dir, ok = f.copies[spec.ID]; !ok {
			dir, f.copies[spec.ID] = made, made
		}
		f.mu.Unlock()
		if dir != made { // another call was faster
			_ = os.Remove(made)
		}
	}
	spec.Mounts[i].Source, spec.WorkspaceDir = dir, dir
}

// view is a sandbox as a faulty driver shows it.
func (f *faulty) view(sb driver.Sandbox) driver.Sandbox {
	if f.has("labels-lost") {
		delete(sb.Labels, driver.LabelSpecHash)
	}
	if f.has("instance-constant") {
		sb.Instance = sb.ID
	}
	if f.has("address-loopback") && len(sb.Addresses) > 0 {
		sb.Addresses = []string{"127.0.0.1"}
	}
	if f.has("no-gateway") {
		sb.Gateway = ""
	}
	if f.has("no-publish") {
		for i := range sb.Publish {
			sb.Publish[i].HostPort = 9 // discard: nothing is there
		}
	}
	return sb
}

// Start may fail where it should not.
func (f *faulty) Start(ctx context.Context, id string) (driver.Sandbox, error) {
	leave, err := f.enter(id)
	if err != nil {
		return driver.Sandbox{}, err
	}
	defer leave()
	if f.moves(id, driver.SandboxRunning) && f.has("start-once") {
		return driver.Sandbox{}, driver.Errorf(driver.Internal, "sandbox %s runs already", id).About(id)
	}
	if f.has("leaves-process") {
		f.strays.Do(func() { startStray("sh", "-c", `while [ -d "$TMPDIR" ]; do sleep 0.2; done`) })
	}
	sb, err := f.Driver.Start(ctx, id)
	if f.has("start-absent") && driver.ReasonOf(err) == driver.NotFound {
		return sb, driver.Errorf(driver.Corrupt, "sandbox %s cannot start", id).About(id)
	}
	return f.view(sb), err
}

// enter makes callers wait or fail where they should not.
func (f *faulty) enter(id string) (leave func(), err error) {
	if f.has("one-at-a-time") {
		f.turn <- struct{}{}
		return func() { <-f.turn }, nil
	}
	if !f.has("busy") {
		return func() {}, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy[id] {
		return nil, driver.Errorf(driver.Internal, "sandbox %s is busy", id).About(id)
	}
	f.busy[id] = true
	return func() {
		time.Sleep(20 * time.Millisecond)
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.busy, id)
	}, nil
}

// moves notes where a sandbox goes, and tells whether it was there already.
func (f *faulty) moves(id string, to driver.SandboxState) (already bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	already = f.state[id] == to
	f.state[id] = to
	return already
}

// Stop may leave, fail, hurry or forget.
func (f *faulty) Stop(ctx context.Context, id string, grace time.Duration) error {
	leave, err := f.enter(id)
	if err != nil {
		return err
	}
	defer leave()
	still := f.moves(id, driver.SandboxStopped)
	sb, findErr := f.find(id)
	switch {
	case findErr != nil && f.has("stop-absent"):
		return nil
	case findErr != nil:
	case f.has("stop-once") && still:
		return driver.Errorf(driver.Internal, "sandbox %s is stopped already", id).About(id)
	case f.has("stop-leaves"):
		sb.mu.Lock()
		sb.view.State = driver.SandboxStopped
		sb.mu.Unlock()
		return nil
	case f.has("stop-forgets"):
		sb.files.mu.Lock()
		clear(sb.files.data)
		sb.files.mu.Unlock()
	}
	if f.has("stop-at-once") {
		grace = 0
	}
	return f.Driver.Stop(ctx, id, grace)
}

// Remove may fail, or take too much.
func (f *faulty) Remove(ctx context.Context, id string, force bool) error {
	var before driver.Sandbox
	existing, err := f.find(id)
	if err == nil {
		before = existing.describe()
	}
	f.forget(id)
	switch {
	case err != nil && f.has("remove-once"):
		return err
	case err != nil:
	case f.has("remove-never") && before.State == driver.SandboxRunning:
		return driver.Errorf(driver.NotStopped, "sandbox %s is running", id).About(id).Remedy("stop it first")
	case f.has("remove-any"):
		force = true
	case f.has("remove-workspace"):
		if sb, err := f.find(id); err == nil {
			_ = os.RemoveAll(filepath.Join(sb.spec.WorkspaceDir, "work.txt"))
		}
	case f.has("list-remembers"):
		f.mu.Lock()
		f.removed = append(f.removed, before)
		f.mu.Unlock()
	}
	return f.Driver.Remove(ctx, id, force)
}

// forget drops what faults keep of a sandbox.
func (f *faulty) forget(id string) {
	f.mu.Lock()
	f.ghosts = slices.DeleteFunc(f.ghosts, func(g driver.Sandbox) bool { return g.ID == id })
	dir, ok := f.copies[id]
	delete(f.copies, id)
	f.mu.Unlock()
	if ok {
		_ = os.RemoveAll(dir)
	}
}

// Get may not know what is absent.
func (f *faulty) Get(ctx context.Context, id string) (driver.Sandbox, error) {
	sb, err := f.Driver.Get(ctx, id)
	if f.has("get-absent") && err != nil {
		return sb, driver.Errorf(driver.Internal, "looking for sandbox %s", id).About(id)
	}
	return f.view(sb), err
}

// List may have too much, too little, or no order.
func (f *faulty) List(ctx context.Context, labels map[string]string) ([]driver.Sandbox, error) {
	ask := labels
	if f.has("list-any") {
		ask = nil
	}
	all, err := f.Driver.List(ctx, ask)
	f.mu.Lock()
	all = slices.Concat(all, f.ghosts, f.removed)
	f.mu.Unlock()
	all = slices.DeleteFunc(all, func(sb driver.Sandbox) bool {
		any := len(labels) == 0
		for k, v := range labels {
			any = any || sb.Labels[k] == v
		}
		return (f.has("list-any") && !any) || (!f.has("list-any") && !carries(sb.Labels, labels)) ||
			(f.has("list-running") && sb.State != driver.SandboxRunning)
	})
	if f.has("list-unordered") {
		slices.Reverse(all)
	}
	for i := range all {
		all[i] = f.view(all[i])
	}
	return all, err
}

func ghostFile() string { return filepath.Join(os.TempDir(), "fake-ghosts") }

func (f *faulty) keepGhost(sb driver.Sandbox) {
	if data, err := json.Marshal([]driver.Sandbox{sb}); err == nil {
		_ = os.WriteFile(ghostFile(), data, 0o600)
	}
}

// raiseGhosts finds what a crashed process had.
func (f *faulty) raiseGhosts() {
	if data, err := os.ReadFile(ghostFile()); err == nil {
		_ = json.Unmarshal(data, &f.ghosts)
		_ = os.Remove(ghostFile())
	}
}

// StartSystem may work only once.
func (f *faulty) StartSystem(ctx context.Context, report func(driver.Progress)) error {
	f.mu.Lock()
	again := f.systemUp
	f.systemUp = true
	f.mu.Unlock()
	if f.has("system-once") && again {
		return driver.Errorf(driver.Internal, "the system runs already")
	}
	return f.Driver.StartSystem(ctx, report)
}

// StopSystem may work only once.
func (f *faulty) StopSystem(ctx context.Context, report func(driver.Progress)) error {
	f.mu.Lock()
	again := f.systemDown
	f.systemDown = true
	for id := range f.state {
		f.state[id] = driver.SandboxStopped
	}
	f.mu.Unlock()
	if f.has("stop-system-once") && again {
		return driver.Errorf(driver.Internal, "the system is stopped already")
	}
	return f.Driver.StopSystem(ctx, report)
}

// mangle replaces bytes that are no text.
type mangle struct{ to io.Writer }

// Write passes p on.
func (m mangle) Write(p []byte) (int, error) {
	if _, err := m.to.Write(bytes.ReplaceAll(p, []byte{0xff}, []byte{'?'})); err != nil {
		return 0, err
	}
	return len(p), nil
}
