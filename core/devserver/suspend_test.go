package devserver_test

import (
	"slices"
	"testing"

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
