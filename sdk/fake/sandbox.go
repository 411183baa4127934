package fake

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// sandbox is one imaginary container: a process table, files, a log.
type sandbox struct {
	d     *Driver
	files *files
	ops   chan struct{} // one Start or Stop at a time

	mu        sync.Mutex
	spec      driver.SandboxSpec
	view      driver.Sandbox
	procs     map[int64]*process
	lastPID   int64
	log       []byte
	published []net.Listener
	removed   bool
	finished  sync.WaitGroup // the processes' goroutines

	listening sync.Mutex // one process at a time takes a port
}

// Create makes a stopped sandbox.
func (d *Driver) Create(ctx context.Context, spec driver.SandboxSpec) (driver.Sandbox, error) {
	s, err := d.begin(ctx, "CreateSandbox", spec.ID)
	if err != nil {
		return driver.Sandbox{}, err
	}
	if err := d.admit(spec); err != nil {
		return driver.Sandbox{}, err
	}
	now := d.clock().Now()
	d.mu.Lock()
	if sb, ok := d.sandboxes[spec.ID]; ok {
		d.mu.Unlock()
		if !maps.Equal(sb.spec.Labels, spec.Labels) {
			return driver.Sandbox{}, driver.Errorf(driver.AlreadyExists, "sandbox %s exists with another specification", spec.ID).
				About(spec.ID).Remedy("remove it first, or recreate it")
		}
		return s.sandbox(sb.describe()), nil
	}
	d.made++
	sb := &sandbox{d: d, spec: spec, procs: map[int64]*process{}, ops: make(chan struct{}, 1)}
	sb.view = d.firstView(spec, d.made, now)
	sb.files = newFiles(sb.view.WorkspaceDir, spec.WorkspaceDir, spec.Mounts)
	sb.files.limits(spec.Resources)
	sb.files.routes(spec.Network)
	d.sandboxes[spec.ID] = sb
	d.mu.Unlock()
	d.event(driver.EventCreated, spec.ID)
	return s.sandbox(sb.describe()), nil
}

// admit checks a spec before anything is made.
func (d *Driver) admit(spec driver.SandboxSpec) error {
	if spec.ID == "" {
		return &driver.Error{Reason: driver.NameInvalid, Message: "a sandbox needs an id", Field: "spec.id"}
	}
	if err := driver.NeedAll(d, spec.Needs()); err != nil {
		return err
	}
	if spec.Network > driver.NetworkIsolated {
		return &driver.Error{Reason: driver.Unsupported, Message: "the network that is asked for is not known", Field: "spec.network"}
	}
	for i, m := range spec.Mounts {
		if _, err := os.Stat(m.Source); err != nil {
			e := driver.Errorf(driver.MountDenied, "mount source %s is missing", m.Source).About(m.Source)
			e.Field = fmt.Sprintf("spec.mounts[%d].source", i)
			return e.Remedy("create the directory, or take it out of the mounts")
		}
	}
	return nil
}

// firstView is a new sandbox as Get shows it. mu must be held.
func (d *Driver) firstView(spec driver.SandboxSpec, n int, now time.Time) driver.Sandbox {
	// The workspace is at its own path without a mount.
	own := func(m driver.Mount) bool { return m.Source == spec.WorkspaceDir && m.Target == spec.WorkspaceDir }
	v := driver.Sandbox{
		ID:           spec.ID,
		Instance:     fmt.Sprintf("fake-%06d-%d", n, os.Getpid()),
		State:        driver.SandboxStopped,
		Labels:       maps.Clone(spec.Labels),
		WorkspaceDir: spec.WorkspaceDir,
		Image:        spec.Image,
		ImageDigest:  d.images[spec.Image].Digest,
		Mounts:       slices.DeleteFunc(slices.Clone(spec.Mounts), own),
		Publish:      slices.Clone(spec.Publish),
		Created:      now,
		Network:      spec.Network,
	}
	for _, m := range spec.Mounts {
		if m.Source == spec.WorkspaceDir {
			v.WorkspaceDir = m.Target
		}
	}
	if spec.Network == driver.NetworkIsolated {
		return v
	}
	if slices.Contains(d.caps, driver.CapNetAddress) {
		v.Addresses = []string{fmt.Sprintf("10.99.%d.%d", n/250, 2+n%250)}
		v.Subnets = []string{"10.99.0.0/16"}
	}
	if slices.Contains(d.caps, driver.CapNetGateway) {
		v.Gateway = "10.99.255.254"
	}
	return v
}

// Start makes a sandbox run.
func (d *Driver) Start(ctx context.Context, id string) (driver.Sandbox, error) {
	s, err := d.begin(ctx, "StartSandbox", id)
	if err != nil {
		return driver.Sandbox{}, err
	}
	sb, err := d.find(id)
	if err != nil {
		return driver.Sandbox{}, err
	}
	select {
	case sb.ops <- struct{}{}:
		defer func() { <-sb.ops }()
	case <-ctx.Done():
		return driver.Sandbox{}, context.Cause(ctx)
	}
	if sb.state() == driver.SandboxRunning {
		return s.sandbox(sb.describe()), nil
	}
	if err := sb.publish(); err != nil {
		return driver.Sandbox{}, err
	}
	now := d.clock().Now()
	sb.mu.Lock()
	sb.view.State = driver.SandboxRunning
	sb.view.Started = now
	sb.log = append(sb.log, "fake: main process started\nfake: ready\n"...)
	sb.mu.Unlock()
	d.event(driver.EventStarted, id)
	return s.sandbox(sb.describe()), nil
}

