package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
)

// withoutHelper leaves the guest helper no place on this machine, before there
// is a daemon.
func (d *dockerMachine) withoutHelper() {
	d.t.Helper()
	home := filepath.Join(filepath.Dir(d.dir), ".sero")
	err := os.MkdirAll(home, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(home, "guest"), nil, 0o600)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// TestKilledForMemory has a command that takes more memory than its sandbox may
// have: sero says why it was killed. One that was killed for another reason, or
// that failed by itself, is not said to have been.
func TestKilledForMemory(t *testing.T) {
	for _, way := range []string{"helper", "plain"} {
		t.Run(way, func(t *testing.T) {
			d := newDockerMachine(t)
			if way == "plain" {
				d.withoutHelper()
			}
			d.file(map[string]any{
				"id": d.id, "image": dockertest.BaseImage(t), "driver": "docker",
				"resources": map[string]string{"memory": "64MiB"},
			})
			for _, tt := range []struct {
				name string
				argv []string
				code int
				told bool
			}{
				{"a command that takes all", []string{"tail", "/dev/zero"}, 137, true},
				{"a shell whose command takes all", []string{"sh", "-c", "tail /dev/zero; exit $?"}, 137, true},
				{"a command that survives its child", []string{"sh", "-c", "tail /dev/zero; true"}, 0, false},
				{"a command that fails after its child", []string{"sh", "-c", "tail /dev/zero; exit 3"}, 3, false},
				{"a command that kills itself", []string{"sh", "-c", "kill -9 $$"}, 137, false},
				{"an exit code that says so", []string{"sh", "-c", "exit 137"}, 137, false},
			} {
				_, stderr, code := d.sero(append([]string{"exec", "--"}, tt.argv...)...)
				told := strings.Contains(stderr, "sero: the command was killed: ") && strings.Contains(stderr, "resources.memory")
				if code != tt.code || told != tt.told {
					t.Errorf("%s: exit code %d, want %d; told %t, want %t: %s", tt.name, code, tt.code, told, tt.told, stderr)
				}
			}
			if out := d.ok("inspect"); strings.Contains(out, "commands   helper") != (way == "helper") {
				t.Errorf("inspect: %s", out)
			}
			d.devServerKilledForMemory()
		})
	}
}

// devServerKilledForMemory has a server whose state says why it is dead.
func (d *dockerMachine) devServerKilledForMemory() {
	d.t.Helper()
	stdout, stderr, code := d.sero("run", "--name", "hog", "--wait", "30s", "--", "tail", "/dev/zero")
	if code == 0 || !strings.Contains(stdout, "the sandbox has no memory left") {
		d.t.Errorf("run: %d %s%s", code, stdout, stderr)
	}
}
