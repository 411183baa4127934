package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/testutil"
)

// TestDirectoryThatDoesNotAnswer has a workspace on a file server that is gone:
// it is listed with that, and the others as always.
func TestDirectoryThatDoesNotAnswer(t *testing.T) {
	m := newMachine(t)
	m.ok("up", "--driver", "host")
	gone := filepath.Join(filepath.Dir(m.dir), "gone")
	if out, err := m.command("mkdir", gone).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m.ok("up", "--driver", "host", gone)
	answer := testutil.Hang(t, gone)
	for range 3 {
		stdout, stderr, code := m.sero("ls")
		if code != 0 || strings.Count(stderr, "does not answer") != 1 || !strings.Contains(stderr, "gone: the directory does not answer") {
			t.Errorf("ls: %d %s", code, stderr)
		}
		for id, state := range map[string]string{"ws": "running", "gone": "unknown"} {
			if !regexp.MustCompile(`(?m)^` + id + ` +` + state + ` `).MatchString(stdout) {
				t.Errorf("ls does not show %s as %s: %s", id, state, stdout)
			}
		}
	}
	for _, refused := range []struct {
		args []string
		code int
	}{
		{[]string{"exec", "-w", "gone", "--", "true"}, 125},
		{[]string{"up", gone}, 1},
	} {
		if _, stderr, code := m.sero(refused.args...); code != refused.code || !strings.Contains(stderr, gone+"\" does not answer") ||
			!strings.Contains(stderr, "sero rm -w gone") && refused.args[1] == "-w" {
			t.Errorf("%v: %d %s", refused.args, code, stderr)
		}
		m.ok("exec", "--", "true") // others go on
	}
	if out := m.ok("inspect", "-w", "gone"); !strings.Contains(out, "does not answer") {
		t.Errorf("inspect: %s", out)
	}
	answer()
	if _, stderr, _ := m.sero("ls"); strings.Contains(stderr, "does not answer") {
		t.Errorf("ls still says: %s", stderr)
	}
	m.ok("rm", "-w", "gone")
}

// TestDaemonThatDoesNotAnswer: what to do about it is said in a command that does it.
func TestDaemonThatDoesNotAnswer(t *testing.T) {
	if testing.Short() {
		testutil.Missing(t, "time", "-short")
	}
	m := newMachine(t)
	m.ok("up", "--driver", "host")
	pid := m.pid()
	if out, err := m.command("kill", "-STOP", pid).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = m.command("kill", "-KILL", pid).Run() })
	_, stderr, code := m.sero("ls")
	found := regexp.MustCompile(`(?m)^hint: .*: (kill .*)$`).FindStringSubmatch(stderr)
	if code != 1 || !strings.Contains(stderr, "does not answer") || found == nil {
		t.Fatalf("%d %s", code, stderr)
	}
	if out, err := m.command("sh", "-c", found[1]).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", found[1], err, out)
	}
	if list := m.ok("ls"); !strings.Contains(list, "ws") || m.pid() == pid {
		t.Errorf("after %s: %s", found[1], list)
	}
}
