package workspace_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

// TestA8TheUserOfAFileWaitsForTrust names users in files, root in every spelling
// and others, whose set-id programs would be somebody else's on the machine.
func TestA8TheUserOfAFileWaitsForTrust(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir := w.dir("shop", "")
	ref := workspace.Ref{Dir: dir}
	left := func() bool {
		return slices.Contains(w.upDir(dir).Warnings, "user of sero.json is left out until you trust it with: sero trust -w shop")
	}
	tried, accepted := 0, 0
	for _, user := range []string{"root", "0", "00", "0:0", "root:root", "0:root", "root:0", "0:1000", "1000:0", "1000:root", "toor", "7", "7:8", "nobody"} {
		w.write(filepath.Join(dir, "sero.json"), fmt.Sprintf(`{"user": %q, "env": {"N": "1"}}`, user))
		tried++
		seen := w.sh(workspace.ExecOptions{Ref: ref}, "id")
		if shown := w.inspect("shop").User; shown != "" || !left() || seen != "0" { // the image's own
			accepted++
			t.Errorf("%s: before it is trusted commands run as %q %q", user, shown, seen)
		}
		if seen := w.sh(workspace.ExecOptions{Ref: ref, User: "9"}, "id"); seen != "9" {
			t.Errorf("a person's --user gives %q", seen)
		}
		w.trust(dir)
		if shown := w.inspect("shop").User; shown != user || left() {
			t.Errorf("%s: trusted, commands run as %q", user, shown)
		}
		if seen := w.sh(workspace.ExecOptions{Ref: ref}, "id"); user[0] == '7' && seen != "7" {
			t.Errorf("%s: trusted, commands run as %q", user, seen)
		}
		w.write(filepath.Join(dir, "sero.json"), fmt.Sprintf(`{"user": %q, "env": {"N": "2"}}`, user)) // not what was trusted
		if shown := w.inspect("shop").User; shown != "" {
			t.Errorf("%s: another text is trusted", user)
		}
	}
	t.Logf("%d tried, %d accepted", tried, accepted)
}
