package workspace

import (
	"path/filepath"
	"slices"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// idsFor are the ids that a directory gets by itself, the first that is free. The
// last differs between installations, which may have directories of one path.
func (m *Manager) idsFor(directory string) []string {
	id := IDFromName(filepath.Base(directory))
	return []string{id, idFromPath(id, directory), idFromPath(id, m.options.Installation+"\n"+directory)}
}

// freeID is the id for a directory whose workspace has no id of a person's choice. mu must be held.
func (m *Manager) freeID(directory string) (string, error) {
	ids := m.idsFor(directory)
	for _, id := range ids {
		if m.byID[id] == nil && !m.store.newer[id] && !m.foreign[id] {
			return id, nil
		}
	}
	return "", errForeign(&entry{id: ids[0]})
}

// givesWay reports whether a workspace, which nothing was made for yet, failed
// because its sandbox's name is that of another sero on the same engine, and can
// have another id: this one was not chosen. Then it is forgotten, so that it is
// opened anew. The caller has its turn.
func (m *Manager) givesWay(e *entry, theirs driver.Sandbox, err error) bool {
	installation := theirs.Labels[driver.LabelInstallation]
	another := theirs.Labels[driver.LabelManaged] == "true" && installation != "" && installation != m.options.Installation
	if !another || e.named || driver.ReasonOf(err) != driver.ForeignResource || !slices.Contains(m.idsFor(e.directory), e.id) {
		return false
	}
	m.mu.Lock()
	m.foreign[e.id] = true
	m.mu.Unlock()
	m.log.Info("an id is another sero's; the workspace gets another", "workspace", e.id)
	m.forgetUnused(e)
	return true
}
