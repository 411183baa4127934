package workspace

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// elsewhereLimit bounds asking and removing in one more driver, beside the grace.
const elsewhereLimit = 20 * time.Second

// endElsewhere removes the sandboxes of a workspace in other drivers than its own,
// left there when it moved. It says in one line each what it took away, and which
// drivers it could not ask although there may be one. The caller has the
// workspace's turn.
func (m *Manager) endElsewhere(ctx context.Context, e *entry, own string, grace time.Duration) []string {
	var names []string
	if m.options.Lasting != nil {
		names = m.options.Lasting()
	}
	e.mu.Lock()
	before := e.before
	e.mu.Unlock()
	names = append(names, before...)
	slices.Sort(names)
	names = slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == own })
	ctx, cancel := context.WithTimeoutCause(ctx, grace+elsewhereLimit, driver.Errorf(driver.Timeout, "it did not answer in time"))
	defer cancel()
	found := make([][]string, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() {
			lines, err := m.endIn(ctx, e, name, grace)
			if reason := driver.ReasonOf(err); err != nil && !nothingToAsk[reason] && (reason != driver.EngineNotRunning || slices.Contains(before, name)) {
				lines = append(lines, fmt.Sprintf("driver %s: a sandbox %s may be left: %s", name, SandboxID(e.id), driver.AsError(err).Message))
			}
			found[i] = lines
		})
	}
	all.Wait()
	return slices.Concat(found...)
}

// endIn removes a workspace's sandbox in a driver, if it has one there.
func (m *Manager) endIn(ctx context.Context, e *entry, name string, grace time.Duration) ([]string, error) {
	d, err := m.options.Drivers.Driver(ctx, name)
	if err != nil {
		return nil, err
	}
	state, err := m.get(ctx, d, name, SandboxID(e.id))
	if driver.ReasonOf(err) == driver.NotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if m.mayChange(e, state) != nil { // it is another's
		return nil, nil
	}
	return m.endSandbox(ctx, e, name, false, grace, true)
}
