package environ_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sero-labs/sero-runtime/core/environ"
)

// TestD5LinkToOwnPath makes a link to the workspace where nothing is, in directories
// that may have to be made; it replaces nothing and follows no link (row D5).
func TestD5LinkToOwnPath(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	script := "mkdir workspace there elsewhere && ln -s elsewhere link && ln -s gone dangling && : >file"
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", script)
	cmd.Dir = top
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	made := []string{"a", "b/c/d", "it's $x \"y\"/e", "there/f", "-n/g"}
	left := []string{"there", "link", "dangling", "file", "file/h", "link/i", "link/j/k", "dangling/l"}
	places := environ.Places{Dir: top + "/workspace"}
	for _, name := range append(made, left...) {
		places.Links = append(places.Links, top+"/"+name)
	}
	for range 2 { // it may run again
		cmd = exec.CommandContext(t.Context(), "sh", "-eu")
		cmd.Stdin = openScript(t, places.Script())
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for _, name := range made {
		if to, err := os.Readlink(top + "/" + name); to != top+"/workspace" {
			t.Errorf("%s leads to %q: %v", name, to, err)
		}
	}
	for _, name := range left {
		if to, _ := os.Readlink(top + "/" + name); to == top+"/workspace" {
			t.Errorf("%s leads to the workspace", name)
		}
	}
	if in, err := os.ReadDir(top + "/elsewhere"); err != nil || len(in) > 0 {
		t.Errorf("%v: %v", in, err)
	}
	if got := (environ.Places{Dir: "/workspace"}).Script(); got != "" {
		t.Errorf("without places: %q", got)
	}
}

func openScript(t *testing.T, script string) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(name, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}
