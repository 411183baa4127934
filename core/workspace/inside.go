package workspace

import (
	"context"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Listeners watches the listening sockets of a workspace that is ready: report
// gets the whole set at once and after each change, until ctx ends or report
// fails. Those of a container are all that listen in it, of the host only what
// the workspace's commands opened. NotRunning when the workspace is not ready,
// Unsupported when nothing in it can tell.
func (m *Manager) Listeners(ctx context.Context, id string, report func([]driver.Listener) error) error {
	e, s, err := m.ready(id)
	if err != nil {
		return err
	}
	if !s.choice.HostMode {
		return m.guest(e, s).Listeners(ctx, report)
	}
	d, err := m.options.Drivers.Driver(ctx, s.choice.Actual)
	if err != nil {
		return err
	}
	watcher, err := driver.ListenerWatcherOf(d)
	if err != nil {
		return err
	}
	return watcher.Listeners(ctx, SandboxID(id), report)
}

// Dial connects to a TCP address, such as "127.0.0.1:5173" or "[::1]:5173",
// from inside a workspace that is ready; in host mode from this machine. The
// connection can be closed for writing alone (CloseWrite).
func (m *Manager) Dial(ctx context.Context, id, address string) (net.Conn, error) {
	e, s, err := m.ready(id)
	if err != nil {
		return nil, err
	}
	if s.choice.HostMode {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	return m.guest(e, s).Dial(ctx, address)
}

// Listen accepts connections that are made inside a workspace that is ready to
// 127.0.0.1:port, and with port 0 to one that is chosen; Addr tells it. In host
// mode it listens on this machine. Unsupported in a sandbox without the guest
// helper.
func (m *Manager) Listen(ctx context.Context, id string, port uint16) (net.Listener, error) {
	e, s, err := m.ready(id)
	if err != nil {
		return nil, err
	}
	if s.choice.HostMode {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
		return (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	}
	return m.guest(e, s).Listen(ctx, port)
}

// StopListeners ends the process groups of the processes that listen on a port
// in a workspace that is ready: SIGTERM, and SIGKILL for what is left once grace
// has passed. It says what listened. Unsupported in host mode, where the port
// may be anybody's.
func (m *Manager) StopListeners(ctx context.Context, id string, port uint16, grace time.Duration) ([]driver.Listener, error) {
	e, s, err := m.ready(id)
	if err != nil {
		return nil, err
	}
	if s.choice.HostMode {
		return nil, driver.Errorf(driver.Unsupported, "in host mode sero stops only what it started, not whatever listens on port %d", port).
			About(id)
	}
	return m.guest(e, s).StopListeners(ctx, port, grace)
}

// ready finds a workspace and the sandbox that it was last seen ready in.
func (m *Manager) ready(id string) (*entry, *sandbox, error) {
	e, _, err := m.find(Ref{ID: id})
	if err != nil {
		return nil, nil, err
	}
	e.mu.Lock()
	current := e.current
	e.mu.Unlock()
	if current == nil {
		return nil, nil, driver.Errorf(driver.NotRunning, "workspace %s is not running", id).About(id).
			Remedy("make it ready", "sero", "up", "-w", id)
	}
	return e, current, nil
}

// guest is who works inside a sandbox that is not the host.
func (m *Manager) guest(e *entry, s *sandbox) *guest.Guest {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.inside != nil && e.insideOf == s.state.Instance {
		return e.inside
	}
	if old := e.inside; old != nil { // of a sandbox that was made anew
		m.begin(old.Close)
	}
	name := s.choice.Actual
	target := guest.Target{
		SandboxID: SandboxID(e.id),
		Owner:     m.options.Installation,
		User:      s.user.String(),
		HostsNet:  !slices.Contains(s.caps, driver.CapNetContainer),
		Driver:    func(ctx context.Context) (driver.Driver, error) { return m.options.Drivers.Driver(ctx, name) },
	}
	for _, mount := range s.state.Mounts {
		if mount.Target != guest.MountTarget {
			continue
		}
		target.HasHelper = true
		if runtime.GOOS == "linux" && s.choice.Isolation == driver.IsolationSharedKernel {
			target.Shared = mount.Source
		}
	}
	e.insideOf, e.inside = s.state.Instance, guest.New(target)
	return e.inside
}

// helperMount adds the guest helper to a sandbox that is to be made. It comes
// after the spec's hash is taken: an older helper serves as well, so a newer one
// makes no sandbox stale.
func (m *Manager) helperMount(spec *driver.SandboxSpec, d driver.Driver) {
	if !m.takesHelper(d) {
		return
	}
	mount, err := m.helper()
	if err != nil {
		m.log.Warn("sandboxes get no guest helper", "error", err)
		return
	}
	spec.Mounts = append(spec.Mounts, mount)
}

func (m *Manager) takesHelper(d driver.Driver) bool {
	return m.options.GuestDir != "" && driver.Has(d, driver.CapMountBind) && driver.Has(d, driver.CapMountRO)
}

// roomForHelper fails with OutOfDisk where there is no room to write the helper: a
// sandbox made now would lack it for all its life. Whatever else is wrong with the
// helper, sandboxes do without.
func (m *Manager) roomForHelper(d driver.Driver) error {
	if !m.takesHelper(d) {
		return nil
	}
	if _, err := m.helper(); driver.ReasonOf(err) == driver.OutOfDisk {
		return driver.Errorf(driver.Internal, "sero's guest helper cannot be written: %w", err)
	}
	return nil
}

// helper is the mount of the guest helper, which is written once.
func (m *Manager) helper() (driver.Mount, error) {
	if known := m.helperAt.Load(); known != nil {
		return *known, nil
	}
	mount, err := guest.Mount(m.options.GuestDir)
	if err == nil {
		m.helperAt.Store(&mount)
	}
	return mount, err
}

// warnOfHelper says what a sandbox without the guest helper, or with one that
// does not work, lacks.
func (m *Manager) warnOfHelper(w *Workspace, s driver.Sandbox) {
	mounted := slices.ContainsFunc(s.Mounts, func(mount driver.Mount) bool { return mount.Target == guest.MountTarget })
	if m.options.GuestDir == "" || w.Choice.HostMode || mounted && !strings.HasPrefix(w.Guest, guest.NoHelper) {
		return
	}
	text := "without sero's guest helper commands start slower, terminals and logs of dev servers end with the daemon, " +
		"what listens is seen only where the image has ss, and egress rules cannot be the only way out; "
	if _, err := m.helper(); err != nil {
		text += "mend this first: " + driver.AsError(err).Message + "; then "
	}
	w.Warnings = append(slices.Clip(w.Warnings), text+"make the sandbox anew: sero recreate -w "+w.ID)
}

// guestStatus says how commands get into the sandbox. e.mu must be held.
func (e *entry) guestStatus() string {
	if e.inside == nil {
		return ""
	}
	return e.inside.Status()
}

// closeGuests ends the connections into sandboxes. What is detached in them goes
// on.
func (m *Manager) closeGuests() {
	for _, e := range m.entries() {
		e.mu.Lock()
		inside := e.inside
		e.mu.Unlock()
		if inside != nil {
			inside.Close()
		}
	}
}
