package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
)

// TestA8AForkBombInAWorkspace starts processes without end in a workspace that may
// have 100. The bomb fails; what ran before goes on while the bomb's processes are
// there, a command that finds no room says so, and a stop ends all of it.
func TestA8AForkBombInAWorkspace(t *testing.T) {
	for _, way := range []string{"helper", "plain"} {
		t.Run(way, func(t *testing.T) {
			d := newDockerMachine(t)
			if way == "plain" {
				d.withoutHelper()
			}
			d.file(map[string]any{
				"id": d.id, "image": dockertest.BaseImage(t), "driver": "docker",
				"resources": map[string]any{"processes": 100},
			})
			d.ok("up")
			limit := strings.TrimSpace(dockertest.Docker(t, d.host, "inspect", "--format", "{{.HostConfig.PidsLimit}}", "sero-"+d.id))
			if limit != "100" {
				t.Errorf("the engine has a limit of %s", limit)
			}
			// Both wait without starting a process: until the test writes.
			for _, pipe := range []string{"go", "never"} {
				if err := syscall.Mkfifo(filepath.Join(d.dir, pipe), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			before := `echo > begun; read -r line < go; echo "$line" > after; read -r line < never`
			_, stderr, _ := d.sero("run", "--name", "before", "--wait", "1ms", "--", "sh", "-c", before) // it will not listen
			if !awaitFile(filepath.Join(d.dir, "begun")) {
				t.Fatalf("the first command does not run: %s", stderr)
			}
			bomb := `n=0; while [ $n -lt 300 ]; do (read -r line < never) & n=$((n+1)); done; echo started all`
			stdout, stderr, code := d.sero("exec", "--", "sh", "-c", bomb)
			if code == 0 || strings.Contains(stdout, "started all") {
				t.Errorf("the bomb was not held: exit code %d: %s%s", code, stdout, stderr)
			}
			pipe, err := os.OpenFile(filepath.Join(d.dir, "go"), os.O_RDWR, 0) // to read as well: it does not wait for a reader
			if err == nil {
				defer pipe.Close()
				_, err = pipe.WriteString("still here\n")
			}
			if err != nil {
				t.Fatal(err)
			}
			if !awaitFile(filepath.Join(d.dir, "after")) {
				t.Error("what ran before is gone")
			}
			for range 5 { // without the helper the bomb's processes end with it
				if _, stderr, code := d.sero("exec", "--", "true"); code != 0 && !strings.Contains(stderr, "resources.processes") {
					t.Errorf("no room: exit code %d: %s", code, stderr)
				}
			}
			d.ok("stop")
			if out := d.ok("exec", "--", "echo", "fine"); out != "fine\n" {
				t.Errorf("afterwards a command says %q", out)
			}
			if out := d.ok("inspect"); strings.Contains(out, "commands   helper") != (way == "helper") {
				t.Errorf("inspect: %s", out)
			}
		})
	}
}
