package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/internal/testutil"
)

// disk is a small file system that a test fills.
type disk struct {
	t   *testing.T
	dir string
}

func newDisk(t *testing.T) disk {
	t.Helper()
	d := disk{t, t.TempDir()}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", d.dir).CombinedOutput(); err != nil {
		testutil.Missing(t, "mount", "a small file system cannot be mounted: "+string(out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", d.dir).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	return d
}

func (d disk) fill() {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, "fill"), make([]byte, 1<<20), 0o600); err == nil {
		d.t.Fatal("the disk takes more than it has")
	}
}

func (d disk) free() {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.dir, "fill")); err != nil {
		d.t.Fatal(err)
	}
}

func (d disk) readOnly(on bool) {
	d.t.Helper()
	mode := map[bool]string{true: "remount,ro", false: "remount,rw"}[on]
	if out, err := exec.Command("mount", "-o", mode, d.dir).CombinedOutput(); err != nil {
		d.t.Fatalf("%v: %s", err, out)
	}
}

// TestEFullDisk fills the file system of the home and of what a command's output
// goes to: each command that has to write says so, with its code and the
// directory. What has nothing to write works, and all does once there is room.
func TestEFullDisk(t *testing.T) {
	d := newDisk(t)
	m := newMachine(t)
	m.env = append(m.env, paths.HomeVariable+"="+filepath.Join(d.dir, "home"))
	shown := t.TempDir()
	m.ok("up", "--driver", "host")
	second := t.TempDir()
	calls := []struct {
		name, dir string
		args      []string
	}{
		{"up", second, []string{"up", "--driver", "host", "--json"}},
		{"exec", second, []string{"exec", "--driver", "host", "--", "true"}},
		{"run", second, []string{"run", "--driver", "host", "--json", "--", "sleep", "60"}},
		{"trust", m.dir, []string{"trust", "--yes", "--json"}},
		{"mount add", m.dir, []string{"mount", "add", "--json", shown}},
		{"egress allow", m.dir, []string{"egress", "allow", "--json", "example.com"}},
	}
	if err := os.WriteFile(filepath.Join(m.dir, "sero.json"), []byte(`{"mounts": [{"source": "`+t.TempDir()+`"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	states := filepath.Join(d.dir, "home", "state")
	d.fill()
	for _, c := range calls {
		stdout, stderr, code := m.inDir(c.dir, c.args...)
		got := failureOf(stdout + stderr)
		if c.name == "exec" { // its output is the command's, so its errors are not in JSON
			got = failure{Reason: "OUT_OF_DISK", Message: stderr, Remedies: make([]struct{ Text string }, strings.Count(stderr, "\nhint: "))}
		}
		if code == 0 || got.Reason != "OUT_OF_DISK" || !strings.Contains(got.Message, "the file system of "+states) || len(got.Remedies) == 0 {
			t.Errorf("%s on a full disk: exit code %d, %s%s", c.name, code, stdout, stderr)
		}
	}
	out := m.command("sh", "-c", `exec sero exec -- sh -c 'head -c 300000 /dev/zero' > "$0"`, filepath.Join(d.dir, "out"))
	if _, stderr, code := m.outcome(out); code != 125 || !strings.Contains(stderr, "a file system is full") {
		t.Errorf("output to a full disk: exit code %d, %s", code, stderr)
	}
	if got := m.ok("exec", "--", "echo", "as before"); got != "as before\n" {
		t.Errorf("a command on a full disk writes %q", got)
	}
	m.ok("ls")
	m.ok("dev", "ls")
	d.free()
	for _, c := range calls {
		if c.name == "run" || c.name == "egress allow" {
			continue // the one waits for a port, the other is not for host mode
		}
		if stdout, stderr, code := m.inDir(c.dir, c.args...); code != 0 {
			t.Errorf("%s with room: exit code %d, %s%s", c.name, code, stdout, stderr)
		}
	}
}

// TestEDaemonOnReadOnlyDisk starts a daemon whose home was made read-only.
func TestEDaemonOnReadOnlyDisk(t *testing.T) {
	d := newDisk(t)
	m := newMachine(t)
	m.env = append(m.env, paths.HomeVariable+"="+filepath.Join(d.dir, "home"))
	m.ok("ls")
	m.ok("daemon", "stop")
	d.readOnly(true)
	stdout, stderr, code := m.sero("ls", "--json")
	if got := failureOf(stdout + stderr); code == 0 || got.Reason != "PERMISSION_DENIED" || !strings.Contains(got.Message, "is read-only") {
		t.Errorf("a read-only home: exit code %d, %s%s", code, stdout, stderr)
	}
	d.readOnly(false)
	m.ok("ls")
	m.ok("daemon", "stop")
}

// failure is an error as --json has it.
type failure struct {
	Reason, Message string
	Remedies        []struct{ Text string }
}

func failureOf(output string) failure {
	var v struct{ Error failure }
	for line := range strings.Lines(output) {
		if json.Unmarshal([]byte(line), &v) == nil && v.Error.Reason != "" {
			break
		}
	}
	return v.Error
}

// inDir runs sero in another directory.
func (m *machine) inDir(dir string, args ...string) (stdout, stderr string, code int) {
	m.t.Helper()
	cmd := m.command(m.program, args...)
	cmd.Dir = dir
	return m.outcome(cmd)
}
