package docker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/imageref"
)

const (
	// workspaceDir is where commands find the workspace.
	workspaceDir = "/workspace"
	// agentSocket is where a forwarded ssh agent is found.
	agentSocket = "/run/sero-ssh-agent.sock"
	// gatewayHost is the host's name inside.
	gatewayHost = "host.docker.internal"
)

// labelLabels keeps the names of the labels that a sandbox was made with: an
// engine adds those of the image.
const labelLabels = "dev.sero.docker.labels"

// readOnlySince is the API version from which a read-only mount covers what is
// mounted below its source.
const readOnlySince = "1.44"

// minProcesses is the least that a sandbox can be limited to: its own two processes,
// the helper and what starts a command are some twenty threads.
const minProcesses = 32

// mainProcess does nothing until it is stopped. It ends at once on SIGTERM, for
// it is not the container's first process: that is the engine's init.
var mainProcess = []string{"sleep", "2147483647"}

var (
	idPattern  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`) })
	envPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`) })
)

func checkID(id string) error {
	if idPattern().MatchString(id) {
		return nil
	}
	return &driver.Error{
		Reason:  driver.NameInvalid,
		Message: "a sandbox's id is 1 to 63 lower-case letters, digits and hyphens, with no hyphen at either end",
		Field:   "id",
	}
}

// checkSpec refuses what cannot be made, before anything is done.
func (d *Driver) checkSpec(spec driver.SandboxSpec) error {
	if err := checkID(spec.ID); err != nil {
		return err
	}
	if err := driver.NeedAll(d, spec.Needs()); err != nil {
		return err
	}
	if err := imageref.Check("image", spec.Image); err != nil {
		return err
	}
	if n := spec.Resources.SharedMemoryBytes; n < 0 {
		return invalid("resources.shared_memory_bytes", "/dev/shm cannot have %d bytes", n)
	}
	if n := spec.Resources.Processes; n != 0 && n < minProcesses {
		return invalid("resources.processes", "a limit of %d processes is too low: a sandbox needs %d for itself", n, minProcesses).
			Remedy("ask for more with resources.processes in sero.json, or for none: it is 16384 then")
	}
	switch spec.Network {
	case driver.NetworkDefault:
	case driver.NetworkIsolated:
		if len(spec.Publish) > 0 {
			return invalid("publish", "a sandbox without a network cannot publish ports")
		}
	default:
		return invalid("network", "there is no network %d", spec.Network)
	}
	for option := range spec.Options {
		return invalid("options", "the docker driver has no option %q", option)
	}
	if err := checkEnv(spec.Env); err != nil {
		return err
	}
	return checkMounts(mountsOf(spec))
}

// checkLimits refuses limits that the engine has no control groups for: it would
// leave the one of memory out, and only warn.
func (d *Driver) checkLimits(ctx context.Context, limits driver.Resources) error {
	if limits == (driver.Resources{}) {
		return nil
	}
	said, err := call(ctx, d, readLimit, func(ctx context.Context, c *connection) (client.SystemInfoResult, error) {
		return c.Info(ctx, client.InfoOptions{})
	})
	switch {
	case err != nil:
		return err
	case limits.MemoryBytes > 0 && !said.Info.MemoryLimit:
		return errNoLimit("memory")
	case limits.CPUs > 0 && !said.Info.CPUCfsQuota:
		return errNoLimit("cpu")
	case limits.Processes > 0 && !said.Info.PidsLimit:
		return errNoLimit("pids")
	}
	return nil
}

func errNoLimit(controller string) error {
	return driver.Errorf(driver.Unsupported, "the engine cannot limit a sandbox's %s: it has no such control group", controller).
		Remedy("give the engine the " + controller + " controller; a rootless one has those that systemd delegates to its user").
		Remedy("or take the limit out of sero.json")
}

func checkEnv(env []driver.EnvVar) error {
	for i, v := range env {
		if !envPattern().MatchString(v.Name) {
			return invalid(fmt.Sprintf("env[%d].name", i), "a variable's name is letters, digits and underscores")
		}
		if strings.ContainsRune(v.Value, 0) {
			return invalid(fmt.Sprintf("env[%d].value", i), "the value of %s holds a NUL byte", v.Name)
		}
	}
	return nil
}

// mountsOf are the mounts of a sandbox, the workspace's own included.
func mountsOf(spec driver.SandboxSpec) []driver.Mount {
	mounts := slices.Clone(spec.Mounts)
	if spec.WorkspaceDir != "" && !slices.ContainsFunc(mounts, func(m driver.Mount) bool { return m.Target == workspaceDir }) {
		mounts = append(mounts, driver.Mount{Source: spec.WorkspaceDir, Target: workspaceDir})
	}
	return mounts
}

