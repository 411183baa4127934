package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

const minimumMemory = 200 << 20

func createContainer(ctx context.Context, s *session) error {
	id, err := s.create(ctx)
	if err != nil {
		return err
	}
	if file, _ := s.call.Last("--cidfile"); file != "" {
		if err := os.WriteFile(file, []byte(id), 0o600); err != nil {
			return failure(internalError, "failed to create cidfile at %s: %s", file, err)
		}
	}
	s.printf("%s\n", id)
	return nil
}

// create works in the CLI's order: the name, the image, and only then what the
// options say (facts 4.1).
func (s *session) create(ctx context.Context) (id string, err error) {
	id, named := s.call.Last("--name")
	if !named {
		id = newUUID()
	}
	if err := s.checkName(id); err != nil {
		return "", err
	}
	if platform := s.platform(); !strings.HasPrefix(platform, "linux/arm64") {
		return "", failure(unsupported, "platform %s", platform)
	}
	image, err := s.fetch(ctx, s.call.Arg("image"))
	if err != nil {
		return "", err
	}
	if sys, err := s.state.system(); err != nil || sys.NoKernel {
		return "", failure(notFound, "default kernel not configured for architecture arm64, please use the `container system kernel set` command to configure it")
	}
	r := record{ID: id, Created: time.Now(), Image: image.imageRecord}
	if err := s.describe(&r, image.config); err != nil {
		return "", err
	}
	release, err := s.state.lock("container-" + id)
	if err != nil {
		return "", err
	}
	defer release()
	refused := func(cause error) (string, error) {
		return "", failure(internalError, "failed to create container").because(cause)
	}
	if s.state.exists(id) {
		return refused(failure(exists, "container already exists: %s", id))
	}
	if s.version.AtLeast(0, 10) && r.Memory < minimumMemory {
		return refused(failure(invalidArgument, "minimum memory amount allowed is 200 MiB (got %d bytes)", r.Memory))
	}
	if s.version.AtLeast(1, 0) && len(id) > 64 {
		return refused(failure(invalidArgument, "container id length %d exceeds maximum of 64 characters", len(id)))
	}
	if err := s.createBelow(ctx, &r); err != nil {
		return refused(failure(internalError, "%s", err))
	}
	if err := os.MkdirAll(s.state.path("containers", id), 0o700); err != nil {
		return "", err
	}
	return id, s.state.write(r, "containers", id, "config.json")
}

