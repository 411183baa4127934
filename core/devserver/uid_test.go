package devserver_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/devserver"
	"github.com/sero-labs/sero-runtime/core/event"
)

// C6: several servers without a port have one id, and an id changes with the port;
// each has a uid of its own that stays, is in every event, and names it.
func TestC6UIDStaysAndIsOnesOwn(t *testing.T) {
	inBubble(t, host, func(w *world) {
		uids := map[string]string{} // to names
		for name, script := range map[string]string{
			"one": "sleep 20; sh -c 'listen 3000' & sleep 30; kill %1; listen 3001", "two": "sleep 600", "three": "exit 1", "four": "listen 4000",
		} {
			spec := w.spec(script)
			spec.Name = name
			result, err := w.Start(w.t.Context(), spec, time.Second, nil)
			if err != nil || !regexp.MustCompile(`^ds_[0-9a-f]{16}$`).MatchString(result.Server.UID) || uids[result.Server.UID] != "" {
				w.t.Fatalf("%+v %v", result.Server, err)
			}
			uids[result.Server.UID] = name
		}
		time.Sleep(2 * time.Minute)
		for range 2 {
			for uid, name := range uids {
				for _, workspace := range []string{"", "shop", "another"} { // a uid needs none, nor the right one
					got, err := w.Get(devserver.Ref{Key: uid, WorkspaceID: workspace})
					if err != nil || got.Name != name || got.UID != uid {
						w.t.Errorf("%s in %q: %+v %v", name, workspace, got, err)
					}
				}
				if _, err := w.Restart(w.t.Context(), devserver.Ref{Key: uid}, time.Second, nil); err != nil {
					w.t.Error(err)
				}
			}
		}
		events := 0
		_ = w.events.Watch(w.t.Context(), 0, false, func(e event.Event) error {
			if strings.HasPrefix(string(e.Type), "devserver.") {
				events++
				if e.Name == "" || uids[e.UID] != e.Name {
					w.t.Errorf("%+v", e)
				}
			}
			return nil
		})
		if events < 2*len(uids) {
			w.t.Errorf("%d events", events)
		}
	})
}
