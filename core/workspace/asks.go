package workspace

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/environ"
	"github.com/sero-labs/sero-runtime/core/mount"
	"github.com/sero-labs/sero-runtime/core/trust"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// trusted tells whether a workspace's file may have what it asks of the host.
func (m *Manager) trusted(e *entry, file config.Workspace) bool {
	return m.trust.Trusted(e.directory, file.Hash)
}

// untrusted says what of a file is left out because nobody has trusted it.
func (m *Manager) untrusted(e *entry, file config.Workspace) []string {
	items := trust.Items(file)
	if len(items) == 0 || m.trusted(e, file) {
		return nil
	}
	var lines []string
	for _, item := range items {
		lines = append(lines, untrustedLine(e, item))
	}
	return lines
}

func untrustedLine(e *entry, item trust.Item) string {
	return fmt.Sprintf("%s of sero.json is left out until you trust it with: sero trust -w %s", item.Field, e.id)
}

// secrets are the variables of a trusted file whose values are elsewhere, with a
// line for each that cannot be had.
func (m *Manager) secrets(e *entry, file config.Workspace) (env []driver.EnvVar, problems []string) {
	if len(file.Secrets) == 0 || !m.trusted(e, file) {
		return nil, nil
	}
	return environ.Secrets{Home: m.userHome}.Resolve(file.Secrets)
}

// userOf returns the user that a trusted file names, and "" for any other file. What
// such a user leaves in the workspace belongs to that user on the machine too, set-id
// bits included, and the same file may name an image in which any name is root's.
func (m *Manager) userOf(e *entry, file config.Workspace) string {
	if !m.trusted(e, file) {
		return ""
	}
	return file.User
}

// resources are the limits that a file asks for. More processes than the usual are
// for a trusted file only: sandboxes that share the kernel share its number of them.
func (m *Manager) resources(e *entry, file config.Workspace) driver.Resources {
	limits := driver.Resources{
		CPUs: file.Resources.CPUs, MemoryBytes: file.Resources.MemoryBytes(),
		Processes: file.Resources.Processes, SharedMemoryBytes: file.Resources.SharedMemoryBytes(),
	}
	if limits.Processes > driver.DefaultProcesses && !m.trusted(e, file) {
		limits.Processes = 0
	}
	return limits
}

// mounts are what a workspace's sandbox shows of the host besides its directory:
// what a trusted file asks for, and what a person attached.
func (m *Manager) mounts(e *entry, file config.Workspace) ([]driver.Mount, []mount.Skip, error) {
	return m.mountPolicy(e).Plan(append(m.fileAsks(e, file), attachedAsks(e.attachments())...))
}

func (m *Manager) fileAsks(e *entry, file config.Workspace) []mount.Ask {
	if !m.trusted(e, file) {
		return nil
	}
	var asks []mount.Ask
	for i, a := range file.Mounts {
		asks = append(asks, mount.Ask{Field: fmt.Sprintf("mounts[%d]", i), Source: a.Source, Target: a.Target, ReadOnly: a.ReadOnly})
	}
	for i, root := range file.Roots {
		asks = append(asks, mount.Ask{Field: fmt.Sprintf("roots[%d]", i), Source: root})
	}
	return asks
}

func (m *Manager) mountPolicy(e *entry) mount.Policy {
	var others []string
	for _, other := range m.entries() {
		if other != e {
			others = append(others, other.directory)
		}
	}
	policy := m.placePolicy(e.directory)
	policy.Others = others
	return policy
}

// socketsIn are the sockets that a driver's settings name.
func socketsIn(settings []byte) []string {
	var values map[string]any
	if json.Unmarshal(settings, &values) != nil {
		return nil // there are none, or not by name
	}
	var sockets []string
	for _, value := range values {
		text, _ := value.(string)
		if socket, ok := strings.CutPrefix(text, "unix://"); ok {
			sockets = append(sockets, socket)
		}
	}
	return sockets
}

// Asked is what the file of a workspace asks of the host.
type Asked struct {
	WorkspaceID string
	File        string // absolute; it may be missing, and then asks for nothing
	Hash        string // of the file's text
	Trusted     bool
	Items       []trust.Item
}

// Asked reads what the file of a workspace asks of the host.
func (m *Manager) Asked(ref Ref) (Asked, error) {
	e, _, err := m.open(ref, "")
	if err != nil {
		return Asked{}, err
	}
	return m.asked(e)
}

func (m *Manager) asked(e *entry) (Asked, error) {
	file, err := e.config()
	if err != nil {
		return Asked{}, err
	}
	return Asked{
		WorkspaceID: e.id, File: filepath.Join(e.directory, config.FileName), Hash: file.Hash,
		Trusted: m.trusted(e, file), Items: trust.Items(file),
	}, nil
}

// Trust allows what the file of a workspace asks of the host, or takes that
// back. The hash is of the file that was looked at: when another is there by
// now, nothing is allowed, and the error is ConfigInvalid.
func (m *Manager) Trust(ref Ref, hash string, allow bool) (Asked, error) {
	e, _, err := m.open(ref, "")
	if err != nil {
		return Asked{}, err
	}
	now, err := m.asked(e)
	switch {
	case err != nil && allow:
		return Asked{}, err
	case !allow:
		err = m.trust.Revoke(e.directory)
	case hash == "" || now.Hash != hash:
		return now, driver.Errorf(driver.ConfigInvalid, "%s is not the file that was looked at any more", shown(now.File)).About(now.File).
			Remedy("look again", "sero", "trust", "--show", "-w", e.id)
	default:
		err = m.trust.Trust(e.directory, hash)
	}
	now.Trusted = allow && err == nil
	if now.Trusted {
		e.forget(now.Items)
	}
	return now, err
}

// forget drops the warnings about what has been trusted since.
func (e *entry) forget(items []trust.Item) {
	e.mu.Lock()
	defer e.mu.Unlock()
	warnings := slices.Clone(e.warnings) // the old list is in others' hands
	for _, item := range items {
		line := untrustedLine(e, item)
		warnings = slices.DeleteFunc(warnings, func(w string) bool { return w == line })
	}
	e.warnings = warnings
}
