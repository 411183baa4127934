package main

import (
	"cmp"
	"context"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// hello is a driver whose sandboxes are a name for a directory: nothing
// separates a command in them from the host.
type hello struct {
	mark     string    // of every process that it starts
	guarded  sync.Once // by the first command
	lifeline *os.File  // the guard's, open as long as this process lives

	mu       sync.Mutex
	boxes    map[string]*box
	made     int // sandboxes so far, for their instances
	commands int // so far, for their marks
}

// box is one sandbox; hello's mu guards it.
type box struct {
	driver.Sandbox
	env      []driver.EnvVar
	mark     string            // of every process in it
	commands map[*command]bool // that run
}

func newHello() *hello { return &hello{mark: newMark(), boxes: map[string]*box{}} }

func (h *hello) Info() driver.Info {
	return driver.Info{
		Name:        "hello",
		Version:     "0.1.0",
		Description: "plain processes on this machine, an example",
		Isolation:   driver.IsolationNone,
	}
}

func (h *hello) Health(ctx context.Context, report func(driver.Health) error) error {
	if err := report(driver.Health{State: driver.HealthReady}); err != nil {
		return err
	}
	<-ctx.Done() // a runtime that can fail would report each change
	return context.Cause(ctx)
}

func (h *hello) Create(_ context.Context, spec driver.SandboxSpec) (driver.Sandbox, error) {
	if spec.ID == "" {
		return driver.Sandbox{}, driver.Errorf(driver.NameInvalid, "the sandbox id is empty")
	}
	if info, err := os.Stat(spec.WorkspaceDir); err != nil || !info.IsDir() {
		return driver.Sandbox{}, driver.Errorf(driver.NotFound, "the workspace %q is not a directory", spec.WorkspaceDir).
			About(spec.WorkspaceDir).Remedy("make the directory, or name another one")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if b := h.boxes[spec.ID]; b != nil {
		if maps.Equal(b.Labels, spec.Labels) {
			return b.Sandbox, nil
		}
		return driver.Sandbox{}, driver.Errorf(driver.AlreadyExists, "sandbox %s exists with another spec", spec.ID).
			About(spec.ID).Remedy("remove it first")
	}
	h.made++
	b := &box{env: spec.Env, mark: h.mark + strconv.Itoa(h.made) + ".", commands: map[*command]bool{}, Sandbox: driver.Sandbox{
		ID: spec.ID, Instance: strconv.Itoa(h.made), State: driver.SandboxStopped,
		Labels: maps.Clone(spec.Labels), WorkspaceDir: spec.WorkspaceDir, Created: time.Now(),
	}}
	h.boxes[spec.ID] = b
	return b.Sandbox, nil
}

func (h *hello) Start(_ context.Context, id string) (driver.Sandbox, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, err := h.find(id)
	if err != nil {
		return driver.Sandbox{}, err
	}
	if b.State != driver.SandboxRunning {
		b.State, b.Started = driver.SandboxRunning, time.Now()
	}
	return b.Sandbox, nil
}

func (h *hello) Stop(ctx context.Context, id string, grace time.Duration) error {
	h.mu.Lock()
	b, err := h.find(id)
	if err != nil {
		h.mu.Unlock()
		return err
	}
	b.State = driver.SandboxStopped // from here no command starts in it
	all := b.processes()
	h.mu.Unlock()
	all.end(ctx, grace)
	return nil
}

func (h *hello) Remove(ctx context.Context, id string, force bool) error {
	h.mu.Lock()
	b := h.boxes[id]
	running := b != nil && b.State == driver.SandboxRunning
	h.mu.Unlock()
	switch {
	case b == nil:
		return nil
	case running && !force:
		return driver.Errorf(driver.NotStopped, "sandbox %s is running", id).About(id).Remedy("stop it first")
	}
	if err := h.Stop(ctx, id, 0); err != nil && driver.ReasonOf(err) != driver.NotFound {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.boxes, id)
	return nil
}

func (h *hello) Get(_ context.Context, id string) (driver.Sandbox, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, err := h.find(id)
	if err != nil {
		return driver.Sandbox{}, err
	}
	return b.Sandbox, nil
}

func (h *hello) List(_ context.Context, labels map[string]string) ([]driver.Sandbox, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []driver.Sandbox
	for _, b := range h.boxes {
		matches := true
		for name, value := range labels {
			has, ok := b.Labels[name]
			matches = matches && ok && has == value
		}
		if matches {
			found = append(found, b.Sandbox)
		}
	}
	slices.SortFunc(found, func(a, b driver.Sandbox) int { return cmp.Compare(a.ID, b.ID) })
	return found, nil
}

// Shutdown ends what would outlive the process.
func (h *hello) Shutdown(ctx context.Context) error {
	h.mu.Lock()
	all := target{mark: h.mark}
	for _, b := range h.boxes {
		b.State = driver.SandboxStopped
		all.groups = append(all.groups, b.processes().groups...)
	}
	h.mu.Unlock()
	all.end(ctx, 500*time.Millisecond)
	return nil
}

// processes are those in the sandbox; it needs mu.
func (b *box) processes() target {
	t := target{mark: b.mark}
	for c := range b.commands {
		t.groups = append(t.groups, c.cmd.Process.Pid)
	}
	return t
}

// find needs mu.
func (h *hello) find(id string) (*box, error) {
	if b := h.boxes[id]; b != nil {
		return b, nil
	}
	return nil, driver.Errorf(driver.NotFound, "there is no sandbox %s", id).About(id)
}
