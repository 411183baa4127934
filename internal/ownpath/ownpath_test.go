package ownpath_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/ownpath"
	"github.com/sero-labs/sero-runtime/internal/testutil"
)

const stranger = 48213

// tree makes top/a/b/file, and links to it beside a.
func tree(t *testing.T) (top, file string) {
	t.Helper()
	top, err := os.MkdirTemp("/tmp", "sero-o") //nolint:usetesting // what is above it must be the system's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(top) })
	file = filepath.Join(top, "a", "b", "file")
	must(t, os.MkdirAll(filepath.Dir(file), 0o755))
	must(t, os.WriteFile(file, []byte("text"), 0o755))
	must(t, os.Symlink("a", filepath.Join(top, "relative")))
	must(t, os.Symlink(filepath.Join(top, "relative", "b"), filepath.Join(top, "absolute")))
	return top, file
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestA5EachComponentIsChecked opens up each component in turn, in each way, and
// looks along the path itself and through links.
func TestA5EachComponentIsChecked(t *testing.T) {
	tried, accepted, benign := 0, 0, 0
	spoils := map[string]func(path string) error{
		"written by all":      func(path string) error { return os.Chmod(path, 0o777) },
		"written by a group":  func(path string) error { return os.Chmod(path, 0o775) },
		"written by the rest": func(path string) error { return os.Chmod(path, 0o757) },
		"sticky, at the end":  func(path string) error { return os.Chmod(path, 0o777|fs.ModeSticky) },
		"a stranger's":        func(path string) error { return os.Lchown(path, stranger, -1) },
	}
	for name, spoil := range spoils {
		for _, part := range []string{"", "a", "a/b", "a/b/file", "relative", "absolute"} {
			for _, by := range []string{"a/b/file", "relative/b/file", "absolute/file", "absolute/../b/./file"} {
				top, _ := tree(t)
				link := part == "relative" || part == "absolute"
				if link && name != "a stranger's" || name == "a stranger's" && os.Geteuid() != 0 || name == "sticky, at the end" && part != "a/b/file" {
					continue
				}
				path := filepath.Join(top, part)
				if link && !leadsThrough(by, part) {
					continue
				}
				if resolved, err := ownpath.Check(top + "/" + by); err != nil || resolved != filepath.Join(top, "a/b/file") {
					t.Errorf("benign %s: %q, %v", by, resolved, err)
				}
				benign++
				must(t, spoil(path))
				tried++
				_, err := ownpath.Check(top + "/" + by)
				if problem, ok := errors.AsType[*ownpath.Problem](err); !ok || problem.Path != path {
					accepted++
					t.Errorf("%s by %s, %q %s: %v", path, by, part, name, err)
				}
			}
		}
	}
	top, _ := tree(t)
	must(t, os.Chmod(filepath.Join(top, "a"), 0o777|fs.ModeSticky)) // as /tmp
	if _, err := ownpath.Check(filepath.Join(top, "a/b/file")); err != nil {
		t.Errorf("below a sticky directory: %v", err)
	}
	if os.Geteuid() == 0 { // a stranger's own thing in a sticky directory
		must(t, os.Lchown(filepath.Join(top, "a/b"), stranger, -1))
		if _, err := ownpath.Check(filepath.Join(top, "a/b/file")); err == nil {
			t.Error("a stranger's directory in a sticky one is accepted")
		}
	}
	must(t, os.Symlink("circle", filepath.Join(top, "circle")))
	if _, err := ownpath.Check(filepath.Join(top, "circle")); err == nil {
		t.Error("a circle of links ended somewhere")
	}
	if _, err := ownpath.Check(filepath.Join(top, "a/absent/x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is absent: %v", err)
	}
	t.Logf("A5, paths: tried %d, accepted %d; benign twins %d", tried, accepted, benign)
}

func leadsThrough(by, link string) bool {
	first := filepath.ToSlash(by)
	return first[:len(link)] == link || link == "relative" && first[:len("absolute")] == "absolute"
}

// TestA6OnlyAFileIsOpened puts whatever is no file of one's own where one belongs.
func TestA6OnlyAFileIsOpened(t *testing.T) {
	tried, accepted := 0, 0
	for name, put := range map[string]func(path string) error{
		"a pipe":             func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a link":             func(path string) error { return os.Symlink("/etc/hostname", path) },
		"a link to nothing":  func(path string) error { return os.Symlink(path+".absent", path) },
		"a link to a device": func(path string) error { return os.Symlink("/dev/zero", path) },
		"a directory":        func(path string) error { return os.Mkdir(path, 0o700) },
		"a socket":           func(path string) error { return syscall.Mknod(path, syscall.S_IFSOCK|0o600, 0) },
		"a device":           func(path string) error { return device(path) },
		"written by others":  func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o602)) },
		"written by a group": func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o620)) },
		"a stranger's": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Chown(path, stranger, -1))
		},
		"a stranger's, a pipe": func(path string) error {
			return errors.Join(syscall.Mkfifo(path, 0o600), os.Chown(path, stranger, -1))
		},
	} {
		path := filepath.Join(t.TempDir(), "file")
		if err := put(path); err != nil {
			t.Logf("%s cannot be made here: %v", name, err)
			continue
		}
		for _, flag := range []int{os.O_RDONLY, os.O_WRONLY | os.O_CREATE, os.O_RDWR, os.O_WRONLY | os.O_APPEND | os.O_CREATE} {
			tried++
			f, err := ownpath.Open(path, flag, 0o600)
			if _, ok := errors.AsType[*ownpath.Problem](err); !ok {
				accepted++
				t.Errorf("%s, flags %#x: %v", name, flag, err)
			}
			if err == nil {
				_ = f.Close()
			}
		}
		if err := ownpath.File(path); err == nil {
			t.Errorf("%s is a file", name)
		}
	}
	path := filepath.Join(t.TempDir(), "file")
	f, err := ownpath.Open(path, os.O_WRONLY|os.O_CREATE, 0o600)
	must(t, err)
	_, err = f.WriteString("text")
	must(t, errors.Join(err, f.Close()))
	if text, err := ownpath.Read(path); err != nil || string(text) != "text" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := ownpath.Read(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	t.Logf("A6, files: tried %d, accepted %d; benign twins 2", tried, accepted)
	if os.Geteuid() != 0 {
		testutil.Missing(t, "root", "only root can make what is another user's")
	}
}

func device(path string) error {
	return syscall.Mknod(path, syscall.S_IFCHR|0o600, 1<<8|5) // zero
}
