package docker

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// settings are what a person may tell the driver.
type settings struct {
	Host    string `json:"host"`    // as DOCKER_HOST
	Context string `json:"context"` // as DOCKER_CONTEXT
}

// endpoint is where an engine may answer.
type endpoint struct {
	host   string // "unix:///var/run/docker.sock", "tcp://…"
	source string // how it was found, for people
	certs  string // directory with ca.pem, cert.pem, key.pem; empty: no TLS
}

// endpoints lists where to look, best first: what was named, or the sockets
// there are.
func endpoints(s settings) ([]endpoint, error) {
	host, contextName := s.Host, s.Context
	source := "the driver's settings"
	if host == "" && contextName == "" {
		host, source = os.Getenv("DOCKER_HOST"), "DOCKER_HOST"
	}
	if host != "" {
		at := endpoint{host: host, source: source}
		if os.Getenv("DOCKER_TLS_VERIFY") != "" {
			at.certs = cmp.Or(os.Getenv("DOCKER_CERT_PATH"), configDir())
		}
		return []endpoint{at}, checkHost(at)
	}
	contextName = cmp.Or(contextName, os.Getenv("DOCKER_CONTEXT"), currentContext())
	if contextName != "" && contextName != "default" {
		at, err := contextEndpoint(contextName)
		if err != nil {
			return nil, err
		}
		return []endpoint{at}, checkHost(at)
	}
	var found []endpoint
	for _, path := range sockets() {
		if info, err := os.Stat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
			found = append(found, endpoint{host: "unix://" + path, source: "its usual socket"})
		}
	}
	if len(found) == 0 {
		return nil, errNoSocket()
	}
	return found, nil
}

// sockets are the usual places, the most specific of a machine's owner last:
// who has Docker itself means that.
func sockets() []string {
	all := []string{"/var/run/docker.sock"}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		all = append(all, filepath.Join(dir, "docker.sock")) // rootless
	}
	if home, err := os.UserHomeDir(); err == nil {
		for _, path := range []string{
			".docker/run/docker.sock", ".docker/desktop/docker.sock", // Docker Desktop, on macOS and Linux
			".orbstack/run/docker.sock", ".colima/default/docker.sock", ".colima/docker.sock", ".rd/docker.sock",
			".local/share/containers/podman/machine/podman.sock",
		} {
			all = append(all, filepath.Join(home, path))
		}
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		all = append(all, filepath.Join(dir, "podman", "podman.sock"))
	}
	return append(all, "/run/podman/podman.sock")
}

// errNoSocket tells an engine that is stopped from one that is not there.
func errNoSocket() error {
	for _, program := range []string{"dockerd", "docker", "podman", "colima", "orbctl"} {
		if _, err := exec.LookPath(program); err == nil {
			return notRunning("no engine is running: " + program + " is installed, and there is no socket of an engine")
		}
	}
	return driver.Errorf(driver.EngineNotInstalled, "there is neither Docker nor another engine with its API on this machine").
		Remedy("install Docker Engine, Docker Desktop, OrbStack, Colima or Podman").
		Remedy("or name the engine to use in DOCKER_HOST")
}

// notRunning is the error for an engine that does not run, with how to start it.
func notRunning(message string) *driver.Error {
	e := driver.Errorf(driver.EngineNotRunning, "%s", message)
	e.Retryable = true
	if runtime.GOOS == "darwin" {
		return e.Remedy("start Docker Desktop, OrbStack or Colima")
	}
	return e.Remedy("start the engine", "sudo", "systemctl", "start", "docker")
}

func checkHost(at endpoint) error {
	scheme, _, _ := strings.Cut(at.host, "://")
	switch scheme {
	case "unix", "tcp", "http", "https":
		return nil
	case "ssh":
		return driver.Errorf(driver.Unsupported, "an engine behind ssh cannot be used: workspaces are directories of this machine").
			About(at.host).Remedy("unset DOCKER_HOST and DOCKER_CONTEXT to use this machine's engine")
	}
	return driver.Errorf(driver.ConfigInvalid, "%s is no address of an engine (from %s)", at.host, at.source).
		About(at.host).Remedy("write it as unix:///path or tcp://host:port")
}

// configDir is where the docker command keeps its configuration.
func configDir() string {
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".docker")
}

// currentContext is the context that the docker command would use, if it can be
// read.
func currentContext() string {
	var config struct {
		CurrentContext string `json:"currentContext"`
	}
	data, err := os.ReadFile(filepath.Join(configDir(), "config.json"))
	if err != nil || json.Unmarshal(data, &config) != nil {
		return ""
	}
	return config.CurrentContext
}

// contextEndpoint reads the engine's address from a context of the docker command.
func contextEndpoint(name string) (endpoint, error) {
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	var meta struct {
		Endpoints map[string]struct{ Host string }
	}
	path := filepath.Join(configDir(), "contexts", "meta", id, "meta.json")
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &meta)
	}
	if err == nil && meta.Endpoints["docker"].Host == "" {
		err = errors.New("it names no engine")
	}
	if err != nil {
		return endpoint{}, driver.Errorf(driver.ConfigInvalid, "the docker context %s cannot be used: %w", name, err).About(path).
			Remedy("choose another", "docker", "context", "use", "default")
	}
	at := endpoint{host: meta.Endpoints["docker"].Host, source: "the docker context " + name}
	certs := filepath.Join(configDir(), "contexts", "tls", id, "docker")
	if _, err := os.Stat(filepath.Join(certs, "ca.pem")); err == nil {
		at.certs = certs
	}
	return at, nil
}
