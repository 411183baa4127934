package workspace

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/environ"
	"github.com/sero-labs/sero-runtime/core/image"
	"github.com/sero-labs/sero-runtime/core/mount"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

var envName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`) })

// buildSpec is what the sandbox of a workspace is made from, with warnings about
// what is asked for and not done. What the host cannot give is left out: the
// choice of the host was made knowing it. No secret is in it: runtimes show what
// a sandbox was made from.
func (m *Manager) buildSpec(e *entry, file config.Workspace, choice negotiate.Choice, d driver.Driver) (driver.SandboxSpec, []string, error) {
	spec := driver.SandboxSpec{ID: SandboxID(e.id), WorkspaceDir: e.directory, Env: environ.Of(file.Env)}
	warnings := m.untrusted(e, file)
	_, problems := m.secrets(e, file)
	warnings = append(warnings, problems...)
	if choice.HostMode {
		for _, key := range withoutEffect(file) {
			warnings = append(warnings, key+" of sero.json has no effect in host mode")
		}
	}
	network, advice, err := m.network(file.Egress, choice, d)
	if err != nil {
		return spec, warnings, err
	}
	spec.Network, warnings = network, append(warnings, advice...)
	if !choice.HostMode {
		if driver.Has(d, driver.CapImagePull) {
			spec.Image = cmp.Or(file.Image, m.options.Machine.Image, image.Default)
		}
		spec.Resources = m.resources(e, file)
		spec.Env = environ.Merge(environ.Sandbox(), spec.Env)
		mounts, skipped, err := m.mounts(e, file)
		if err != nil {
			return spec, warnings, err
		}
		spec.Mounts = mounts
		for _, s := range skipped {
			warnings = append(warnings, s.String())
		}
	}
	spec.Labels = m.labels(e, choice.Actual)
	label(&spec)
	if !choice.HostMode {
		ownMount(&spec, choice, d)
		m.helperMount(&spec, d)
	}
	return spec, warnings, driver.NeedAll(d, spec.Needs())
}

// ownMount shows the workspace's directory at its own absolute path, too, for what
// keeps absolute paths: git, source maps, debuggers. It comes after the spec's hash is
// taken: a sandbox that was made without it is not stale. Not every virtual machine
// can be given one directory twice; there, prepare makes a link.
func ownMount(spec *driver.SandboxSpec, choice negotiate.Choice, d driver.Driver) {
	if choice.Isolation == driver.IsolationVM || !driver.Has(d, driver.CapMountBind) {
		return
	}
	if mount.OwnOf(spec.WorkspaceDir, spec.Mounts) == mount.OwnMount {
		spec.Mounts = append(slices.Clip(spec.Mounts), driver.Mount{Source: spec.WorkspaceDir, Target: spec.WorkspaceDir})
	}
}

// withoutEffect are the keys of a file that host mode does nothing for.
func withoutEffect(file config.Workspace) []string {
	keys := file.NeedsIsolation()
	if len(file.Mounts) > 0 {
		keys = append(keys, "mounts")
	}
	if len(file.Roots) > 0 {
		keys = append(keys, "roots")
	}
	if file.User != "" {
		keys = append(keys, "user")
	}
	return keys
}

func (m *Manager) labels(e *entry, driverName string) map[string]string {
	return map[string]string{
		driver.LabelManaged:       "true",
		driver.LabelDriver:        driverName,
		driver.LabelWorkspaceID:   e.id,
		driver.LabelWorkspacePath: e.directory,
		driver.LabelInstallation:  m.options.Installation,
	}
}

// owns tells whether a sandbox is this installation's for this workspace. A name
// is never proof.
func (m *Manager) owns(e *entry, s driver.Sandbox) bool {
	return s.Labels[driver.LabelManaged] == "true" &&
		s.Labels[driver.LabelWorkspaceID] == e.id &&
		s.Labels[driver.LabelInstallation] == m.options.Installation
}

// mayChange is nil for a sandbox that is ours to use and to take away for this
// workspace: not another's, nor made for another directory that is still there.
func (m *Manager) mayChange(e *entry, s driver.Sandbox) error {
	if !m.owns(e, s) {
		return errForeign(e)
	}
	if dir, gone := m.looks.check(s.Labels[driver.LabelWorkspacePath]); gone == nil && dir != e.directory {
		return errOtherDirectory(e, dir)
	}
	return nil
}

// shownIn tells whether a sandbox of ours shows the workspace's directory. It does
// not if its id was another's, whose record is lost.
func (e *entry) shownIn(s driver.Sandbox) bool {
	return s.Labels[driver.LabelWorkspacePath] == e.directory
}

// checkEnv refuses names and values that no system can carry.
func checkEnv(env []driver.EnvVar) error {
	for _, v := range env {
		if !envName().MatchString(v.Name) {
			return argument("env", "%s is not a variable's name", shown(v.Name)).
				Remedy("use letters, digits and underscores, not starting with a digit")
		}
		if strings.ContainsRune(v.Value, 0) {
			return argument("env", "the value of %s holds a NUL byte", v.Name).Remedy("remove the NUL byte")
		}
	}
	return checkEnvSize(env)
}

// checkEnvSize refuses an environment that no program can be given.
func checkEnvSize(env []driver.EnvVar) error {
	if what := environ.Oversize(env); what != "" {
		return argument("env", "%s", what).Remedy("put what is large into a file, and its path into a variable")
	}
	return nil
}
