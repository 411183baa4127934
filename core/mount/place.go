package mount

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// place is something on the host that sandboxes must not show.
type place struct {
	directory
	what   string // for messages: "the engine's socket"
	inside bool   // what is in it must not be shown either
	keys   bool   // it and what is in it may be shown, if it cannot be written
	always bool   // not a workspace in host mode either
}

// places are those that exist.
func (p Policy) places(mounts mountTable) []place {
	var found []place
	add := func(like place, names ...string) {
		for _, name := range names {
			if name == "" {
				continue
			}
			if d, err := mounts.look(name); err == nil {
				like.directory = d
				found = append(found, like)
			}
		}
	}
	add(place{what: "the whole file system"}, "/")
	add(place{what: "a container engine's or a system service's, and who can talk to that owns the machine", inside: true}, p.Engines...)
	add(place{what: "sero's own", inside: true, always: true}, p.Private...)
	add(place{what: "the kernel's", inside: true, always: true}, "/proc", "/sys", "/dev")
	add(place{what: "your home directory"}, p.Home)
	add(place{what: "somebody's home directory"}, p.Homes...)
	keys := place{what: "a place of keys and passwords", inside: true, keys: true}
	for _, home := range append([]string{p.Home}, p.Homes...) { // below / if there is no home
		if home != p.Home {
			if _, err := os.Stat(home); err != nil {
				continue
			}
		}
		for _, name := range keyDirectories {
			add(keys, filepath.Join(home, name))
		}
	}
	add(keys, "/run/secrets")
	add(place{what: "the machine's configuration, with its passwords", inside: true, keys: true}, "/etc")
	return found
}

// keyDirectories are in a person's home.
var keyDirectories = []string{
	".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".password-store", ".config/gcloud", ".config/gh", ".config/op",
	".mozilla", ".local/share/keyrings", "Library/Keychains", "Library/Cookies",
}

// relation says whether a directory is p or in it, and whether it holds p, with
// what is mounted in it: at is where.
func (p place) relation(d directory) (within, holds bool, at string) {
	within, holds, at = d.isIn(p.directory), p.isIn(d), p.path
	if within || holds {
		return within, holds, at
	}
	for _, m := range d.under {
		if p.origin.isIn(m.origin) || p.inside && m.isIn(p.origin) {
			return false, true, m.at
		}
	}
	return false, false, ""
}

// refuses is why a mount of source must not be.
func (p place) refuses(a Ask, source directory) error {
	within, holds, at := p.relation(source)
	switch {
	case within && p.keys && a.ReadOnly:
		return nil
	case within && p.keys:
		return denied(a, "%s is %s", shown(a.Source), p.what).Remedy("make it read-only, if it must be shown")
	case within && holds:
		return denied(a, "%s is %s", shown(a.Source), p.what).Remedy("name a directory that holds nothing else")
	case holds:
		return denied(a, "%s holds %s, which is %s", shown(a.Source), shown(at), p.what).Remedy("name a directory that does not hold it")
	case within && p.inside:
		return denied(a, "%s is in %s, which is %s", shown(a.Source), shown(p.path), p.what).Remedy("remove it")
	}
	return nil
}

// mostEntries bounds how much of a directory is looked through.
const mostEntries = 10_000

// refuseSockets refuses a directory with another name of an engine's socket in it.
func refuseSockets(a Ask, source directory, places []place) error {
	if p, found := otherName(source, places); found {
		return denied(a, "%s holds another name of %s, which is %s", shown(a.Source), shown(p.path), p.what).Remedy("remove that name")
	}
	return nil
}

// otherName is the place that a socket in a directory is another name of.
func otherName(source directory, places []place) (place, bool) {
	f, err := os.Open(source.path)
	if err != nil {
		return place{}, false // what we cannot read is not ours to judge; the engine will say
	}
	entries, _ := f.ReadDir(mostEntries)
	_ = f.Close()
	for _, entry := range entries {
		if entry.Type()&fs.ModeSocket == 0 {
			continue
		}
		info, err := entry.Info()
		if err != nil {
			continue
		}
		for _, p := range places {
			if os.SameFile(info, p.info) {
				return p, true
			}
		}
	}
	return place{}, false
}

// EnginePaths are the sockets and directories of container engines on this
// machine, whether they exist or not. home is the user's; dockerHost is what
// DOCKER_HOST says, or empty.
func EnginePaths(home, dockerHost string) []string {
	paths := []string{
		"/run/docker.sock", "/var/run/docker.sock", "/run/docker", "/run/containerd", "/run/podman", "/run/crio", "/run/k3s", "/run/buildkit",
		"/var/lib/docker", "/var/lib/containerd", "/var/lib/containers", "/var/lib/kubelet", "/run/dbus", "/run/systemd",
	}
	runtime := "/run/user/" + strconv.Itoa(os.Getuid())
	paths = append(paths, runtime+"/docker.sock", runtime+"/docker", runtime+"/podman", runtime+"/containerd", runtime+"/bus")
	if home != "" {
		for _, name := range []string{
			".docker/run", ".docker/desktop", ".colima", ".config/colima", ".orbstack", ".rd", ".lima", ".local/share/docker",
			".local/share/containers", ".config/containers/podman", "Library/Containers/com.docker.docker",
			"Library/Application Support/com.apple.container", "Library/Group Containers/group.com.docker",
		} {
			paths = append(paths, filepath.Join(home, name))
		}
	}
	if socket, ok := strings.CutPrefix(dockerHost, "unix://"); ok {
		paths = append(paths, socket)
	}
	return paths
}