// platform is what create wants of an image; there is only one kind here.
func (s *session) platform() string {
	if platform, ok := s.call.Last("--platform"); ok {
		return platform
	}
	system, hasSystem := s.call.Last("--os")
	arch, hasArch := s.call.Last("--arch")
	if platform := os.Getenv("CONTAINER_DEFAULT_PLATFORM"); platform != "" && s.version.AtLeast(0, 11) && !hasSystem && !hasArch {
		return platform
	}
	if !hasSystem {
		system = "linux"
	}
	if !hasArch {
		arch = "arm64"
	}
	return system + "/" + arch
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// describe reads the options into a record.
func (s *session) describe(r *record, config imageConfig) (err error) {
	r.CPUs, r.Memory = 4, 1<<30
	if text, ok := s.call.Last("--cpus"); ok {
		if r.CPUs, err = strconv.ParseInt(text, 10, 64); err != nil {
			return err
		}
	}
	if text, ok := s.call.Last("--memory"); ok {
		if r.Memory, err = parseMemory(text); err != nil {
			return err
		}
	}
	if text, ok := s.call.Last("--shm-size"); ok {
		if r.SharedMem, err = parseSize(text); err != nil {
			return err
		}
	}
	if r.Labels, err = parseLabels(s.call.All("--label")); err != nil {
		return err
	}
	if err := s.describeMounts(r); err != nil {
		return err
	}
	for _, text := range s.call.All("--publish") {
		ports, err := parsePublish(text)
		if err != nil {
			return err
		}
		r.Ports = append(r.Ports, ports...)
	}
	if r.Networks, err = s.parseNetworks(s.call.All("--network")); err != nil {
		return err
	}
	r.SSH, r.ReadOnly = s.call.Has("--ssh"), s.call.Has("--read-only")
	r.Init, r.Remove, r.Rosetta = s.call.Has("--init"), s.call.Has("--rm"), s.call.Has("--rosetta")
	r.CapAdd, r.CapDrop = s.call.All("--cap-add"), s.call.All("--cap-drop")
	if !s.call.Has("--no-dns") {
		domain, _ := s.call.Last("--dns-domain")
		r.DNS = &dnsRecord{
			Nameservers: s.call.All("--dns"), Domain: domain,
			Search: s.call.All("--dns-search"), Options: s.call.All("--dns-option"),
		}
	}
	return s.describeProcess(r, config)
}

func (s *session) describeMounts(r *record) error {
	seen := map[string]bool{}
	for _, text := range s.call.All("--mount") {
		if seen[text] {
			continue // the CLI drops what is written twice
		}
		seen[text] = true
		m, err := s.parseMount(text)
		if err != nil {
			return err
		}
		r.Mounts = append(r.Mounts, m)
	}
	for _, text := range s.call.All("--volume") {
		m, err := s.parseVolume(text)
		if err != nil {
			return err
		}
		r.Mounts = append(r.Mounts, m)
	}
	for _, path := range s.call.All("--tmpfs") {
		if !seen[path] {
			seen[path] = true
			r.Mounts = append(r.Mounts, mountRecord{Kind: "tmpfs", Destination: path})
		}
	}
	return nil
}

func (s *session) describeProcess(r *record, config imageConfig) error {
	given, err := parseEnv(s.call.All("--env-file"), s.call.All("--env"))
	if err != nil {
		return err
	}
	env := append(append([]string{}, config.Env...), given...)
	if s.version.AtLeast(0, 10) {
		env = lastOfEach(env)
	}
	command := config.Entrypoint
	entrypoint, overridden := s.call.Last("--entrypoint")
	overridden = overridden && entrypoint != ""
	if overridden {
		command = []string{entrypoint}
	}
	switch arguments := s.call.Args("arguments"); {
	case len(arguments) > 0:
		command = append(append([]string{}, command...), arguments...)
	case !overridden:
		command = append(append([]string{}, command...), config.Cmd...)
	}
	if len(command) == 0 {
		return failure(invalidArgument, "command/entrypoint not specified for container process")
	}
	workdir, ok := s.call.Last("--workdir")
	if !ok {
		workdir = config.WorkingDir
	}
	if workdir == "" {
		workdir = "/"
	}
	r.Process = processRecord{
		Executable: command[0], Arguments: command[1:], Env: env, Workdir: workdir,
		User: s.user(config.User), Terminal: s.call.Has("--tty"),
	}
	return nil
}

// user is what --user, --uid and --gid say, or the default.
func (s *session) user(otherwise string) string {
	if user, _ := s.call.Last("--user"); user != "" {
		return user
	}
	uid, hasUID := s.call.Last("--uid")
	gid, hasGID := s.call.Last("--gid")
	switch {
	case hasUID && hasGID:
		return uid + ":" + gid
	case hasUID:
		return uid
	default:
		return otherwise
	}
}

// guestServices is where an agent's socket is in the guest: facts 8.
func (s *session) guestServices() string {
	if s.version.AtLeast(0, 12) {
		return "/var/host-services"
	}
	return "/run/host-services"
}

// createBelow makes the engine's container.
func (s *session) createBelow(ctx context.Context, r *record) error {
	env := r.Process.Env
	if r.SSH {
		services := s.state.path("ssh", r.ID)
		if err := os.MkdirAll(services, 0o755); err != nil { //nolint:gosec // the guest's users look into it
			return err
		}
		env = append([]string{"SSH_AUTH_SOCK=" + s.guestServices() + "/ssh-auth.sock"}, env...)
	}
	host := map[string]any{
		"ShmSize": r.SharedMem, // zero is the engine's own default, as large as that of a virtual machine
		"Memory":  r.Memory, "NanoCpus": min(r.CPUs, int64(runtime.NumCPU())) * 1e9,
		"Mounts": s.engineMounts(r), "ReadonlyRootfs": r.ReadOnly, "Init": r.Init,
		"CapAdd": r.CapAdd, "CapDrop": r.CapDrop, "NetworkMode": "none",
		"PortBindings": portBindings(r.Ports),
	}
	if r.DNS != nil {
		host["Dns"], host["DnsSearch"], host["DnsOptions"] = r.DNS.Nameservers, r.DNS.Search, r.DNS.Options
	}
	if len(r.Networks) > 0 {
		network, err := s.engineNetwork(ctx, r.Networks[0].Network)
		if err != nil {
			return err
		}
		host["NetworkMode"] = network
	}
	exposed := map[string]any{}
	for _, p := range r.Ports {
		exposed[strconv.Itoa(p.ContainerPort)+"/"+p.Protocol] = map[string]any{}
	}
	body := map[string]any{
		"Image": r.Image.EngineID, "Entrypoint": []string{r.Process.Executable}, "Cmd": orNone(r.Process.Arguments),
		"Env": env, "WorkingDir": r.Process.Workdir, "User": r.Process.User, "Tty": r.Process.Terminal,
		"Hostname": hostname(r.ID), "ExposedPorts": exposed, "HostConfig": host,
		"Labels": map[string]string{stateLabel: s.state.id, idLabel: r.ID},
	}
	var made struct{ Id string } //nolint:revive // the engine's spelling
	query := url.Values{"name": {s.engineName(r.ID)}}
	if err := s.engine.Call(ctx, http.MethodPost, "/containers/create", query, body, &made); err != nil {
		return err
	}
	r.EngineID = made.Id
	return nil
}

func (s *session) engineName(id string) string { return "standin-" + s.state.id + "-" + id }

// hostname is the part of the id before the first dot: facts 4.1.
func hostname(id string) string {
	id, _, _ = strings.Cut(id, ".")
	return id[:min(len(id), 63)]
}

func (s *session) engineMounts(r *record) []any {
	mounts := []any{}
	for _, m := range r.Mounts {
		switch m.Kind {
		case "tmpfs":
			mounts = append(mounts, map[string]any{"Type": "tmpfs", "Target": m.Destination})
		case "volume":
			mounts = append(mounts, map[string]any{
				"Type": "volume", "Source": s.engineName(m.Source), "Target": m.Destination, "ReadOnly": m.readOnly(),
				"VolumeOptions": map[string]any{"Labels": map[string]string{stateLabel: s.state.id}},
			})
		default:
			mounts = append(mounts, map[string]any{
				"Type": "bind", "Source": m.Source, "Target": m.Destination, "ReadOnly": s.shareReadOnly(r, m),
			})
		}
	}
	if r.SSH {
		mounts = append(mounts, map[string]any{"Type": "bind", "Source": s.state.path("ssh", r.ID), "Target": s.guestServices()})
	}
	return mounts
}

// shareReadOnly is where the same directory is mounted twice one share, and one
// of the mounts decides for all: facts 5.3.
func (s *session) shareReadOnly(r *record, m mountRecord) bool {
	deciding := m
	first := true
	for _, other := range r.Mounts {
		if other.Kind != "virtiofs" || realPath(other.Source) != realPath(m.Source) {
			continue
		}
		if first && s.has("first-mount-decides") || s.has("last-mount-decides") {
			deciding = other
		}
		first = false
	}
	return deciding.readOnly()
}

func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

func portBindings(ports []portRecord) map[string]any {
	bindings := map[string]any{}
	for _, p := range ports {
		key := strconv.Itoa(p.ContainerPort) + "/" + p.Protocol
		list, _ := bindings[key].([]any)
		bindings[key] = append(list, map[string]any{"HostIp": p.HostAddress, "HostPort": strconv.Itoa(p.HostPort)})
	}
	return bindings
}

// runContainer is create and start; from 0.9 what fails is deleted again.
func runContainer(ctx context.Context, s *session) error {
	if !s.call.Has("--detach") {
		return failure(unsupported, "the stand-in runs only detached: create, start and exec")
	}
	id, err := s.create(ctx)
	if err != nil {
		return err
	}
	if err := s.start(ctx, id); err != nil {
		if s.version.AtLeast(0, 9) {
			_ = s.remove(ctx, id, false) // what failed first counts
		}
		return err
	}
	s.printf("%s\n", id)
	return nil
}
