package workspace

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Drift is one part of a sandbox that is not as it would be made now. Such a
// change reaches the sandbox only when it is made anew; see Manager.Recreate.
type Drift struct {
	Part    string // "image", "mounts", "env", "resources", "network" or "options"
	Message string // one line: what has changed, from what to what where that is known
}

// specPart is what of a spec is hashed into a label of its own.
type specPart struct {
	name  string
	label string
	of    func(driver.SandboxSpec) any
	says  func(have driver.Sandbox, want driver.SandboxSpec) string // in words
}

// specParts cover every field of a spec but its id and labels.
var specParts = []specPart{
	{"image", driver.LabelSpecImage, func(s driver.SandboxSpec) any { return s.Image }, saysImage},
	{"mounts", driver.LabelSpecMounts, func(s driver.SandboxSpec) any { return []any{s.WorkspaceDir, sortedMounts(s.Mounts)} }, saysMounts},
	{"env", driver.LabelSpecEnv, func(s driver.SandboxSpec) any { return envNames(s.Env) }, saysEnv},
	{"resources", driver.LabelSpecResources, func(s driver.SandboxSpec) any { return s.Resources }, saysResources},
	{"network", driver.LabelSpecNetwork, func(s driver.SandboxSpec) any { return []any{s.Publish, s.ForwardSSHAgent, s.Network} }, saysNetwork},
	{"options", driver.LabelSpecOptions, func(s driver.SandboxSpec) any { return s.Options }, saysOptions},
}

// label puts the hash of a spec, and that of each of its parts, on it.
func label(spec *driver.SandboxSpec) {
	var all strings.Builder
	for _, part := range specParts {
		hash := hashOf(part.of(*spec))
		spec.Labels[part.label] = hash
		all.WriteString(hash)
	}
	spec.Labels[driver.LabelSpecHash] = hashOf(all.String())
}

func hashOf(part any) string {
	text, err := json.Marshal(part)
	if err != nil {
		return "" // there is nothing in a spec that JSON cannot carry
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

func sortedMounts(mounts []driver.Mount) []driver.Mount {
	return slices.SortedFunc(slices.Values(mounts), func(a, b driver.Mount) int { return cmp.Compare(a.Target, b.Target) })
}

func envNames(env []driver.EnvVar) []string {
	names := make([]string, 0, len(env))
	for _, v := range env {
		names = append(names, v.Name)
	}
	slices.Sort(names)
	return names
}

// driftOf compares a sandbox with what would be made now. digest is what the
// wanted image is now; empty when that is not known.
func driftOf(have driver.Sandbox, want driver.SandboxSpec, digest string) []Drift {
	var drift []Drift
	for _, part := range specParts {
		switch {
		case have.Labels[part.label] != want.Labels[part.label]:
			drift = append(drift, Drift{Part: part.name, Message: part.says(have, want)})
		case part.label == driver.LabelSpecImage && digest != "" && have.ImageDigest != "" && digest != have.ImageDigest:
			drift = append(drift, Drift{Part: part.name, Message: fmt.Sprintf("the image %s was rebuilt or pulled again: %s → %s",
				shown(want.Image), shortDigest(have.ImageDigest), shortDigest(digest))})
		}
	}
	return drift
}

// drifted looks how a sandbox differs from what would be made now. Where that
// cannot be told it says nothing: making the workspace ready will say why.
func (m *Manager) drifted(ctx context.Context, d driver.Driver, name string, have driver.Sandbox, want driver.SandboxSpec) []Drift {
	digest := ""
	if images, err := driver.ImageEnsurerOf(d); err == nil && want.Image != "" {
		err := m.call(ctx, name, func(ctx context.Context) error {
			image, err := images.EnsureImage(ctx, want.Image, driver.PullNever, func(driver.Progress) {})
			digest = image.Digest
			return err
		})
		if err != nil && driver.ReasonOf(err) != driver.ImageNotFound {
			m.log.Info("whether the image has changed is not known", "image", want.Image, "error", err)
		}
	}
	return driftOf(have, want, digest)
}

// lookAtDrift fills in the drift of a workspace whose sandbox was described.
func (m *Manager) lookAtDrift(ctx context.Context, e *entry, w *Workspace) {
	w.Drift = nil
	if w.sandbox == nil || w.Choice.HostMode {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, m.options.ListTimeout, errors.New("the driver had its time"))
	defer cancel()
	d, running := m.options.Drivers.Started(w.Choice.Actual)
	file, err := e.config()
	if !running || err != nil {
		return
	}
	spec, _, err := m.buildSpec(e, file, w.Choice, d)
	if err != nil {
		w.Warnings = append(w.Warnings, "the sandbox could not be made anew now: "+driver.AsError(err).Message)
		return
	}
	w.Drift = m.drifted(ctx, d, w.Choice.Actual, *w.sandbox, spec)
}

func saysImage(have driver.Sandbox, want driver.SandboxSpec) string {
	return fmt.Sprintf("another image is asked for: %s → %s", orNone(have.Image), orNone(want.Image))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return shown(s)
}

// shortDigest is as much of a digest as a person compares.
func shortDigest(digest string) string {
	const most = len("sha256:") + 12
	if len(digest) > most {
		return digest[:most]
	}
	return digest
}

func saysMounts(have driver.Sandbox, want driver.SandboxSpec) string {
	words := func(m driver.Mount) string {
		if m.ReadOnly {
			return shown(m.Target) + " (read-only)"
		}
		return shown(m.Target)
	}
	var changes []string
	for _, m := range want.Mounts {
		if !slices.Contains(have.Mounts, m) {
			changes = append(changes, "needs "+words(m))
		}
	}
	for _, m := range have.Mounts {
		if !slices.Contains(want.Mounts, m) && m.Source != want.WorkspaceDir {
			changes = append(changes, "has "+words(m)+" still")
		}
	}
	if len(changes) == 0 {
		return "the mounts have changed"
	}
	return "the mounts have changed: it " + strings.Join(changes, ", ")
}

func saysEnv(_ driver.Sandbox, want driver.SandboxSpec) string {
	return "variables were added or removed; now they are " + strings.Join(envNames(want.Env), ", ")
}

func saysResources(_ driver.Sandbox, want driver.SandboxSpec) string {
	cpus, memory := "any number of processors", "any amount of memory"
	if want.Resources.CPUs > 0 {
		cpus = fmt.Sprintf("%g processors", want.Resources.CPUs)
	}
	if want.Resources.MemoryBytes > 0 {
		memory = fmt.Sprintf("%d MiB of memory", want.Resources.MemoryBytes>>20)
	}
	processes := cmp.Or(want.Resources.Processes, driver.DefaultProcesses)
	shm := cmp.Or(want.Resources.SharedMemoryBytes, driver.DefaultSharedMemory)
	return fmt.Sprintf("other limits are asked for: %s, %s, %d processes, %d MiB of shared memory", cpus, memory, processes, shm>>20)
}

func saysNetwork(have driver.Sandbox, want driver.SandboxSpec) string {
	if have.Network != want.Network {
		return fmt.Sprintf("another network is asked for: %s → %s", have.Network, want.Network)
	}
	return "other ports or an ssh agent are asked for"
}

func saysOptions(driver.Sandbox, driver.SandboxSpec) string {
	return "other options of the driver are asked for"
}
