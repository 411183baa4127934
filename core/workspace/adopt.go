package workspace

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// adoption asks drivers for sandboxes of ours whose records are lost. Records
// are a cache: what exists is what the runtimes tell by label.
type adoption struct {
	mu    sync.Mutex // guards what follows
	told  map[string]bool
	under chan struct{} // closed when the asking under way is over; nil: none is
	first bool          // one round is over
}

// adopt makes workspaces known that have a sandbox of ours and no record. Each
// driver is asked until it has told once. A caller waits for the first round
// only, and not for long: one that does not answer keeps nobody.
func (m *Manager) adopt() {
	under, wait := m.beginAdoption()
	if !wait {
		return
	}
	timer := time.NewTimer(m.options.ListTimeout)
	defer timer.Stop()
	select {
	case <-under:
	case <-timer.C:
	case <-m.life.Done():
	}
}

func (m *Manager) beginAdoption() (under chan struct{}, wait bool) {
	if m.options.Lasting == nil {
		return nil, false
	}
	lasting := m.options.Lasting()
	a := &m.adoption
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.under != nil {
		return a.under, !a.first
	}
	var ask []string
	for _, name := range lasting {
		if !a.told[name] {
			ask = append(ask, name)
		}
	}
	if len(ask) == 0 {
		return nil, false
	}
	under = make(chan struct{})
	begun := m.begin(func() {
		m.adoptFrom(ask)
		a.mu.Lock()
		a.under, a.first = nil, true
		a.mu.Unlock()
		close(under)
	})
	if !begun {
		return nil, false
	}
	a.under = under
	return under, !a.first
}

// adoptFrom asks drivers, all at the same time.
func (m *Manager) adoptFrom(names []string) {
	var all sync.WaitGroup
	for _, name := range names {
		all.Go(func() {
			ctx, cancel := context.WithTimeoutCause(m.life, m.options.CallTimeout, driver.Errorf(driver.Timeout, "driver %s does not tell", name))
			defer cancel()
			list, err := m.listOurs(ctx, name)
			if err != nil {
				m.log.Debug("whether a driver has sandboxes of ours is not known", "driver", name, "error", err)
				return
			}
			m.adoptAll(name, list)
		})
	}
	all.Wait()
}

// adoptAll makes the workspaces of what a driver tells for the first time known.
func (m *Manager) adoptAll(name string, list []driver.Sandbox) {
	a := &m.adoption
	a.mu.Lock()
	told := a.told[name]
	a.mu.Unlock()
	if told {
		return
	}
	for _, s := range list {
		m.adoptOne(name, s)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.told == nil {
		a.told = map[string]bool{}
	}
	a.told[name] = true
}

// listOurs lists the sandboxes of this installation in a driver, started if need
// be, ordered by id.
func (m *Manager) listOurs(ctx context.Context, name string) ([]driver.Sandbox, error) {
	d, err := m.options.Drivers.Driver(ctx, name)
	if err != nil {
		return nil, err
	}
	r := m.askOne(ctx, name, d)
	list := make([]driver.Sandbox, 0, len(r.sandboxes))
	for _, s := range r.sandboxes {
		if m.ours(s) {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b driver.Sandbox) int { return cmp.Compare(a.ID, b.ID) })
	return list, r.err
}

// ours tells whether this installation made a sandbox, for whatever workspace.
func (m *Manager) ours(s driver.Sandbox) bool {
	return s.Labels[driver.LabelManaged] == "true" && s.Labels[driver.LabelInstallation] == m.options.Installation
}

// adoptOne makes the workspace of a sandbox known, unless the id or the
// directory is another's, or the labels make no sense. Then it is for Prune.
func (m *Manager) adoptOne(name string, s driver.Sandbox) {
	id, dir := s.Labels[driver.LabelWorkspaceID], s.Labels[driver.LabelWorkspacePath]
	sound := ValidateID(id) == nil && s.ID == SandboxID(id) && filepath.IsAbs(dir) && filepath.Clean(dir) == dir &&
		utf8.ValidString(dir) && !strings.ContainsFunc(dir, unicode.IsControl) && m.tooBroad(dir) == nil
	if !sound {
		return
	}
	m.writing.Lock()
	defer m.writing.Unlock()
	m.mu.Lock()
	taken := m.byID[id] != nil || m.byDir[dir] != nil || m.store.newer[id]
	m.mu.Unlock()
	if taken {
		return
	}
	if s.Created.IsZero() {
		s.Created = time.Now()
	}
	r := record{ID: id, Directory: dir, Created: s.Created.UTC().Truncate(time.Millisecond), Last: lastUse{Driver: name}}
	if err := m.store.save(r); err != nil {
		m.log.Warn("a workspace that was found by its sandbox cannot be kept", "workspace", id, "error", err)
		return
	}
	m.mu.Lock()
	m.know(r)
	m.mu.Unlock()
	m.log.Info("a workspace was found by its sandbox", "workspace", id, "driver", name)
}
