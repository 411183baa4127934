package applecontainer

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"maps"
	"math"
	"net"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/imageref"
)

// keeper is the main process: it keeps the sandbox up, ends when it is asked to,
// and reaps what others leave behind. It is a shell and not a bare sleep, which
// as the first process would ignore SIGTERM. keeperSleep is how its child is told
// from others.
const (
	keeperSleep = "2147483"
	keeper      = `trap 'kill $! 2>/dev/null; exit 0' TERM INT; while :; do sleep ` + keeperSleep + ` & wait $!; done`
)

var (
	idPattern  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]*[a-z0-9])$`) })
	envPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`) })
)

// checkID refuses names that some release does not take. The name becomes the
// host name, so that it is stricter than the CLI.
func checkID(id string) error {
	if len(id) > 63 || !idPattern().MatchString(id) {
		e := driver.Errorf(driver.NameInvalid, "%.80q is no name for a sandbox: lower-case letters, digits and hyphens, 2 to 63 of them, a letter or digit at both ends", id).
			Remedy("give the workspace another id", "sero", "up", "--id", "NAME")
		e.Field = "id"
		return e
	}
	return nil
}

// plan is how a sandbox is made.
type plan struct {
	args    []string
	secrets []string // lines for --env-file
}

// newPlan checks a spec and works out create's arguments. Nothing is made.
func newPlan(e engine, spec driver.SandboxSpec, dns []string) (plan, error) {
	if err := checkSpec(e, spec); err != nil {
		return plan{}, err
	}
	labels := maps.Clone(spec.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[labelInstance] = fmt.Sprintf("%d-%s", time.Now().UnixMilli(), rand.Text()[:12])
	p := plan{args: append([]string{"create", "--name", spec.ID}, labelOptions(labels)...)}
	add := func(args ...string) { p.args = append(p.args, args...) }
	if spec.Resources.CPUs > 0 {
		add("--cpus", strconv.FormatFloat(math.Ceil(spec.Resources.CPUs), 'f', 0, 64))
	}
	if spec.Resources.MemoryBytes > 0 {
		add("--memory", strconv.FormatInt(spec.Resources.MemoryBytes, 10))
	}
	if e.sharedMemory {
		add("--shm-size", strconv.FormatInt(cmp.Or(spec.Resources.SharedMemoryBytes, driver.DefaultSharedMemory), 10))
	}
	mounts, err := mountOptions(e, spec)
	if err != nil {
		return plan{}, err
	}
	add(mounts...)
	for i, v := range spec.Env {
		if !v.Secret {
			add("--env", v.Name+"="+v.Value)
			continue
		}
		if strings.ContainsAny(v.Value, "\n\r\v\f\u0085\u2028\u2029") { // what ends a line for the CLI
			return plan{}, argument(fmt.Sprintf("env[%d].value", i), "the secret %s has a line break in it, which the CLI can only take on its command line", v.Name).
				Remedy("encode it, or give it to commands instead of the sandbox")
		}
		p.secrets = append(p.secrets, v.Name+"="+v.Value)
	}
	ports, err := publishOptions(spec.Publish)
	if err != nil {
		return plan{}, err
	}
	add(ports...)
	if spec.ForwardSSHAgent {
		add("--ssh")
	}
	if spec.Network == driver.NetworkIsolated {
		add("--network", "none")
		dns = nil
	}
	for _, server := range dns {
		add("--dns", server)
	}
	add("--workdir", workspaceDir)
	return p, nil
}

// command completes create's arguments, with the file of secrets if there is one.
func (p plan) command(envFile, image string) []string {
	args := slices.Clip(p.args)
	if envFile != "" {
		args = append(args, "--env-file", envFile)
	}
	return append(args, "--entrypoint", "/bin/sh", image, "-c", keeper)
}

func checkSpec(e engine, spec driver.SandboxSpec) error {
	if err := checkID(spec.ID); err != nil {
		return err
	}
	if err := imageref.Check("image", spec.Image); err != nil {
		return err
	}
	switch {
	case len(spec.ID) > e.maxName:
		return checkID(strings.Repeat("x", 64))
	case spec.Resources.CPUs < 0 || spec.Resources.CPUs > 1024:
		return argument("resources.cpus", "%g processors cannot be given", spec.Resources.CPUs).Remedy("ask for 1 or more")
	case spec.Resources.MemoryBytes != 0 && spec.Resources.MemoryBytes < e.minMemory:
		return argument("resources.memory_bytes", "%d MiB of memory are too little: a sandbox is a virtual machine and needs %d MiB", spec.Resources.MemoryBytes>>20, e.minMemory>>20).
			Remedy("ask for more, or for nothing: 1 GiB is given then")
	case spec.Resources.SharedMemoryBytes < 0:
		return argument("resources.shared_memory_bytes", "/dev/shm cannot have %d bytes", spec.Resources.SharedMemoryBytes).Remedy("ask for more, or for nothing")
	case spec.Resources.SharedMemoryBytes > 0 && !e.sharedMemory:
		return driver.Errorf(driver.Unsupported, "Apple's container %s cannot be told the size of /dev/shm", e.version).
			Remedy("install container 1.0 or newer").Remedy("or take resources.sharedMemory out of sero.json")
	}
	if spec.Network != driver.NetworkDefault && spec.Network != driver.NetworkIsolated {
		return argument("network", "the network %s is not known", spec.Network).Remedy("upgrade the driver")
	}
	for name := range spec.Labels {
		if name == "" || name == labelInstance {
			return argument("labels", "%q is no label that can be given", name).Remedy("leave it out")
		}
	}
	return checkEnv(spec.Env)
}

func checkEnv(env []driver.EnvVar) error {
	for i, v := range env {
		switch {
		case !envPattern().MatchString(v.Name):
			return argument(fmt.Sprintf("env[%d].name", i), "%.80q is no name for a variable", v.Name).Remedy("use letters, digits and underscores")
		case strings.ContainsRune(v.Value, 0):
			return argument(fmt.Sprintf("env[%d].value", i), "the value of %s has a NUL byte in it", v.Name).Remedy("remove it")
		}
	}
	return nil
}

func argument(field, format string, args ...any) *driver.Error {
	e := driver.Errorf(driver.InvalidArgument, format, args...)
	e.Field = field
	return e
}

// workspaceDir is where a sandbox has the workspace (B21).
const workspaceDir = "/workspace"

// mountOptions are the options for a spec's mounts and for the workspace, unless
// it is among them.
func mountOptions(e engine, spec driver.SandboxSpec) (args []string, err error) {
	mounts := spec.Mounts
	if spec.WorkspaceDir != "" && !slices.ContainsFunc(mounts, func(m driver.Mount) bool { return path.Clean(m.Target) == workspaceDir }) {
		mounts = append(slices.Clip(mounts), driver.Mount{Source: spec.WorkspaceDir, Target: workspaceDir})
	}
	type use struct {
		target   string
		readOnly bool
	}
	sources := map[string]use{}
	targets := map[string]bool{}
	for i, m := range mounts {
		source, option, err := mountOption(i, m)
		if err != nil {
			return nil, err
		}
		if targets[path.Clean(m.Target)] {
			return nil, denied(i, m.Source, "two mounts go to %s", m.Target)
		}
		targets[path.Clean(m.Target)] = true
		// Two mounts of a directory share one device: before 0.10 the machine does
		// not start (apple/container#380), and later either the first or the last
		// decides whether both can be written to.
		if other, twice := sources[source]; twice && (!e.sameSource || other.readOnly != m.ReadOnly) {
			return nil, denied(i, m.Source, "Apple's container %s cannot mount %s at both %s and %s", e.version, source, other.target, m.Target)
		}
		sources[source] = use{m.Target, m.ReadOnly}
		args = append(args, option...)
	}
	return args, nil
}

// mountOption is the option for one mount: --volume, which cannot carry a colon,
// or --mount, which can carry neither comma nor equals sign and takes directories
// only. There is no escaping in either.
func mountOption(i int, m driver.Mount) (source string, option []string, err error) {
	if !filepath.IsAbs(m.Source) || !path.IsAbs(m.Target) {
		return "", nil, denied(i, m.Source, "a mount goes from one absolute path to another, not from %q to %q", m.Source, m.Target)
	}
	target := path.Clean(m.Target)
	source, err = filepath.EvalSymlinks(m.Source)
	if err != nil {
		return "", nil, denied(i, m.Source, "the directory %s cannot be mounted: %w", m.Source, err)
	}
	info, err := os.Stat(source)
	if err != nil {
		return "", nil, denied(i, m.Source, "%s cannot be mounted: %w", m.Source, err)
	}
	both := source + target
	control := strings.ContainsFunc(both, func(r rune) bool { return r < ' ' || r == 0x7f })
	switch {
	case target == "/":
		return "", nil, denied(i, m.Source, "nothing can be mounted over the whole sandbox")
	case !info.IsDir() && !info.Mode().IsRegular():
		return "", nil, denied(i, m.Source, "%s is neither a directory nor a file", m.Source) // the CLI would connect to a socket
	case control:
	case !strings.Contains(both, ":"):
		text := source + ":" + target
		if m.ReadOnly {
			text += ":ro"
		}
		return source, []string{"--volume", text}, nil
	case !strings.ContainsAny(both, ",=") && info.IsDir():
		text := "type=bind,source=" + source + ",target=" + target
		if m.ReadOnly {
			text += ",readonly"
		}
		return source, []string{"--mount", text}, nil
	}
	return "", nil, denied(i, m.Source, "Apple's container cannot mount %q: it has no way to write a path with these characters", source)
}

func denied(i int, source, format string, args ...any) *driver.Error {
	e := driver.Errorf(driver.MountDenied, format, args...).About(source).
		Remedy("mend the path in sero.json, or rename the directory")
	e.Field = fmt.Sprintf("mounts[%d].source", i)
	return e
}

// publishOptions publishes ports on the loopback. The CLI chooses no port by
// itself, so a free one is looked for here.
func publishOptions(ports []driver.PublishedPort) ([]string, error) {
	var args []string
	for i, p := range ports {
		if p.SandboxPort == 0 {
			return nil, argument(fmt.Sprintf("publish[%d].sandbox_port", i), "port 0 cannot be published").Remedy("name a port")
		}
		host := p.HostPort
		if host == 0 {
			l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
			if err != nil {
				return nil, driver.Errorf(driver.Internal, "no port is free: %w", err)
			}
			if a, ok := l.Addr().(*net.TCPAddr); ok {
				host = uint16(a.Port) //nolint:gosec // a port
			}
			_ = l.Close()
		}
		args = append(args, "--publish", fmt.Sprintf("127.0.0.1:%d:%d", host, p.SandboxPort))
	}
	return args, nil
}
