package workspace_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

// TestD7AnothersID gives a workspace another id by itself where its own is that of
// a sandbox of another sero on the same engine, and touches that one never (row D7).
func TestD7AnothersID(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir := w.dir("a/shop", "")
	w.upDir(dir)
	there := func(w *world, o *workspace.Options) { o.StateDir, o.Installation = w.t.TempDir(), "there" }
	other := w.manager(there)
	up := func(m *workspace.Manager, o workspace.UpOptions) (workspace.Workspace, error) {
		return m.Up(context.Background(), o, nil)
	}
	second, err := up(other, workspace.UpOptions{Ref: workspace.Ref{Dir: w.dir("b/shop", "")}})
	if err != nil || !strings.HasPrefix(second.ID, "shop-") {
		t.Fatal(second.ID, err)
	}
	if again, err := up(other, workspace.UpOptions{Ref: workspace.Ref{Dir: w.dir("b/shop", "")}}); err != nil || again.ID != second.ID {
		t.Error(again.ID, err)
	}
	// The very same directory, by several at once, and by a command.
	third := w.manager(func(w *world, o *workspace.Options) { there(w, o); o.Installation = "elsewhere" })
	var all sync.WaitGroup
	ids := make([]string, 8)
	for i := range ids {
		all.Go(func() {
			got, err := up(third, workspace.UpOptions{Ref: workspace.Ref{Dir: dir}})
			if err != nil {
				t.Error(err)
			}
			ids[i] = got.ID
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] || id == "shop" || id == second.ID {
			t.Error(ids)
		}
	}
	fourth := w.manager(func(w *world, o *workspace.Options) { there(w, o); o.Installation = "yonder" })
	if _, err := fourth.Exec(t.Context(), workspace.ExecOptions{Ref: workspace.Ref{Dir: dir}, Argv: []string{"true"}}, driver.ExecIO{}, nil, nil); err != nil {
		t.Error(err)
	}
	if list := fourth.List(t.Context()); len(list) != 1 {
		t.Error(list)
	}
	// An id that somebody chose is that id or an error.
	_, err = up(w.manager(there), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}, NewID: "shop"})
	wantReason(t, err, driver.ForeignResource)
	_, err = up(w.manager(there), workspace.UpOptions{Ref: workspace.Ref{Dir: w.dir("named", `{"id": "shop"}`)}})
	wantReason(t, err, driver.ForeignResource)
	if w.box.Calls("RemoveSandbox") != 0 {
		t.Error("somebody's sandbox was removed")
	}
	if got := w.upDir(dir); got.ID != "shop" {
		t.Error("the first:", got.ID)
	}
}
