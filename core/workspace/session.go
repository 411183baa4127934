package workspace

import (
	"context"

	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Sessions lists the commands in a ready workspace that were started with Keep,
// by this core or an earlier one. In host mode there are none: they end with the
// core that knows them.
func (m *Manager) Sessions(ctx context.Context, id string) ([]guest.Session, error) {
	e, s, err := m.ready(id)
	if err != nil || s.choice.HostMode {
		return nil, err
	}
	ctx, cancel := m.answer(ctx, id)
	defer cancel()
	return m.guest(e, s).Sessions(ctx)
}

// AttachSession goes on with a command that was started with Keep, as if it were run
// now: what was kept of its output comes first. When ctx ends it goes on. skipped
// and the errors are guest.Guest.Attach's; NotRunning when the workspace is not
// ready.
func (m *Manager) AttachSession(ctx context.Context, id, execID string, skipped func(bytes int64), stdio driver.ExecIO) (ExecResult, error) {
	e, s, err := m.ready(id)
	if err != nil {
		return ExecResult{}, err
	}
	if s.choice.HostMode {
		return ExecResult{}, errNoSession(execID)
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer e.track(execID, end)()
	stops := e.stopCount()
	status, err := m.guest(e, s).Attach(ctx, execID, skipped, stdio)
	return ExecResult{ExitStatus: status}, e.whyEnded(stops, status, err)
}

// EndSession ends a command that was started with Keep. NotFound if there is
// none, and in host mode, where ending its Exec ends it.
func (m *Manager) EndSession(ctx context.Context, id, execID string) error {
	e, s, err := m.ready(id)
	if err != nil {
		return err
	}
	if s.choice.HostMode {
		return errNoSession(execID)
	}
	ctx, cancel := m.answer(ctx, id)
	defer cancel()
	return m.guest(e, s).EndSession(ctx, execID)
}

// answer bounds what a workspace may take to answer.
func (m *Manager) answer(ctx context.Context, id string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, m.options.CallTimeout, driver.Errorf(driver.Timeout, "workspace %s did not answer", id))
}

func errNoSession(execID string) error {
	return driver.Errorf(driver.NotFound, "there is no command %s", execID)
}

// Ready lists the ids of the workspaces that are ready.
func (m *Manager) Ready() []string {
	var ids []string
	for _, e := range m.entries() {
		e.mu.Lock()
		if e.current != nil {
			ids = append(ids, e.id)
		}
		e.mu.Unlock()
	}
	return ids
}
