package workspace_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

func TestB43RejoinFindsWhatStillRuns(t *testing.T) {
	w := newWorld(t, fake.Script{})
	w.upDir(w.dir("runs", ""))
	w.upDir(w.dir("stopped", ""))
	w.up(workspace.UpOptions{Ref: workspace.Ref{Dir: w.dir("plain", "")}, Driver: "host"})
	if _, _, err := w.Stop(t.Context(), workspace.Ref{ID: "stopped"}, time.Second); err != nil {
		t.Fatal(err)
	}
	foreign := w.upDir(w.dir("foreign", ""))
	if err := w.box.Remove(t.Context(), foreign.SandboxID, true); err != nil {
		t.Fatal(err)
	}
	if _, err := w.box.Create(t.Context(), driver.SandboxSpec{ID: foreign.SandboxID, Labels: map[string]string{"made-by": "another"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.box.Start(t.Context(), foreign.SandboxID); err != nil {
		t.Fatal(err)
	}

	next := w.manager()
	if n, _ := next.Running(); n != 0 {
		t.Error(n)
	}
	var mu sync.Mutex
	var found []string
	rejoin := func() {
		next.Rejoin(t.Context(), func(id string) {
			mu.Lock()
			defer mu.Unlock()
			found = append(found, id)
		})
	}
	rejoin()
	rejoin() // finds nothing more
	if !slices.Equal(found, []string{"runs"}) {
		t.Error(found)
	}
	got, err := next.Get(t.Context(), workspace.Ref{ID: "runs"})
	if err != nil || got.State != workspace.StateRunning || got.Choice.Reason != "the strongest" {
		t.Errorf("%+v %v", got, err)
	}
	if n, _ := next.Running(); n != 1 {
		t.Error(n)
	}
	w.stopDriver("box", true)
	w.manager().Rejoin(t.Context(), func(id string) { t.Error(id) })
}
