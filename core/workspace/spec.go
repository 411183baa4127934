package workspace

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/image"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// networkEnv makes servers inside a sandbox listen where they can be reached
// from outside of it. It is not for the host, where it would show a person's
// servers to the network.
var networkEnv = []driver.EnvVar{
	{Name: "HOST", Value: "0.0.0.0"},
	{Name: "HOSTNAME", Value: "0.0.0.0"},
	{Name: "VITE_HOST", Value: "0.0.0.0"},
}

var terminalEnv = driver.EnvVar{Name: "TERM", Value: "xterm-256color"}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// buildSpec is what the sandbox of a workspace is made from, with warnings about
// what is asked for and not done. What the host cannot give is left out: the
// choice of the host was made knowing it.
func (m *Manager) buildSpec(e *entry, file config.Workspace, choice negotiate.Choice, d driver.Driver) (driver.SandboxSpec, []string, error) {
	var warnings []string
	spec := driver.SandboxSpec{ID: SandboxID(e.id), WorkspaceDir: e.directory, Env: fileEnv(file)}
	if len(file.Mounts)+len(file.Roots) > 0 {
		warnings = append(warnings, "mounts and roots of sero.json are not applied by this version of sero")
	}
	if choice.HostMode {
		for _, key := range file.NeedsIsolation() {
			warnings = append(warnings, key+" of sero.json has no effect in host mode")
		}
	} else {
		if len(file.Egress.Allow)+len(file.Egress.Deny) > 0 {
			return spec, nil, driver.Errorf(driver.Unsupported, "egress rules of sero.json are not enforced by this version of sero").
				About("egress").Remedy("remove egress from sero.json to run without them")
		}
		if driver.Has(d, driver.CapImagePull) {
			spec.Image = cmp.Or(file.Image, m.options.Machine.Image, image.Default)
		}
		spec.Resources = driver.Resources{CPUs: file.Resources.CPUs, MemoryBytes: file.Resources.MemoryBytes()}
		spec.Env = mergeEnv(append([]driver.EnvVar{terminalEnv}, networkEnv...), spec.Env)
	}
	spec.Labels = m.labels(e, choice.Actual)
	label(&spec)
	return spec, warnings, driver.NeedAll(d, spec.Needs())
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

// fileEnv is the environment of sero.json, ordered by name.
func fileEnv(file config.Workspace) []driver.EnvVar {
	env := make([]driver.EnvVar, 0, len(file.Env))
	for _, name := range slices.Sorted(maps.Keys(file.Env)) {
		env = append(env, driver.EnvVar{Name: name, Value: file.Env[name]})
	}
	return env
}

// mergeEnv puts lists over one another, the last one winning, ordered by name.
func mergeEnv(lists ...[]driver.EnvVar) []driver.EnvVar {
	merged := map[string]driver.EnvVar{}
	for _, list := range lists {
		for _, v := range list {
			merged[v.Name] = v
		}
	}
	env := make([]driver.EnvVar, 0, len(merged))
	for _, name := range slices.Sorted(maps.Keys(merged)) {
		env = append(env, merged[name])
	}
	return env
}

// checkEnv refuses names and values that no system can carry.
func checkEnv(env []driver.EnvVar) error {
	for _, v := range env {
		if !envName.MatchString(v.Name) {
			return argument("env", "%s is not a variable's name", shown(v.Name)).
				Remedy("use letters, digits and underscores, not starting with a digit")
		}
		if strings.ContainsRune(v.Value, 0) {
			return argument("env", "the value of %s holds a NUL byte", v.Name).Remedy("remove the NUL byte")
		}
	}
	return nil
}
