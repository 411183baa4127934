package paths

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func TestHome(t *testing.T) {
	for _, c := range []struct {
		name, seroHome, home, want string
		reason                     driver.Reason
	}{
		{name: "variable wins", seroHome: "/x/y/", home: "/home/a", want: "/x/y"},
		{name: "in the home directory", home: "/home/a", want: "/home/a/.sero"},
		{name: "relative variable", seroHome: "x", home: "/home/a", reason: driver.ConfigInvalid},
		{name: "relative home", home: "x", reason: driver.ConfigInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(HomeVariable, c.seroHome)
			t.Setenv("HOME", c.home)
			got, err := Home()
			if driver.ReasonOf(err) != c.reason || (err == nil && got != c.want) {
				t.Errorf("Home() = %q, %v; want %q, reason %q", got, err, c.want, c.reason)
			}
		})
	}
}

func TestRunIsMadeAndPrivate(t *testing.T) {
	dir := shortDir(t)
	t.Setenv(RunVariable, filepath.Join(dir, "a", "b"))
	got, err := Run()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(got)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, want 0700", info.Mode().Perm())
	}
	if again, err := Run(); err != nil || again != got {
		t.Errorf("a second Run() = %q, %v", again, err)
	}
}

func TestRunRefuses(t *testing.T) {
	dir := shortDir(t)
	for _, c := range []struct {
		name   string
		path   func(t *testing.T) string
		reason driver.Reason
		text   string
	}{
		{"open to others", func(t *testing.T) string {
			p := filepath.Join(dir, "open")
			if err := os.Mkdir(p, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(p, 0o750); err != nil {
				t.Fatal(err)
			}
			return p
		}, driver.PermissionDenied, "open to other users"},
		{"symlink", func(t *testing.T) string {
			target, p := filepath.Join(dir, "target"), filepath.Join(dir, "link")
			if err := os.Mkdir(target, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, p); err != nil {
				t.Fatal(err)
			}
			return p
		}, driver.PermissionDenied, "is a symlink"},
		{"file", func(t *testing.T) string {
			p := filepath.Join(dir, "file")
			if err := os.WriteFile(p, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return p
		}, driver.PermissionDenied, "directory"},
		{"relative", func(*testing.T) string { return "x" }, driver.ConfigInvalid, "not an absolute path"},
		{"too long", func(*testing.T) string { return filepath.Join(dir, strings.Repeat("x", MaxRun)) }, driver.ConfigInvalid, "too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := c.path(t)
			t.Setenv(RunVariable, path)
			_, err := Run()
			e := driver.AsError(err)
			if e == nil || e.Reason != c.reason || !strings.Contains(e.Message, c.text) || len(e.Remedies) == 0 {
				t.Fatalf("Run() = %#v; want reason %s, %q and a remedy", e, c.reason, c.text)
			}
			if c.name == "too long" {
				if _, err := os.Lstat(path); !os.IsNotExist(err) {
					t.Errorf("a refused directory was made: %v", err)
				}
			}
		})
	}
}

// Two homes never share a daemon, and no home but the account's own gets the
// shared default.
func TestEachHomeHasItsRunDirectory(t *testing.T) {
	t.Setenv(RunVariable, "")
	t.Setenv("XDG_RUNTIME_DIR", "")
	seen := map[string]string{}
	for _, home := range []string{"/x/a", "/x/b", filepath.Join(accountHome(), ".sero")} {
		t.Setenv(HomeVariable, home)
		run, _, err := runPath()
		if err != nil {
			t.Fatal(err)
		}
		if other := seen[run]; other != "" {
			t.Errorf("%s and %s share %s", home, other, run)
		}
		seen[run] = home
	}
	t.Setenv(HomeVariable, "")
	t.Setenv("HOME", "/x/c")
	if run, _, err := runPath(); err != nil || seen[run] != "" {
		t.Errorf("HOME=/x/c shares %s with %s (%v)", run, seen[run], err)
	}
}

func TestForeignRuntimeDirIsNotUsed(t *testing.T) {
	t.Setenv(RunVariable, "")
	t.Setenv(HomeVariable, filepath.Join(accountHome(), ".sero"))
	own := shortDir(t)
	t.Setenv("XDG_RUNTIME_DIR", own)
	if run, _, err := runPath(); err != nil || run != filepath.Join(own, "sero") {
		t.Errorf("runPath() = %q, %v; want it in %s", run, err, own)
	}
	if err := os.Chmod(own, 0o755); err != nil {
		t.Fatal(err)
	}
	if run, _, err := runPath(); err != nil || filepath.Dir(run) == own {
		t.Errorf("runPath() = %q, %v; want it elsewhere", run, err)
	}
}

// TestA1RunDirectoryIsNotShared keeps the run directory out of /tmp where nothing
// names one and the home leaves room for sockets (row A1).
func TestA1RunDirectoryIsNotShared(t *testing.T) {
	t.Setenv(RunVariable, "")
	t.Setenv("XDG_RUNTIME_DIR", "")
	dir := shortDir(t)
	shared := func(run string) bool { return filepath.Dir(run) == "/tmp" }
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	if err := os.MkdirAll(filepath.Join(open, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(open, "run"), 0o755); err != nil {
		t.Fatal(err)
	}
	for home, want := range map[string]bool{
		filepath.Join(dir, "home"):                  false,
		filepath.Join(dir, "a", "b"):                false,
		filepath.Join(dir, strings.Repeat("x", 60)): true,
		file: true,
		open: true,
		filepath.Join(dir, strings.Repeat("y", MaxRun-len(dir)-len("//run"))): false,
	} {
		t.Setenv(HomeVariable, home)
		run, err := Run()
		if err != nil || shared(run) != want {
			t.Errorf("home %s: %s, %v", home, run, err)
		}
		if again, err := Run(); err != nil || again != run {
			t.Errorf("home %s: again %s, %v", home, again, err)
		}
		if shared(run) {
			t.Cleanup(func() { _ = os.Remove(run) })
		} else if run != filepath.Join(home, "run") || CheckPrivate(run) != nil {
			t.Errorf("home %s: %s, %v", home, run, CheckPrivate(run))
		}
	}
	t.Setenv(HomeVariable, filepath.Join(accountHome(), ".sero"))
	if run, _, err := runPath(); err != nil || run != filepath.Join(accountHome(), ".sero", "run") {
		t.Errorf("the account's own: %s, %v", run, err)
	}
}

// shortDir is a private directory whose path leaves room below MaxRun.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "sp") //nolint:usetesting // its path must be short for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
