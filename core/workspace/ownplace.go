package workspace

import (
	"os"
	"slices"

	"github.com/sero-labs/sero-runtime/core/mount"
	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// placePolicy is what a workspace in a directory, and its mounts, are held to,
// without other workspaces.
func (m *Manager) placePolicy(dir string) mount.Policy {
	engines := mount.EnginePaths(m.userHome, os.Getenv("DOCKER_HOST"))
	for _, d := range m.options.Machine.Drivers {
		engines = append(engines, socketsIn(d.Settings)...)
	}
	private := slices.Concat(m.options.Private, paths.Elsewhere()) // of other homes, too: their daemons obey this user
	return mount.Policy{Workspace: dir, Home: m.userHome, Homes: mount.Homes(), Private: private, Engines: engines}
}

// checkPlace refuses a workspace whose own directory a sandbox must not show. It
// is asked before every start: what is where may have changed since the last.
func (e *entry) checkPlace(m *Manager, hostMode bool) error {
	err := m.checkPlace(e.directory, hostMode)
	if driver.ReasonOf(err) != driver.MountDenied {
		return e.forgettable(err)
	}
	if e.unused() {
		return err // it will not be known
	}
	return driver.AsError(err).Remedy("forget the workspace, which keeps all files", "sero", "rm", "-w", e.id)
}

// checkPlace is for a directory that may be no workspace yet.
func (m *Manager) checkPlace(dir string, hostMode bool) error {
	_, err := within(m.looks, dir, func() (struct{}, error) {
		return struct{}{}, m.placePolicy(dir).CheckWorkspace(hostMode)
	})
	return err
}

// placeField is the field of an error about a workspace's own directory.
const placeField = "workspace.directory"

// neverWas reports whether a workspace was refused for its directory before it
// ever had a sandbox.
func (e *entry) neverWas(err error) bool {
	if driver.ReasonOf(err) != driver.MountDenied || driver.AsError(err).Field != placeField {
		return false
	}
	return e.unused()
}

// unused reports whether nothing was ever made for a workspace.
func (e *entry) unused() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last.Driver == "" && len(e.attached) == 0
}

// forgetUnused drops the record of a workspace that nothing was made for. The
// caller has its turn.
func (m *Manager) forgetUnused(e *entry) {
	var lines []string
	if err := m.forget(e, &lines); err != nil {
		m.log.Warn("the record of a directory that cannot be a workspace stays", "workspace", e.id, "error", err)
	}
}
