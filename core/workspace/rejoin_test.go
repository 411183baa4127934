package workspace_test

import (
	"context"
	"errors"
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

// TestC8OneThatHangsHoldsUpNoOther has a sandbox that does not answer while another
// is taken up: what was left of the other is known without it.
func TestC8OneThatHangsHoldsUpNoOther(t *testing.T) {
	w := newWorld(t, fake.Script{})
	w.upDir(w.dir("hung", ""))
	w.upDir(w.dir("shop", ""))
	w.script(fake.Script{Rules: []fake.Rule{{Call: "GetSandbox", Sandbox: "sero-hung", Hang: true}}})
	next := w.manager()
	if next.Rejoined("nosuch") != nil || next.Rejoined("shop") == nil {
		t.Fatal("it is not known what is to be waited for")
	}
	shop, hung := next.Rejoined("shop"), next.Rejoined("hung")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		next.Rejoin(ctx, func(string) {})
	}()
	select {
	case <-shop:
	case <-time.After(guard):
		t.Fatal("shop waits for hung")
	}
	select {
	case <-hung:
		t.Error("hung is known, though it does not answer")
	default:
	}
	if next.Rejoined("shop") != nil {
		t.Error("shop is waited for still")
	}
	cancel(errors.New("the test is over"))
	<-done
	<-hung
}
