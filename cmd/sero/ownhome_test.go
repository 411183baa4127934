package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/testutil"
)

// TestA6HomeThatOthersReach spoils the home, what is above it and what is in it,
// and then asks for something that starts the daemon.
func TestA6HomeThatOthersReach(t *testing.T) {
	m := newMachine(t)
	m.ok("ls")
	m.ok("daemon", "stop")
	home := filepath.Dir(m.dir)
	type spoil struct {
		name, path string
		mode       os.FileMode
		owner      int
	}
	var spoils []spoil
	for _, path := range []string{home, home + "/.sero", home + "/.sero/state", home + "/.sero/log", home + "/.sero/state/workspaces"} {
		spoils = append(spoils, spoil{"written by all", path, 0o777, 0}, spoil{"written by a group", path, 0o770, 0})
		if os.Geteuid() == 0 {
			spoils = append(spoils, spoil{"a stranger's", path, 0o700, personUID})
		}
	}
	for _, name := range []string{"state/daemon.lock", "state/installation", "config.json", "log/daemon.log"} {
		path := home + "/.sero/" + name
		if name == "config.json" {
			if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		spoils = append(spoils, spoil{"written by all", path, 0o666, 0})
		if os.Geteuid() == 0 {
			spoils = append(spoils, spoil{"a stranger's", path, 0o600, personUID})
		}
	}
	accepted := 0
	for _, s := range spoils {
		before, err := os.Stat(s.path)
		if err != nil {
			t.Fatal(err)
		}
		set := func(mode os.FileMode, owner int) {
			if err := os.Chmod(s.path, mode); err != nil {
				t.Fatal(err)
			}
			if os.Geteuid() == 0 {
				if err := os.Chown(s.path, owner, -1); err != nil {
					t.Fatal(err)
				}
			}
		}
		set(s.mode, s.owner)
		_, stderr, code := m.sero("ls")
		set(before.Mode().Perm(), os.Geteuid())
		if code != 1 || !strings.Contains(stderr, s.path) || !strings.Contains(stderr, "other user") && !strings.Contains(stderr, "another user") {
			accepted++
			t.Errorf("%s, %s: exit code %d, %q", s.path, s.name, code, stderr)
		}
		m.ok("ls") // the benign twin
		m.ok("daemon", "stop")
	}
	t.Logf("A6, homes: tried %d, accepted %d; benign twins %d", len(spoils), accepted, len(spoils))
	if os.Geteuid() != 0 {
		testutil.Missing(t, "root", "only root can make what is another user's")
	}
}

// TestA6NothingIsWaitedFor puts pipes and links in the place of files.
func TestA6NothingIsWaitedFor(t *testing.T) {
	m := newMachine(t)
	m.ok("up", "--driver", "host")
	m.ok("daemon", "stop")
	home := filepath.Join(filepath.Dir(m.dir), ".sero")
	victim := filepath.Join(t.TempDir(), "victim")
	const precious = "precious"
	if err := os.WriteFile(victim, []byte(precious), 0o600); err != nil {
		t.Fatal(err)
	}
	accepted, tried := 0, 0
	puts := map[string]func(path string) error{
		"a pipe":             func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a link":             func(path string) error { return os.Symlink(victim, path) },
		"a link to a device": func(path string) error { return os.Symlink("/dev/zero", path) },
	}
	for path, refused := range map[string]bool{
		filepath.Join(m.run(), "sero.lock"): true,
		home + "/state/daemon.lock":         true,
		home + "/state/installation":        true,
		home + "/config.json":               true,
		home + "/log/daemon.log":            true,
		home + "/state/trust.json":          false, // left out, with a warning
		home + "/state/preview-port":        false,
		home + "/state/images.json":         false,
		home + "/state/workspaces/odd.json": false, // put aside
	} {
		for name, put := range puts {
			kept := path + ".kept"
			if err := os.Rename(path, kept); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			if err := put(path); err != nil {
				t.Fatal(err)
			}
			tried++
			if _, stderr, code := m.sero("exec", "--", "true"); refused != (code != 0) || refused && !strings.Contains(stderr, "is not a regular file but") {
				accepted++
				t.Errorf("%s is %s: exit code %d, %q", path, name, code, stderr)
			}
			if text, err := os.ReadFile(victim); err != nil || string(text) != precious {
				t.Fatalf("%s is %s, which was followed: %q, %v", path, name, text, err)
			}
			if refused {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(kept, path); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
			}
			m.ok("exec", "--", "true")
			m.ok("daemon", "stop")
			if !refused {
				_ = os.Remove(path)
				_ = os.Rename(kept, path)
			}
		}
	}
	t.Logf("A6, files: tried %d, accepted %d; benign twins %d", tried, accepted, tried)
}