// Stop ends everything in a sandbox and keeps its files.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	s, err := d.begin(ctx, "StopSandbox", id)
	if err != nil {
		return err
	}
	sb, err := d.find(id)
	if err != nil {
		return err
	}
	stopped := make(chan struct{})
	go func() { // goes on when ctx ends: Get tells how it came out
		defer close(stopped)
		sb.stop(grace)
	}()
	select {
	case <-stopped:
		s.end()
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (sb *sandbox) stop(grace time.Duration) {
	sb.ops <- struct{}{}
	defer func() { <-sb.ops }()
	if sb.state() != driver.SandboxRunning {
		return
	}
	sb.mu.Lock()
	sb.view.State = driver.SandboxStopped
	sb.mu.Unlock()
	sb.end(grace)
	sb.unpublish()
	sb.d.event(driver.EventStopped, sb.spec.ID)
}

// Remove takes a sandbox away, never the workspace's files.
func (d *Driver) Remove(ctx context.Context, id string, force bool) error {
	s, err := d.begin(ctx, "RemoveSandbox", id)
	if err != nil {
		return err
	}
	sb, err := d.find(id)
	if err != nil {
		s.end()
		return nil
	}
	if sb.state() == driver.SandboxRunning {
		if !force {
			return driver.Errorf(driver.NotStopped, "sandbox %s is running", id).About(id).Remedy("stop it first, or remove it by force")
		}
		sb.stop(0)
	}
	d.mu.Lock()
	gone := d.sandboxes[id] == sb
	if gone {
		delete(d.sandboxes, id)
	}
	d.mu.Unlock()
	sb.mu.Lock()
	sb.removed = true
	sb.mu.Unlock()
	if gone {
		d.event(driver.EventRemoved, id)
	}
	s.end()
	return nil
}

// Get describes one sandbox.
func (d *Driver) Get(ctx context.Context, id string) (driver.Sandbox, error) {
	s, err := d.begin(ctx, "GetSandbox", id)
	if err != nil {
		return driver.Sandbox{}, err
	}
	sb, err := d.find(id)
	if err != nil {
		return driver.Sandbox{}, err
	}
	return s.sandbox(sb.describe()), nil
}

// List describes the sandboxes that carry all the labels, ordered by id.
func (d *Driver) List(ctx context.Context, labels map[string]string) ([]driver.Sandbox, error) {
	s, err := d.begin(ctx, "ListSandboxes", "")
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	all := slices.Collect(maps.Values(d.sandboxes))
	d.mu.Unlock()
	var out []driver.Sandbox
	for _, sb := range all {
		if v := sb.describe(); carries(v.Labels, labels) {
			out = append(out, s.sandbox(v))
		}
	}
	slices.SortFunc(out, func(a, b driver.Sandbox) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

func carries(has, want map[string]string) bool {
	for k, v := range want {
		if got, ok := has[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func (d *Driver) find(id string) (*sandbox, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if sb, ok := d.sandboxes[id]; ok {
		return sb, nil
	}
	return nil, driver.Errorf(driver.NotFound, "there is no sandbox %s", id).About(id)
}

// running finds a sandbox that commands can run in.
func (d *Driver) running(id string) (*sandbox, error) {
	sb, err := d.find(id)
	if err != nil {
		return nil, err
	}
	if sb.state() != driver.SandboxRunning {
		return nil, driver.Errorf(driver.NotRunning, "sandbox %s is not running", id).About(id).Remedy("start it first")
	}
	return sb, nil
}

func (sb *sandbox) state() driver.SandboxState {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.view.State
}

func (sb *sandbox) describe() driver.Sandbox {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	v := sb.view
	v.Labels = maps.Clone(v.Labels)
	v.Publish = slices.Clone(v.Publish)
	return v
}

// publish opens the host's side of published ports. What connects to a port on
// which something listens inside is greeted.
func (sb *sandbox) publish() error {
	for i, p := range sb.spec.Publish {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p.HostPort)) //nolint:noctx // it does not wait
		if err != nil {
			sb.unpublish()
			return driver.Errorf(driver.PortInUse, "host port %d: %w", p.HostPort, err).Remedy("choose another host port")
		}
		sb.mu.Lock()
		sb.published = append(sb.published, l)
		if addr, ok := l.Addr().(*net.TCPAddr); ok {
			sb.view.Publish[i].HostPort = uint16(addr.Port)
		}
		sb.mu.Unlock()
		go sb.greet(l, p.SandboxPort) // ends with unpublish
	}
	return nil
}

func (sb *sandbox) greet(l net.Listener, port uint16) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if slices.ContainsFunc(sb.listeners(), func(l driver.Listener) bool { return l.Port == port }) {
			_, _ = io.Copy(conn, strings.NewReader("fake\n"))
		}
		_ = conn.Close()
	}
}

func (sb *sandbox) unpublish() {
	sb.mu.Lock()
	published := sb.published
	sb.published = nil
	sb.mu.Unlock()
	for _, l := range published {
		_ = l.Close()
	}
}

func (d *Driver) event(t driver.EventType, id string) {
	now := d.clock().Now()
	d.mu.Lock()
	d.events = append(d.events, driver.Event{Type: t, SandboxID: id, Time: now})
	d.mu.Unlock()
	d.changed.notify()
}
