package workspace_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

// TestD8DamagedInstallation reads an installation's id from the copy that is
// sound, recovers it from sandboxes of known directories where none is, and else
// makes a new one, and says so (row D8).
func TestD8DamagedInstallation(t *testing.T) {
	w := newWorld(t, fake.Script{})
	first, lost, err := workspace.InstallationID(w.state, nil)
	if err != nil || lost || first == "" {
		t.Fatal(first, lost, err)
	}
	mine := func(_ *world, o *workspace.Options) { o.Installation = first }
	m := w.manager(mine)
	if _, err := m.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: w.dir("shop", "")}}, nil); err != nil {
		t.Fatal(err)
	}
	recovered := 0
	read := func() (string, bool) {
		t.Helper()
		id, lost, err := workspace.InstallationID(w.state, func() string {
			recovered++
			return workspace.RecoverInstallation(t.Context(), w.state, w, []string{"nosuch", "box"})
		})
		if err != nil {
			t.Fatal(err)
		}
		return id, lost
	}
	file, second := filepath.Join(w.state, "installation"), filepath.Join(w.state, "installation.copy")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damages := map[string]string{
		"empty": "", "cut": string(whole[:9]), "cut in the checksum": string(whole[:len(whole)-4]), "random": "\x00\xff\x13garbage\n",
		"another's id under the old sum": other(whole[0]) + string(whole[1:]), "spaces": " \n", "long": strings.Repeat("a", 1<<20),
	}
	for name, text := range damages {
		for _, damaged := range [][]string{{file}, {second}, {file, second}} {
			for _, path := range damaged {
				w.write(path, text)
			}
			before := recovered
			id, lost := read()
			if both := len(damaged) == 2; id != first || lost != both || (recovered > before) != both {
				t.Errorf("%s, %d files: %s instead of %s, lost %v", name, len(damaged), id, first, lost)
			}
			if again, lost := read(); again != first || lost {
				t.Errorf("%s: at the next start %s, lost %v", name, again, lost)
			}
		}
	}
	for _, path := range []string{file, second} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if id, lost := read(); id != first || !lost {
		t.Errorf("both are gone: %s, %v", id, lost)
	}
	// What an older sero wrote is read, and kept with a checksum.
	plain := strings.Fields(string(whole))[0] + "\n"
	w.write(file, plain)
	if err := os.Remove(second); err != nil {
		t.Fatal(err)
	}
	if id, lost := read(); id != first || lost {
		t.Errorf("without a checksum: %s, %v", id, lost)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) == plain {
		t.Errorf("it has no checksum: %q, %v", text, err)
	}
	// Nothing to recover it from.
	w.down = map[string]bool{"box": true}
	w.write(file, "")
	w.write(second, "")
	fresh, lost := read()
	if fresh == first || fresh == "" || !lost {
		t.Errorf("%s, %v", fresh, lost)
	}
	if again, lost := read(); again != fresh || lost {
		t.Errorf("the new one does not stay: %s, %v", again, lost)
	}
}

// other is a letter that is not c.
func other(c byte) string {
	if c == 'x' {
		return "y"
	}
	return "x"
}
