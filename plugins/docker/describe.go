package docker

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// describe is a container as a sandbox.
func describe(c container.InspectResponse) driver.Sandbox {
	sb := driver.Sandbox{
		ID:          strings.TrimPrefix(c.Name, "/"),
		Instance:    c.ID,
		Mounts:      bindsOf(c.Mounts),
		ImageDigest: c.Image,
		Created:     when(c.Created),
	}
	if c.State != nil {
		sb.State, sb.Started = stateOf(c.State.Status), when(c.State.StartedAt)
	}
	if c.Config != nil {
		sb.Labels = labelsOf(c.Config.Labels)
		sb.Image = familiar(c.Config.Image)
		sb.WorkspaceDir = c.Config.WorkingDir
	}
	if c.HostConfig != nil && c.HostConfig.NetworkMode == network.NetworkNone {
		sb.Network = driver.NetworkIsolated
	} else if c.NetworkSettings != nil {
		describeNetworks(&sb, c.NetworkSettings.Networks)
		describePorts(&sb, c.NetworkSettings.Ports)
	}
	return sb
}

// describeSummary is what a list tells of a container.
func describeSummary(c container.Summary) driver.Sandbox {
	sb := driver.Sandbox{
		ID:           nameOf(c),
		Instance:     c.ID,
		State:        stateOf(c.State),
		Labels:       labelsOf(c.Labels),
		WorkspaceDir: workspaceDir,
		Image:        familiar(c.Image),
		ImageDigest:  c.ImageID,
		Mounts:       bindsOf(c.Mounts),
		Created:      time.Unix(c.Created, 0),
	}
	for _, p := range c.Ports {
		if p.PublicPort > 0 {
			sb.Publish = append(sb.Publish, driver.PublishedPort{SandboxPort: p.PrivatePort, HostPort: p.PublicPort})
		}
	}
	if c.HostConfig.NetworkMode == network.NetworkNone {
		sb.Network = driver.NetworkIsolated
	} else if c.NetworkSettings != nil {
		describeNetworks(&sb, c.NetworkSettings.Networks)
	}
	return sb
}

// bindsOf are the mounts of the host's directories, ordered by target.
func bindsOf(points []container.MountPoint) []driver.Mount {
	var mounts []driver.Mount
	for _, m := range points {
		if m.Type == mount.TypeBind && m.Destination != agentSocket {
			mounts = append(mounts, driver.Mount{Source: m.Source, Target: m.Destination, ReadOnly: !m.RW})
		}
	}
	slices.SortFunc(mounts, func(a, b driver.Mount) int { return strings.Compare(a.Target, b.Target) })
	return mounts
}

func describeNetworks(sb *driver.Sandbox, networks map[string]*network.EndpointSettings) {
	for _, n := range networks {
		if n == nil {
			continue
		}
		for _, a := range []struct {
			addr netip.Addr
			bits int
		}{{n.IPAddress, n.IPPrefixLen}, {n.GlobalIPv6Address, n.GlobalIPv6PrefixLen}} {
			if !a.addr.IsValid() {
				continue
			}
			sb.Addresses = append(sb.Addresses, a.addr.String())
			if prefix, err := a.addr.Prefix(a.bits); err == nil {
				sb.Subnets = append(sb.Subnets, prefix.String())
			}
		}
		if sb.Gateway == "" && n.Gateway.IsValid() {
			sb.Gateway = n.Gateway.String()
		}
	}
}

func describePorts(sb *driver.Sandbox, ports network.PortMap) {
	for port, bindings := range ports {
		for _, b := range bindings {
			var host uint16
			if _, err := fmt.Sscan(b.HostPort, &host); err == nil && host > 0 {
				sb.Publish = append(sb.Publish, driver.PublishedPort{SandboxPort: port.Num(), HostPort: host})
			}
		}
	}
	slices.SortFunc(sb.Publish, func(a, b driver.PublishedPort) int { return int(a.SandboxPort) - int(b.SandboxPort) })
}

// labelsOf are the labels that the sandbox was made with, or all of a container
// that somebody else made.
func labelsOf(all map[string]string) map[string]string {
	var names []string
	if text, ours := all[labelLabels]; !ours || json.Unmarshal([]byte(text), &names) != nil {
		return all
	}
	labels := make(map[string]string, len(names))
	for _, name := range names {
		if value, ok := all[name]; ok {
			labels[name] = value
		}
	}
	return labels
}

func stateOf(s container.ContainerState) driver.SandboxState {
	switch s {
	case container.StateRunning, container.StateRestarting:
		return driver.SandboxRunning
	case container.StatePaused:
		return driver.SandboxPaused
	case container.StateCreated, container.StateExited, container.StateRemoving:
		return driver.SandboxStopped
	case container.StateDead:
		return driver.SandboxCorrupt
	}
	return driver.SandboxUnknown
}

// when reads an engine's time; its year 1 is never.
func when(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t
}
