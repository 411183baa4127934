package identity_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/identity"
)

func TestOpenTakesNoLink(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(top, "real/inner"), 0o700))
	must(os.Symlink("real", filepath.Join(top, "link")))
	must(os.Symlink("real/inner", filepath.Join(top, "last")))
	must(os.WriteFile(filepath.Join(top, "file"), nil, 0o600))
	want, err := identity.Of(filepath.Join(top, "link/inner"))
	must(err)
	dir, err := identity.Open(filepath.Join(top, "real/inner"))
	must(err)
	defer dir.Close()
	if dir.ID != want {
		t.Errorf("%v, want %v", dir.ID, want)
	}
	for _, path := range []string{"link/inner", "last", "file", "absent", "real/absent"} {
		if dir, err := identity.Open(filepath.Join(top, path)); err == nil {
			dir.Close()
			t.Errorf("%s was opened", path)
		}
	}
	if root, err := identity.Open("/"); err != nil {
		t.Error(err)
	} else {
		root.Close()
	}
}

func TestParse(t *testing.T) {
	id := identity.ID{Device: 1<<64 - 1, Inode: 7}
	if got, err := identity.Parse(id.String()); err != nil || got != id {
		t.Error(got, err)
	}
	for _, bad := range []string{"", "1", "1:", ":1", "1:2:3", "-1:2", " 1:2", "1:2\n", "01:2", "1:x", "99999999999999999999:1"} {
		if got, err := identity.Parse(bad); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}
