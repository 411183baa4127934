package workspace

import (
	"context"
	"errors"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// UpOptions say which workspace to make ready, and how.
type UpOptions struct {
	Ref Ref
	// NewID is the id for a workspace that is not known yet; empty: the one in
	// its sero.json, else one made from the directory's name.
	NewID string
	// Driver is "" for the workspace's own choice, "auto", "host", or the name
	// of a driver, which is then required. It is kept for later.
	Driver string
}

// Up makes a workspace ready to run commands: it chooses a driver, and makes or
// starts the sandbox. It is idempotent; concurrent calls for one workspace
// share one result, and one that is cancelled is not felt by the others.
// report, which may be nil, gets progress from the caller's goroutine.
//
// Errors: NameInvalid, InvalidArgument, NotFound and AlreadyExists for a bad
// id, directory or pair of them; ConfigInvalid for sero.json; NotStopped when
// it runs in another driver; ForeignResource for a sandbox that is not ours;
// and those of the choice and of the driver.
func (m *Manager) Up(ctx context.Context, options UpOptions, report func(driver.Progress)) (Workspace, error) {
	if err := checkWish(options.Driver); err != nil {
		return Workspace{}, err
	}
	for {
		e, _, err := m.open(options.Ref, options.NewID)
		if err != nil {
			return Workspace{}, err
		}
		ready, err := m.ensure(ctx, e, wish{driver: options.Driver, keep: true}, true, report)
		if errors.Is(err, errRemoved) {
			continue // it is opened anew, or not known any more
		}
		if err != nil {
			return Workspace{}, err
		}
		w := m.answerOf(e, ready)
		m.warnOfHelper(&w, ready.state)
		return w, nil
	}
}

// readyOf is the workspace with a sandbox that was ready.
func (m *Manager) readyOf(e *entry, s *sandbox) Workspace {
	w := e.snapshot()
	w.State, w.StateMessage = StateRunning, ""
	w.Choice, w.Capabilities, w.User = s.choice, s.caps, s.user.String()
	w.describe(s.state)
	m.askedUser(e, &w)
	return w
}

// answerOf is readyOf, and once says whether a new workspace runs on the host.
func (m *Manager) answerOf(e *entry, s *sandbox) Workspace {
	w := m.readyOf(e, s)
	e.mu.Lock()
	defer e.mu.Unlock()
	w.FirstOnHost, e.newHost = e.newHost, false
	return w
}

// askedUser puts the user that the workspace asks for in the place of the one
// that was found. It holds for the next command, and so is read when it is shown.
func (m *Manager) askedUser(e *entry, w *Workspace) {
	file, err := e.config()
	if err != nil || w.Choice.HostMode {
		return
	}
	if user := m.userOf(e, file); user != "" {
		w.User = user
	}
}