func checkMounts(mounts []driver.Mount) error {
	for i, m := range mounts {
		field := fmt.Sprintf("mounts[%d]", i)
		if !filepath.IsAbs(m.Source) || strings.ContainsRune(m.Source, 0) {
			return invalid(field+".source", "a mount's source must be an absolute path")
		}
		if !path.IsAbs(m.Target) || path.Clean(m.Target) == "/" || strings.ContainsRune(m.Target, 0) {
			return invalid(field+".target", "a mount's target must be an absolute path below /")
		}
		if _, err := os.Stat(m.Source); err != nil {
			e := driver.Errorf(driver.MountDenied, "the mount's source %s cannot be used: %w", m.Source, err).About(m.Source)
			if errors.Is(err, fs.ErrNotExist) {
				e.Message = fmt.Sprintf("the mount's source %s does not exist", m.Source)
				e = e.Remedy("create it", "mkdir", "-p", m.Source)
			}
			e.Field = field + ".source"
			return e
		}
	}
	return nil
}

func invalid(field, format string, args ...any) *driver.Error {
	return &driver.Error{Reason: driver.InvalidArgument, Message: fmt.Sprintf(format, args...), Field: field}
}

// configOf is the container for a sandbox. Secrets are not in it: everybody who
// may use the engine can read it.
func configOf(spec driver.SandboxSpec) *container.Config {
	labels := maps.Clone(spec.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	names, _ := json.Marshal(slices.Sorted(maps.Keys(spec.Labels))) // strings cannot fail
	labels[labelLabels] = string(names)
	config := &container.Config{
		Image: spec.Image, Labels: labels, WorkingDir: workspaceDir,
		Entrypoint: mainProcess, Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		ExposedPorts: network.PortSet{},
	}
	for _, v := range spec.Env {
		if !v.Secret {
			config.Env = append(config.Env, v.Name+"="+v.Value)
		}
	}
	if spec.ForwardSSHAgent {
		config.Env = append(config.Env, "SSH_AUTH_SOCK="+agentSocket)
	}
	for _, p := range spec.Publish {
		config.ExposedPorts[tcp(p.SandboxPort)] = struct{}{}
	}
	return config
}

func tcp(number uint16) network.Port {
	port, _ := network.PortFrom(number, network.TCP) // the protocol is not empty
	return port
}

func hostConfigOf(spec driver.SandboxSpec, api string) *container.HostConfig {
	init, pids := true, cmp.Or(spec.Resources.Processes, driver.DefaultProcesses)
	host := &container.HostConfig{
		Init:         &init,             // reaps what commands leave behind
		CapDrop:      []string{"MKNOD"}, // a device node in the workspace would be one of the host's, too
		ShmSize:      cmp.Or(spec.Resources.SharedMemoryBytes, driver.DefaultSharedMemory),
		ExtraHosts:   []string{gatewayHost + ":host-gateway"},
		PortBindings: network.PortMap{},
		Resources: container.Resources{
			NanoCPUs: int64(spec.Resources.CPUs * 1e9),
			Memory:   spec.Resources.MemoryBytes,

			PidsLimit: &pids,
		},
	}
	if spec.Network == driver.NetworkIsolated {
		host.NetworkMode, host.ExtraHosts = network.NetworkNone, nil
	}
	for _, m := range mountsOf(spec) {
		host.Mounts = append(host.Mounts, bind(m, api))
	}
	if agent := os.Getenv("SSH_AUTH_SOCK"); spec.ForwardSSHAgent && agent != "" {
		host.Mounts = append(host.Mounts, bind(driver.Mount{Source: agent, Target: agentSocket}, api))
	}
	for _, p := range spec.Publish {
		binding := network.PortBinding{HostIP: netip.AddrFrom4([4]byte{127, 0, 0, 1}), HostPort: fmt.Sprint(p.HostPort)}
		host.PortBindings[tcp(p.SandboxPort)] = append(host.PortBindings[tcp(p.SandboxPort)], binding)
	}
	return host
}

// bind is a mount of the host's directory. A read-only one is read-only with all
// that is mounted below its source; where the engine cannot do that, what is
// mounted below is left out.
func bind(m driver.Mount, api string) mount.Mount {
	options := &mount.BindOptions{Propagation: mount.PropagationRPrivate}
	if m.ReadOnly {
		options.ReadOnlyForceRecursive = versions.GreaterThanOrEqualTo(api, readOnlySince)
		options.NonRecursive = !options.ReadOnlyForceRecursive
	}
	return mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly, BindOptions: options}
}
