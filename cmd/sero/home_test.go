package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/internal/testutil"
)

// in is the machine as programs with another run directory see it.
func (m *machine) in(run string) *machine {
	other := *m
	other.env = append(slices.Clip(m.env), paths.RunVariable+"="+run)
	return &other
}

// run is the machine's run directory.
func (m *machine) run() string {
	for _, v := range slices.Backward(m.env) {
		if run, ok := strings.CutPrefix(v, paths.RunVariable+"="); ok {
			return run
		}
	}
	return ""
}

func TestManyCommandsInTwoRunDirectoriesStartOneDaemon(t *testing.T) {
	m := newMachine(t)
	places := []*machine{m, m.in(filepath.Join(m.run(), "b"))}
	for round := range 3 {
		var group sync.WaitGroup
		for i := range 20 {
			cmd := places[i%2].command("sero", "ls")
			group.Go(func() {
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("command %d: %v: %s", i, err, out)
				}
			})
		}
		group.Wait()
		if a, b := places[0].pid(), places[1].pid(); a != b {
			t.Errorf("the daemons are %s and %s", a, b)
		}
		log := places[0].ok("daemon", "logs")
		if n := strings.Count(log, "the daemon serves"); n != round+1 {
			t.Errorf("%d daemons have served in %d rounds:\n%s", n, round+1, log)
		}
		places[round%2].ok("daemon", "stop")
	}
}

// Root's sero may be told to use somebody's home, as by sudo.
func TestAnotherUsersDaemonIsNotUsed(t *testing.T) {
	if os.Geteuid() != 0 {
		testutil.Missing(t, "root", "only root can run sero as somebody else")
	}
	home, err := os.MkdirTemp("/tmp", "sero-p") //nolint:usetesting // others than root get into it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	program := buildWithHelper(t)
	for dir := program; filepath.Dir(dir) != dir && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the person starts it
			t.Fatal(err)
		}
	}
	m := newMachineOf(t, home, &syscall.Credential{Uid: personUID, Gid: personGID})
	m.program = filepath.Join(program, "sero")
	m.ok("ls")
	run, err := os.MkdirTemp("/tmp", "sero-t") //nolint:usetesting // its path must be short for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	root := m.in(run)
	root.person = nil
	refused := func(want string) {
		t.Helper()
		if _, stderr, code := root.sero("ls"); code != 1 || !strings.Contains(stderr, want) || !strings.Contains(stderr, "SERO_HOME") {
			t.Errorf("exit code %d, %q, not %q and a remedy", code, stderr, want)
		}
	}
	refused(fmt.Sprintf("belongs to another user (uid %d)", personUID))

	own := func(uid int) {
		t.Helper()
		if err := os.Chown(m.run(), uid, -1); err != nil {
			t.Fatal(err)
		}
	}
	own(0)
	root = m.in(m.run()) // with a home of its own
	root.person, root.env = nil, append(root.env, paths.HomeVariable+"="+t.TempDir())
	refused(fmt.Sprintf("is served by another user, uid %d", personUID))
	own(personUID)
}
