package workspace_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

// However often workspaces are listed, nobody but one waits for a directory that
// does not answer.
func TestOneLookAtADirectoryThatDoesNotAnswer(t *testing.T) {
	w := newWorld(t, fake.Script{})
	w.upDir(w.dir("shop", ""))
	gone := w.dir("gone", "")
	w.upDir(gone)
	answer := testutil.Hang(t, gone)
	states := func() (shop, other workspace.State) {
		for _, ws := range w.List(t.Context()) {
			if ws.ID == "shop" {
				shop = ws.State
			} else {
				other = ws.State
			}
		}
		return shop, other
	}
	looking := func() int {
		stacks := make([]byte, 1<<20)
		return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "(*looks).at.func1(")
	}
	for range 5 {
		if shop, other := states(); shop != workspace.StateRunning || other != workspace.StateUnknown {
			t.Errorf("shop is %s, the other one %s", shop, other)
		}
	}
	if n := looking(); n != 1 {
		t.Errorf("%d wait for the directory", n)
	}
	answer()
	eventually(t, "nobody waits", func() bool { return looking() == 0 })
	if shop, other := states(); shop != workspace.StateRunning || other != workspace.StateRunning {
		t.Errorf("shop is %s, the other one %s", shop, other)
	}
}
