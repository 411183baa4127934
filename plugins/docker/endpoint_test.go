package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// home gives a test a home without any engine, and a configuration of the docker
// command in it.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "XDG_RUNTIME_DIR", "DOCKER_CONFIG"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", dir)
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func contextFile(home, name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(home, ".docker/contexts/meta", hex.EncodeToString(sum[:]), "meta.json")
}

func TestEndpoints(t *testing.T) {
	one := func(t *testing.T, s settings) endpoint {
		t.Helper()
		all, err := endpoints(s)
		if err != nil || len(all) != 1 {
			t.Fatalf("%v, %v", all, err)
		}
		return all[0]
	}
	t.Run("DOCKER_HOST", func(t *testing.T) {
		home(t)
		t.Setenv("DOCKER_HOST", "unix:///x.sock")
		if at := one(t, settings{}); at.host != "unix:///x.sock" || at.source != "DOCKER_HOST" {
			t.Errorf("%+v", at)
		}
		if at := one(t, settings{Host: "tcp://h:1"}); at.host != "tcp://h:1" {
			t.Errorf("the settings do not win: %+v", at)
		}
	})
	t.Run("context", func(t *testing.T) {
		dir := home(t)
		write(t, filepath.Join(dir, ".docker/config.json"), `{"currentContext": "mine"}`)
		write(t, contextFile(dir, "mine"), `{"Name": "mine", "Endpoints": {"docker": {"Host": "unix:///mine.sock"}}}`)
		write(t, contextFile(dir, "other"), `{"Endpoints": {"docker": {"Host": "unix:///other.sock"}}}`)
		if at := one(t, settings{}); at.host != "unix:///mine.sock" || !strings.Contains(at.source, "context mine") {
			t.Errorf("%+v", at)
		}
		t.Setenv("DOCKER_CONTEXT", "other")
		if at := one(t, settings{}); at.host != "unix:///other.sock" {
			t.Errorf("%+v", at)
		}
		if at := one(t, settings{Context: "mine"}); at.host != "unix:///mine.sock" {
			t.Errorf("the settings do not win: %+v", at)
		}
		if _, err := endpoints(settings{Context: "absent"}); driver.ReasonOf(err) != driver.ConfigInvalid {
			t.Errorf("%v", err)
		}
	})
	t.Run("unusable", func(t *testing.T) {
		home(t)
		for host, want := range map[string]driver.Reason{"ssh://me@there": driver.Unsupported, "nonsense": driver.ConfigInvalid} {
			if _, err := endpoints(settings{Host: host}); driver.ReasonOf(err) != want {
				t.Errorf("%s: %v", host, err)
			}
		}
	})
}

func TestNoSocket(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	if err := errNoSocket(); driver.ReasonOf(err) != driver.EngineNotInstalled {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(filepath.Join(bin, "podman"), nil, 0o755); err != nil { //nolint:gosec // it is a program
		t.Fatal(err)
	}
	if err := errNoSocket(); driver.ReasonOf(err) != driver.EngineNotRunning {
		t.Errorf("%v", err)
	}
}
