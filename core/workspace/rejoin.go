package workspace

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Rejoin takes up the sandboxes that an earlier core left running, as if they
// had been made ready now, and calls found with their workspaces' ids, several at
// a time. It starts their drivers and waits for them; it starts and changes no
// sandbox.
func (m *Manager) Rejoin(ctx context.Context, found func(id string)) {
	byDriver := map[string][]*entry{}
	for _, e := range m.entries() {
		e.mu.Lock()
		if e.mayStillRun() && e.current == nil {
			byDriver[e.last.Driver] = append(byDriver[e.last.Driver], e)
		} else {
			e.hasRejoined()
		}
		e.mu.Unlock()
	}
	var all sync.WaitGroup
	for name, entries := range byDriver {
		all.Go(func() {
			d, err := m.options.Drivers.Driver(ctx, name)
			if err != nil {
				m.log.Info("the driver of sandboxes that may still run cannot be used", "driver", name, "error", err)
			}
			var each errgroup.Group // one that does not answer holds up no other
			each.SetLimit(rejoinsAtATime)
			for _, e := range entries {
				each.Go(func() error {
					if err == nil && m.rejoin(ctx, e, d, name) {
						found(e.id)
					}
					e.mu.Lock()
					defer e.mu.Unlock()
					e.hasRejoined()
					return nil
				})
			}
			_ = each.Wait()
		})
	}
	all.Wait()
}

// rejoinsAtATime are the workspaces of one driver that are taken up at a time.
const rejoinsAtATime = 8

// mayStillRun reports whether an earlier core may have left the workspace's sandbox
// running. mu must be held.
func (e *entry) mayStillRun() bool { return e.last.Driver != "" && !e.last.HostMode }

// hasRejoined ends the wait for what an earlier core left. mu must be held.
func (e *entry) hasRejoined() {
	if e.rejoined != nil {
		close(e.rejoined)
		e.rejoined = nil
	}
}

// Rejoined is closed once Rejoin knows what an earlier core left of a workspace. It
// is nil when there is nothing to wait for.
func (m *Manager) Rejoined(id string) <-chan struct{} {
	e := m.named(id)
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.rejoined
}

// rejoin holds a workspace as ready if its sandbox runs and is ours, and tells
// whether it did.
func (m *Manager) rejoin(ctx context.Context, e *entry, d driver.Driver, name string) bool {
	if e.take(ctx) != nil {
		return false
	}
	defer e.leave()
	state, err := m.get(ctx, d, name, SandboxID(e.id))
	if err != nil || state.State != driver.SandboxRunning || !m.owns(e, state) || !e.shownIn(state) {
		return false
	}
	if err := e.checkPlace(m, false); err != nil {
		m.log.Warn("a sandbox that runs is not taken up", "workspace", e.id, "error", err)
		return false
	}
	user, err := m.lookForUser(ctx, d, state)
	if err != nil {
		m.log.Info("a sandbox that runs is not taken up before it is needed", "workspace", e.id, "error", err)
		return false
	}
	choice := m.choiceOf(ctx, e, name)
	e.mu.Lock()
	if e.removed || e.current != nil {
		e.mu.Unlock()
		return false
	}
	e.current, e.choice = &sandbox{choice: choice, state: state, caps: driver.Capabilities(d), user: user, looked: true}, choice
	e.mu.Unlock()
	m.publish(event.WorkspaceRunning, e.id, "still runs in driver %s", name)
	return true
}

// choiceOf is why a workspace that runs in a driver would have it now, or that
// it was used last.
func (m *Manager) choiceOf(ctx context.Context, e *entry, name string) negotiate.Choice {
	if file, err := e.config(); err == nil {
		request, _ := m.request(e, "", file)
		if choice, err := m.options.Chooser.Choose(ctx, request); err == nil && choice.Actual == name {
			return choice
		}
	}
	return e.snapshot().Choice
}
