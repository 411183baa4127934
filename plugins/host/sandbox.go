package host

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// sandbox is a directory that commands run in. It exists in memory only: what
// runs in it ends with the driver.
type sandbox struct {
	spec     driver.SandboxSpec
	instance string
	created  time.Time

	// changing is held by the call that creates, starts, stops or removes the
	// sandbox, one at a time.
	changing chan struct{}

	mu       sync.RWMutex
	state    driver.SandboxState
	started  time.Time
	removed  bool
	starting int           // commands that are being started
	idle     chan struct{} // closed when starting gets to 0; nil while nobody waits for that
}

func newSandbox(spec driver.SandboxSpec) *sandbox {
	spec.Env = slices.Clone(spec.Env)
	spec.Labels = maps.Clone(spec.Labels)
	return &sandbox{
		spec:     spec,
		instance: strings.ToLower(rand.Text()),
		created:  time.Now(),
		changing: make(chan struct{}, 1),
		state:    driver.SandboxStopped,
	}
}

// Create makes a stopped sandbox. The workspace's directory must exist:
// MountDenied if it does not. Mounts, limits and the like are Unsupported.
func (d *Driver) Create(ctx context.Context, spec driver.SandboxSpec) (driver.Sandbox, error) {
	if err := d.checkSpec(spec); err != nil {
		return driver.Sandbox{}, err
	}
	if ctx.Err() != nil {
		return driver.Sandbox{}, ctxError(ctx)
	}
	for {
		s := d.insert(spec)
		if err := s.lock(ctx); err != nil {
			return driver.Sandbox{}, err
		}
		if s.isRemoved() { // while this call waited
			s.unlock()
			continue
		}
		defer s.unlock()
		if !maps.Equal(s.spec.Labels, spec.Labels) {
			return driver.Sandbox{}, driver.Errorf(driver.AlreadyExists, "sandbox %s exists with another specification", spec.ID).
				About(spec.ID).
				Remedy("remove it, which keeps the workspace's files; the next command makes it anew", "sero", "rm", "-w", spec.Labels[driver.LabelWorkspaceID])
		}
		return s.describe(), nil
	}
}

// insert is the sandbox of that name, made if there is none.
func (d *Driver) insert(spec driver.SandboxSpec) *sandbox {
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok := d.sandboxes[spec.ID]
	if !ok {
		s = newSandbox(spec)
		d.sandboxes[spec.ID] = s
	}
	return s
}

// Start makes a sandbox take commands.
func (d *Driver) Start(ctx context.Context, id string) (driver.Sandbox, error) {
	s, err := d.change(ctx, id)
	if err != nil {
		return driver.Sandbox{}, err
	}
	defer s.unlock()
	if d.processes.isClosed() {
		return driver.Sandbox{}, errClosed()
	}
	s.setState(driver.SandboxRunning)
	return s.describe(), nil
}

// Stop ends every process that was started in the sandbox.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	s, err := d.change(ctx, id)
	if err != nil {
		return err
	}
	defer s.unlock()
	return d.stop(ctx, s, grace)
}

func (d *Driver) stop(ctx context.Context, s *sandbox, grace time.Duration) error {
	was := s.setState(driver.SandboxStopped) // no command starts from here on
	if was != driver.SandboxRunning {
		return nil
	}
	if err := s.awaitStarts(ctx); err != nil { // what has begun to start is ended, too
		s.setState(was)
		return err
	}
	if err := d.processes.endAll(ctx, d.ownedBy(s), max(0, grace)); err != nil {
		s.setState(was)
		return err
	}
	return nil
}

// ownedBy selects what runs in a sandbox. Where no other one is running it
// selects too what got away so far that its command is not known.
func (d *Driver) ownedBy(s *sandbox) func(*execution) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	alone := true
	for _, other := range d.sandboxes {
		if other != s && other.describe().State == driver.SandboxRunning {
			alone = false
		}
	}
	return func(e *execution) bool { return e.sandbox == s || e.sandbox == nil && alone }
}

// Remove forgets the sandbox. The workspace's files stay.
func (d *Driver) Remove(ctx context.Context, id string, force bool) error {
	s, err := d.change(ctx, id)
	if driver.ReasonOf(err) == driver.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.unlock()
	if s.describe().State == driver.SandboxRunning {
		if !force {
			return driver.Errorf(driver.NotStopped, "sandbox %s is running", id).About(id).Remedy("stop it first", "sero", "stop")
		}
		if err := d.stop(ctx, s, 0); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.removed = true
	s.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sandboxes, id)
	return nil
}

