package workspace_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

// moved is a world whose workspace has left a sandbox behind in box, for the host.
func moved(t *testing.T, script fake.Script) *world {
	t.Helper()
	lasting := func(_ *world, o *workspace.Options) { o.Lasting = func() []string { return []string{"box", "nobody"} } }
	w := newWorld(t, script, lasting)
	dir := w.dir("shop", "")
	w.upDir(dir)
	if _, _, err := w.Stop(t.Context(), workspace.Ref{ID: "shop"}, 0); err != nil {
		t.Fatal(err)
	}
	if got := w.up(workspace.UpOptions{Ref: workspace.Ref{Dir: dir}, Driver: "host"}); !got.Choice.HostMode {
		t.Fatalf("%+v", got.Choice)
	}
	if _, err := w.box.Get(t.Context(), "sero-shop"); err != nil {
		t.Fatal("the sandbox is gone already:", err)
	}
	w.Close()
	w.Manager = w.manager(lasting) // what was before outlasts the daemon
	return w
}

// TestRemoveWhatWasLeftElsewhere removes a workspace that has moved to the host:
// what it left in its driver goes too, or is told where that cannot be asked.
func TestRemoveWhatWasLeftElsewhere(t *testing.T) {
	remove := func(w *world) []string {
		t.Helper()
		id, lines, err := w.Remove(t.Context(), workspace.Ref{ID: "shop"})
		if id != "shop" || err != nil || !slices.Contains(lines, "the record of workspace shop") {
			t.Errorf("%s %v %v", id, lines, err)
		}
		return lines
	}
	t.Run("it is removed", func(t *testing.T) {
		w := moved(t, fake.Script{})
		if lines := remove(w); !slices.Contains(lines, "sandbox sero-shop in driver box") || len(lines) > 3 {
			t.Error(lines)
		}
		if _, err := w.box.Get(t.Context(), "sero-shop"); driver.ReasonOf(err) != driver.NotFound {
			t.Error("it is left:", err)
		}
	})
	t.Run("its engine is stopped", func(t *testing.T) {
		w := moved(t, fake.Script{Rules: []fake.Rule{{Call: "RemoveSandbox", Error: &fake.Failure{Reason: driver.EngineNotRunning, Message: "it does not run"}}}})
		lines := remove(w)
		if !slices.ContainsFunc(lines, func(l string) bool {
			return strings.HasPrefix(l, "driver box: a sandbox sero-shop may be left: it does not run")
		}) {
			t.Error(lines)
		}
	})
	t.Run("another's is left", func(t *testing.T) {
		w := moved(t, fake.Script{})
		if err := w.box.Remove(t.Context(), "sero-shop", true); err != nil {
			t.Fatal(err)
		}
		other := driver.SandboxSpec{ID: "sero-shop", WorkspaceDir: t.TempDir(), Image: "sero-node:latest", Labels: map[string]string{driver.LabelManaged: "true", driver.LabelInstallation: "elsewhere"}}
		if _, err := w.box.Create(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		if lines := remove(w); strings.Contains(strings.Join(lines, " "), "driver box") {
			t.Error(lines)
		}
		if _, err := w.box.Get(t.Context(), "sero-shop"); err != nil {
			t.Error("it was removed:", err)
		}
	})
	t.Run("it was never there", func(t *testing.T) {
		w := newWorld(t, fake.Script{Rules: []fake.Rule{{Call: "GetSandbox", Error: &fake.Failure{Reason: driver.EngineNotRunning}}}},
			func(_ *world, o *workspace.Options) { o.Lasting = func() []string { return []string{"box"} } })
		w.up(workspace.UpOptions{Ref: workspace.Ref{Dir: w.dir("shop", "")}, Driver: "host"})
		if lines := remove(w); strings.Contains(strings.Join(lines, " "), "driver box") {
			t.Error(lines)
		}
	})
}
