package devserver_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/devserver"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

func TestB19DevServersRunAgainInARecreatedSandbox(t *testing.T) {
	inBubble(t, fake.Script{}, func(w *world) {
		web := w.spec("listen 3000")
		web.Name = "web"
		stopped := w.spec("listen 4000")
		stopped.Name = "stopped"
		w.start(web)
		w.start(stopped)
		if _, err := w.Stop(w.t.Context(), devserver.Ref{Key: "stopped", WorkspaceID: "shop"}); err != nil {
			w.t.Fatal(err)
		}
		before, err := w.driver.Get(w.t.Context(), "sero-shop")
		if err != nil {
			w.t.Fatal(err)
		}
		done, err := w.manager.Recreate(w.t.Context(), workspace.RecreateOptions{Ref: workspace.Ref{ID: "shop"}}, nil)
		if err != nil || !slices.Equal(done.Restarted, []string{"dev server web"}) || len(done.Ended) != 2 {
			w.t.Fatalf("%+v %v", done, err)
		}
		after, err := w.driver.Get(w.t.Context(), "sero-shop")
		if err != nil || after.Instance == before.Instance {
			w.t.Error("it is the same sandbox", err)
		}
		if got := w.becomes("web", devserver.StatusRunning); got.Port != 3000 {
			w.t.Errorf("%+v", got)
		}
		if got := w.get("stopped"); got.Status != devserver.StatusStopped {
			w.t.Errorf("%+v", got)
		}
		err = w.manager.Listeners(w.t.Context(), "shop", func(l []driver.Listener) error {
			if len(l) != 1 || l[0].Port != 3000 {
				w.t.Errorf("%+v", l)
			}
			return errSeen
		})
		_ = err
	})
}

// A sandbox that cannot be taken away is as it was, with its servers: those that
// were stopped for it run again, also when who asked has gone away.
func TestB19DevServersRunAgainWhereTheSandboxStays(t *testing.T) {
	stuck := []fake.Rule{{Call: "RemoveSandbox", Sandbox: "sero-shop", Error: &fake.Failure{Reason: driver.Internal, Message: "it is stuck"}}}
	hangs := []fake.Rule{{Call: "StopSandbox", Hang: true, Times: 1}}
	for name, rules := range map[string][]fake.Rule{"stuck": stuck, "given up": hangs} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, fake.Script{Rules: rules}, func(w *world) {
				web := w.spec("listen 3000")
				web.Name = "web"
				w.start(web)
				before, err := w.driver.Get(w.t.Context(), "sero-shop")
				if err != nil {
					w.t.Fatal(err)
				}
				ctx, cancel := context.WithTimeoutCause(w.t.Context(), 5*time.Second, driver.Errorf(driver.Canceled, "given up"))
				defer cancel()
				done, err := w.manager.Recreate(ctx, workspace.RecreateOptions{Ref: workspace.Ref{ID: "shop"}}, nil)
				if err == nil || !slices.Equal(done.Restarted, []string{"dev server web"}) || !strings.Contains(err.Error(), "runs again: dev server web") {
					w.t.Fatalf("%+v: %v", done, err)
				}
				if got := w.becomes("web", devserver.StatusRunning); got.Port != 3000 {
					w.t.Errorf("%+v", got)
				}
				if after, err := w.driver.Get(w.t.Context(), "sero-shop"); err != nil || after.Instance != before.Instance {
					w.t.Errorf("it is another sandbox: %+v, %+v: %v", before, after, err)
				}
			})
		})
	}
}
