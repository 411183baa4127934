package workspace

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// The kinds of things that Prune takes away.
const (
	PruneWorkspace = "workspace" // its record, and its sandbox if there is one
	PruneSandbox   = "sandbox"
	PruneImage     = "image"
)

// PruneOptions say what to look for.
type PruneOptions struct {
	DryRun bool
	// Unused also takes sandboxes that are stopped and were last started longer
	// ago; 0: none.
	Unused time.Duration
	// Only are the keys of the items that may be taken; empty: all.
	Only []string
}

// PruneItem is one thing that nobody needs any more.
type PruneItem struct {
	Kind        string
	Driver      string // that has it; empty for a workspace without a sandbox
	Name        string // as the runtime knows it
	WorkspaceID string // that it was made for, if one
	Reason      string // one line: why nobody needs it
	Bytes       int64  // 0: not known
	Removed     bool
	Err         error // why it could not be removed

	entry *entry // of a workspace, nil when none is known
}

// Key names the item among all that there are.
func (i PruneItem) Key() string { return i.Kind + "/" + i.Driver + "/" + i.Name }

// Prune takes away what nobody needs any more, or only says what it would:
// workspaces whose directory is gone, with their sandboxes; sandboxes whose
// workspace is not known or uses another driver; sandboxes that were not used
// for long; images that we built and that lost their name to newer ones. It
// looks at what this installation made and at nothing else. warnings are about
// drivers that could not be asked, one line each.
func (m *Manager) Prune(ctx context.Context, options PruneOptions) (items []PruneItem, warnings []string) {
	stocks, warnings := m.inventory(ctx)
	for _, e := range m.entries() {
		if item, gone := m.judgeWorkspace(e); gone {
			items = append(items, item)
		}
	}
	for _, s := range stocks {
		for _, sandbox := range s.sandboxes {
			item := PruneItem{
				Kind: PruneSandbox, Driver: s.name, Name: sandbox.ID, WorkspaceID: sandbox.Labels[driver.LabelWorkspaceID],
			}
			if item.Reason = m.judgeSandbox(s.name, sandbox, options.Unused); item.Reason != "" {
				item.entry = m.named(item.WorkspaceID)
				items = append(items, item)
			}
		}
	}
	for _, s := range stocks {
		for _, image := range s.images {
			if m.built(image) && superseded(image) && len(s.users(image)) == 0 {
				items = append(items, PruneItem{
					Kind: PruneImage, Driver: s.name, Name: nameOf(image), Bytes: image.SizeBytes,
					Reason: "a newer image has its name, and no sandbox is made from it",
				})
			}
		}
	}
	if len(options.Only) > 0 {
		items = slices.DeleteFunc(items, func(i PruneItem) bool { return !slices.Contains(options.Only, i.Key()) })
	}
	if !options.DryRun {
		for i := range items {
			items[i].Err = m.prune(ctx, items[i])
			items[i].Removed = items[i].Err == nil
		}
	}
	return items, warnings
}

// judgeWorkspace tells whether a workspace's directory is gone for good.
func (m *Manager) judgeWorkspace(e *entry) (PruneItem, bool) {
	if _, err := m.looks.check(e.directory); driver.ReasonOf(err) != driver.NotFound {
		return PruneItem{}, false
	}
	w := e.snapshot()
	item := PruneItem{Kind: PruneWorkspace, Name: e.id, WorkspaceID: e.id, Reason: "its directory " + shown(e.directory) + " is gone", entry: e}
	if !w.Choice.HostMode {
		item.Driver = w.Choice.Actual
	}
	return item, true
}

// judgeSandbox is why nobody needs a sandbox, or empty.
func (m *Manager) judgeSandbox(name string, s driver.Sandbox, unused time.Duration) string {
	if m.isTrial(s) {
		return "it was made to try out a new sandbox, and left"
	}
	e := m.named(s.Labels[driver.LabelWorkspaceID])
	if e == nil || s.ID != SandboxID(e.id) {
		return "its workspace is not known any more"
	}
	if _, err := m.looks.check(e.directory); driver.ReasonOf(err) == driver.NotFound {
		if e.snapshot().Choice.Actual == name {
			return "" // it goes with the workspace
		}
		return "the directory " + shown(e.directory) + " is gone"
	}
	if dir := s.Labels[driver.LabelWorkspacePath]; dir != e.directory {
		return fmt.Sprintf("it was made for %s, and workspace %s is in %s", shown(dir), e.id, shown(e.directory))
	}
	if s.State != driver.SandboxStopped {
		return ""
	}
	if choice := e.snapshot().Choice; choice.Actual != "" && choice.Actual != name && !choice.HostMode {
		return fmt.Sprintf("workspace %s uses driver %s now", e.id, choice.Actual)
	}
	last := s.Started
	if last.IsZero() {
		last = s.Created
	}
	if unused > 0 && !last.IsZero() && time.Since(last) > unused {
		return fmt.Sprintf("it is stopped and was last started %s", last.Local().Format(time.DateOnly))
	}
	return ""
}

// prune takes one item away.
func (m *Manager) prune(ctx context.Context, i PruneItem) error {
	if i.Kind == PruneWorkspace {
		_, err := m.bringDown(ctx, i.entry, DefaultStopGrace, endWorkspace)
		return err
	}
	d, err := m.options.Drivers.Driver(ctx, i.Driver)
	if err != nil {
		return err
	}
	if i.Kind == PruneImage {
		images, err := driver.ImageRemoverOf(d)
		if err != nil {
			return err
		}
		return m.call(ctx, i.Driver, func(ctx context.Context) error { return images.RemoveImage(ctx, i.Name, false) })
	}
	if i.entry != nil {
		if err := i.entry.take(ctx); err != nil {
			return err
		}
		defer i.entry.leave()
	}
	return m.pruneSandbox(ctx, d, i)
}

// pruneSandbox removes a sandbox, after a last look at whose it is and whether
// somebody has begun to use it.
func (m *Manager) pruneSandbox(ctx context.Context, d driver.Driver, i PruneItem) error {
	s, err := m.get(ctx, d, i.Driver, i.Name)
	switch reason := driver.ReasonOf(err); {
	case reason == driver.NotFound:
		return nil
	case reason == driver.Corrupt: // it was listed under our labels
	case err != nil:
		return err
	case !m.ours(s):
		return driver.Errorf(driver.ForeignResource, "sandbox %s is not this sero's any more; it is left alone", i.Name).About(i.Name).
			Remedy("remove that sandbox with the tool that made it")
	case i.entry != nil && m.judgeSandbox(i.Driver, s, 1) == "":
		return driver.Errorf(driver.NotStopped, "sandbox %s is used again; it is left alone", i.Name).About(i.Name).
			Remedy("stop it, and prune again", "sero", "stop", "-w", i.WorkspaceID)
	}
	err = m.call(ctx, i.Driver, func(ctx context.Context) error { return d.Remove(ctx, i.Name, true) })
	if err == nil && i.entry != nil {
		i.entry.mu.Lock()
		if c := i.entry.current; c != nil && c.choice.Actual == i.Driver {
			i.entry.current = nil
		}
		i.entry.mu.Unlock()
	}
	return err
}