// Get describes a sandbox.
func (d *Driver) Get(_ context.Context, id string) (driver.Sandbox, error) {
	s, err := d.find(id)
	if err != nil {
		return driver.Sandbox{}, err
	}
	return s.describe(), nil
}

// List describes the sandboxes that carry all the given labels.
func (d *Driver) List(_ context.Context, labels map[string]string) ([]driver.Sandbox, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []driver.Sandbox
	for _, s := range d.sandboxes {
		if carries(s.spec.Labels, labels) {
			out = append(out, s.describe())
		}
	}
	slices.SortFunc(out, func(a, b driver.Sandbox) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

func carries(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func (d *Driver) find(id string) (*sandbox, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok := d.sandboxes[id]
	if !ok {
		return nil, errNotFound(id)
	}
	return s, nil
}

func errNotFound(id string) error {
	return driver.Errorf(driver.NotFound, "there is no sandbox %s", id).About(id)
}

// change finds a sandbox and takes its turn to change it; unlock ends that.
func (d *Driver) change(ctx context.Context, id string) (*sandbox, error) {
	s, err := d.find(id)
	if err != nil {
		return nil, err
	}
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	if s.isRemoved() {
		s.unlock()
		return nil, errNotFound(id)
	}
	return s, nil
}

func (s *sandbox) lock(ctx context.Context) error {
	if ctx.Err() != nil { // select would pick either
		return ctxError(ctx)
	}
	select {
	case s.changing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctxError(ctx)
	}
}

func (s *sandbox) unlock() { <-s.changing }

func (s *sandbox) isRemoved() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.removed
}

// beginStart fails unless commands may be started, and lets Stop wait until endStart.
func (s *sandbox) beginStart() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkRunning(); err != nil {
		return err
	}
	s.starting++
	return nil
}

func (s *sandbox) endStart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.starting--; s.starting == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// awaitStarts waits until no command is being started.
func (s *sandbox) awaitStarts(ctx context.Context) error {
	s.mu.Lock()
	if s.starting == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	idle := s.idle
	s.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctxError(ctx)
	}
}

// setState returns the state that was.
func (s *sandbox) setState(state driver.SandboxState) driver.SandboxState {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.state
	s.state = state
	if state == driver.SandboxRunning && was != state {
		s.started = time.Now()
	}
	return was
}

func (s *sandbox) describe() driver.Sandbox {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return driver.Sandbox{
		ID:           s.spec.ID,
		Instance:     s.instance,
		State:        s.state,
		Labels:       maps.Clone(s.spec.Labels),
		WorkspaceDir: s.spec.WorkspaceDir,
		Created:      s.created,
		Started:      s.started,
	}
}

var idPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`) })

func checkID(id string) error {
	if idPattern().MatchString(id) {
		return nil
	}
	return &driver.Error{
		Reason:  driver.NameInvalid,
		Message: "a sandbox's id is 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end",
		Field:   "id",
	}
}

func (d *Driver) checkSpec(spec driver.SandboxSpec) error {
	if err := checkID(spec.ID); err != nil {
		return err
	}
	if err := driver.NeedAll(d, spec.Needs()); err != nil {
		return err
	}
	if err := checkEnv(spec.Env); err != nil {
		return err
	}
	if len(spec.Options) > 0 {
		slog.Debug("the host driver has no options", "given", len(spec.Options))
	}
	return checkWorkspace(spec.WorkspaceDir)
}

func checkWorkspace(dir string) error {
	const field = "workspace_dir"
	if !filepath.IsAbs(dir) || strings.ContainsRune(dir, 0) {
		return invalid(field, "the workspace's directory must be an absolute path")
	}
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &driver.Error{
			Reason: driver.MountDenied, Message: "the workspace's directory does not exist", Field: field, Resource: dir, Err: err,
			Remedies: []driver.Remedy{{Text: "create it, or open another directory", Command: []string{"mkdir", "-p", dir}}},
		}
	case errors.Is(err, fs.ErrPermission):
		return &driver.Error{Reason: driver.PermissionDenied, Message: "the workspace's directory cannot be read", Field: field, Resource: dir, Err: err}
	case err != nil:
		return &driver.Error{Reason: driver.InvalidArgument, Message: "the workspace's directory cannot be used", Field: field, Err: err}
	case !info.IsDir():
		e := invalid(field, "the workspace must be a directory")
		e.Resource = dir
		return e
	}
	return nil
}

func invalid(field, format string, args ...any) *driver.Error {
	return &driver.Error{Reason: driver.InvalidArgument, Message: fmt.Sprintf(format, args...), Field: field}
}
