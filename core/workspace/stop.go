package workspace

import (
	"context"
	"fmt"
	"time"

	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// errStopWins ends an attempt to make a workspace ready that is to be stopped.
var errStopWins = driver.Errorf(driver.Canceled, "the workspace was stopped while it was being made ready")

// ending is how much of a workspace bringDown ends.
type ending int

const (
	endProcesses ending = iota // what runs; the sandbox stays, stopped
	endSandbox                 // the sandbox, too
	endWorkspace               // and what is known of the workspace
)

// Stop ends a workspace's dev servers, then everything in its sandbox, killing
// what is left once grace has passed (0: DefaultStopGrace). It says in one line
// each what it ended. Stopping a stopped workspace succeeds. NotFound for an
// unknown one, ForeignResource when the sandbox is not ours.
func (m *Manager) Stop(ctx context.Context, ref Ref, grace time.Duration) (Workspace, []string, error) {
	e, _, err := m.find(ref)
	if err != nil {
		return Workspace{}, nil, err
	}
	lines, err := m.bringDown(ctx, e, grace, endProcesses)
	if err != nil {
		return Workspace{}, lines, err
	}
	return m.observe(ctx, []*entry{e})[0], lines, nil
}

// Remove stops a workspace, removes its sandbox, those too that it has in drivers
// which it was in before, and forgets it; its files are never touched, nor is a
// sandbox that is not ours. It says in one line each what it took away, and what
// it could not reach. Without such a workspace it succeeds with an empty id.
func (m *Manager) Remove(ctx context.Context, ref Ref) (id string, removed []string, err error) {
	e, _, err := m.find(ref)
	if driver.ReasonOf(err) == driver.NotFound {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	lines, err := m.bringDown(ctx, e, DefaultStopGrace, endWorkspace)
	return e.id, lines, err
}

// bringDown stops a workspace with its dev servers, and takes away as much of it
// as it is told.
func (m *Manager) bringDown(ctx context.Context, e *entry, grace time.Duration, end ending) ([]string, error) {
	e.mu.Lock()
	if e.flight != nil {
		e.flight.end(errStopWins)
	}
	e.mu.Unlock()
	lines, err := m.stopDevServers(ctx, e)
	if err != nil {
		return lines, err
	}
	more, err := m.takeDown(ctx, e, grace, end)
	return append(lines, more...), err
}

// takeDown is bringDown without the dev servers.
func (m *Manager) takeDown(ctx context.Context, e *entry, grace time.Duration, end ending) ([]string, error) {
	if grace <= 0 {
		grace = DefaultStopGrace
	}
	if err := e.take(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	e.mu.Lock()
	if e.removed {
		e.mu.Unlock()
		return nil, nil
	}
	name, hostMode := e.last.Driver, e.last.HostMode
	if e.current != nil {
		name, hostMode = e.current.choice.Actual, e.current.choice.HostMode
	}
	e.current, e.phase = nil, StateStopping
	e.stops++
	e.mu.Unlock()

	lines, err := m.endSandbox(ctx, e, name, hostMode, grace, end != endProcesses)
	if proxies := m.egressPart(); err == nil && proxies != nil {
		proxies.StopWorkspace(e.id)
	}
	if err == nil && end == endWorkspace {
		lines = append(lines, m.endElsewhere(ctx, e, name, grace)...)
		err = m.forget(e, &lines)
	}
	e.mu.Lock()
	e.phase = StateUnknown
	if err == nil {
		e.failure = nil
	}
	e.mu.Unlock()
	return lines, err
}

// stopCount is for whyEnded.
func (e *entry) stopCount() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stops
}

// whyEnded is the error of a command that ran and began after so many stops of
// the workspace. If it was lost, or ended by a signal, and the workspace was
// stopped since, the stop is the reason, whichever of the two is seen first.
func (e *entry) whyEnded(stops int, status driver.ExitStatus, lost error) error {
	if lost == nil && status.Signal == "" || e.stopCount() == stops {
		return lost
	}
	return driver.Errorf(driver.Canceled, "workspace %s was stopped", e.id).About(e.id)
}

func (m *Manager) stopDevServers(ctx context.Context, e *entry) ([]string, error) {
	m.mu.Lock()
	servers := m.devServers
	m.mu.Unlock()
	if servers == nil {
		return nil, nil
	}
	return servers.StopWorkspace(ctx, e.id)
}

// endSandbox stops or removes the sandbox, if there is one and it is ours.
func (m *Manager) endSandbox(ctx context.Context, e *entry, name string, hostMode bool, grace time.Duration, remove bool) ([]string, error) {
	if name == "" {
		return nil, nil
	}
	d, running := m.options.Drivers.Started(name)
	if !running {
		if hostMode {
			return nil, nil // with its driver all of it ended
		}
		var err error
		if d, err = m.options.Drivers.Driver(ctx, name); err != nil {
			if remove && driver.ReasonOf(err) == driver.DriverNotFound {
				return []string{fmt.Sprintf("driver %s is not there any more; a sandbox %s in it is left", name, SandboxID(e.id))}, nil
			}
			return nil, err
		}
	}
	state, err := m.get(ctx, d, name, SandboxID(e.id))
	switch {
	case driver.ReasonOf(err) == driver.NotFound:
		return nil, nil
	case err != nil:
		return nil, err
	}
	if err := m.mayChange(e, state); err != nil {
		if remove { // nothing of this workspace is there
			return []string{fmt.Sprintf("nothing in driver %s: %s", name, driver.AsError(err).Message)}, nil
		}
		return nil, err
	}
	var lines []string
	if state.State != driver.SandboxStopped && state.State != driver.SandboxCorrupt {
		if err := m.stopSandbox(ctx, e, d, name, grace); err != nil {
			return nil, err
		}
		lines = append(lines, fmt.Sprintf("sandbox %s in driver %s", state.ID, name))
	}
	if remove {
		if err := m.call(ctx, name, func(ctx context.Context) error { return d.Remove(ctx, state.ID, true) }); err != nil {
			return lines, err
		}
		lines = []string{fmt.Sprintf("sandbox %s in driver %s", state.ID, name)}
	}
	return lines, nil
}

func (m *Manager) stopSandbox(ctx context.Context, e *entry, d driver.Driver, name string, grace time.Duration) error {
	m.publish(event.WorkspaceStopping, e.id, "being stopped")
	late := driver.Errorf(driver.Timeout, "driver %s did not stop workspace %s", name, e.id).About(e.id)
	bounded, cancel := context.WithTimeoutCause(ctx, grace+m.options.CallTimeout, late)
	defer cancel()
	if err := d.Stop(bounded, SandboxID(e.id), grace); err != nil && driver.ReasonOf(err) != driver.NotFound {
		if bounded.Err() != nil {
			err = driver.AsError(context.Cause(bounded))
		}
		m.publish(event.WorkspaceFailed, e.id, "cannot be stopped: %s", driver.AsError(err).Message)
		return err
	}
	e.endCommands(errStopped)
	m.publish(event.WorkspaceStopped, e.id, "stopped")
	return nil
}

// unrecord removes a workspace's record.
func (m *Manager) unrecord(e *entry) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	if err := m.store.remove(e.id); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byID, e.id)
	delete(m.byDir, e.directory)
	return nil
}

// forget drops a workspace from what is known. The caller has its turn.
func (m *Manager) forget(e *entry, lines *[]string) error {
	if err := m.unrecord(e); err != nil {
		return err
	}
	m.mu.Lock()
	servers, proxies := m.devServers, m.egress
	m.mu.Unlock()
	e.mu.Lock()
	e.removed = true
	e.mu.Unlock()
	if proxies != nil {
		proxies.ForgetWorkspace(e.id)
	}
	if servers != nil {
		servers.ForgetWorkspace(e.id)
	}
	*lines = append(*lines, "the record of workspace "+e.id)
	m.publish(event.WorkspaceRemoved, e.id, "forgotten; its files are untouched")
	return nil
}
