package devserver_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/devserver"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// A directory that does not answer holds up only its own workspace (F): others'
// servers are listed and started while sero.json of that one is being read.
func TestFAHungDirectoryFreezesNoOtherWorkspace(t *testing.T) {
	w := newWorld(t, container)
	gone := w.dir("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	var commands sync.WaitGroup
	defer commands.Wait()
	defer cancel(errors.New("over"))
	listens := make(chan struct{})
	commands.Go(func() {
		_, _ = w.manager.Exec(ctx, workspace.ExecOptions{Ref: workspace.Ref{Dir: gone}, Argv: []string{"sh", "-c", "listen -a 127.0.0.1 3000"}},
			driver.ExecIO{}, func(workspace.Workspace, string, int64) { close(listens) }, nil)
	})
	<-listens
	answer := testutil.Hang(t, gone)
	defer answer()
	if server := within(t, func() devserver.Server { return w.start(w.spec("listen -a 127.0.0.1 5173")) }); server.Name == "" {
		t.Errorf("the other workspace's server is %+v", server)
	}
	for found := false; !found; time.Sleep(10 * time.Millisecond) {
		found = within(t, func() bool { return len(w.List("gone")) == 1 && len(w.List("shop")) == 1 && w.Running() == 2 })
	}
	_, err := w.Start(t.Context(), devserver.Spec{Workspace: workspace.Ref{ID: "gone"}, Command: []string{"web"}, ByName: true}, 0, nil)
	wantReason(t, err, workspace.DirectoryUnresponsive)
}

// within fails the test when f takes as long as only something hung does.
func within[T any](t *testing.T, f func() T) T {
	t.Helper()
	done := make(chan T, 1)
	go func() { done <- f() }()
	select {
	case result := <-done:
		return result
	case <-time.After(30 * time.Second):
		t.Fatal("it waits for the directory that does not answer")
		panic("unreachable")
	}
}
