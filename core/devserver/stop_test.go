package devserver_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/devserver"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func TestB35StopAndRestart(t *testing.T) {
	inBubble(t, host, func(w *world) {
		spec := w.spec("echo $A in $(pwd)")
		spec.Command = []string{"sh", "-c", "echo up $A; pwd; listen 3000"}
		spec.Dir, spec.Env = "web", []driver.EnvVar{{Name: "A", Value: "b"}}
		w.dir("shop/web")
		first := w.start(spec)
		got, err := w.Stop(w.t.Context(), devserver.Ref{Key: "3000", WorkspaceID: "shop"})
		if err != nil || got.Status != devserver.StatusStopped || got.ID != first.ID || got.PID != 0 {
			w.t.Fatalf("%+v %v", got, err)
		}
		if got, err = w.Stop(w.t.Context(), devserver.Ref{Key: first.ID}); err != nil || got.Status != devserver.StatusStopped {
			w.t.Errorf("a second stop: %+v %v", got, err)
		}
		time.Sleep(time.Second)
		again := w.start(spec) // the record is used again
		if again.ID != first.ID || len(w.List("shop")) != 1 {
			w.t.Error(again, w.List("shop"))
		}
		restarted, err := w.Restart(w.t.Context(), devserver.Ref{Key: first.Name, WorkspaceID: "shop"}, 0, nil)
		if err != nil || restarted.ID != first.ID || restarted.Status != devserver.StatusRunning || restarted.Name != first.Name ||
			!restarted.Started.After(first.Started) || restarted.Dir != "web" {
			w.t.Errorf("%+v %v", restarted, err)
		}
		text := w.logs("3000")
		if strings.Count(text, "up b\n") != 3 || strings.Count(text, "/web\n") != 3 || strings.Count(text, "[sero] restarted") != 1 {
			w.t.Errorf("%q", text)
		}
	})
}

func TestB34StopIsThorough(t *testing.T) {
	for name, script := range map[string]string{
		"ignores TERM":       "trap '' TERM; while true; do listen 3000; done",
		"in the background":  "listen 3000 & listen 3001 & wait",
		"left behind":        "listen 3000 & exit 0",
		"a group of its own": "setsid listen 3000 & exit 0",
		"still starting":     "sleep 600",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, host, func(w *world) {
				result, err := w.Start(w.t.Context(), w.spec(script), 5*time.Second, nil)
				if err != nil {
					w.t.Fatal(err)
				}
				if want := name != "still starting"; want != (result.Server.Status == devserver.StatusRunning) {
					w.t.Fatalf("%+v", result.Server)
				}
				got, err := w.Stop(w.t.Context(), devserver.Ref{Key: result.Server.Name, WorkspaceID: "shop"})
				if err != nil || got.Status != devserver.StatusStopped || w.Running() != 0 {
					w.t.Errorf("%+v %v", got, err)
				}
				err = w.manager.Listeners(w.t.Context(), "shop", func(l []driver.Listener) error {
					if len(l) != 0 {
						w.t.Errorf("still there: %+v", l)
					}
					return errSeen
				})
				if !errors.Is(err, errSeen) {
					w.t.Error(err)
				}
			})
		})
	}
}

var errSeen = errors.New("seen")

func TestRestartWaitsForAPortThatIsHeld(t *testing.T) {
	inBubble(t, host, func(w *world) {
		spec := w.spec("listen $PORT")
		spec.Port = 3000
		server := w.start(spec)
		w.take("127.0.0.1:3000") // somebody takes it the moment it is free
		got, err := w.Restart(w.t.Context(), devserver.Ref{Key: server.ID}, 0, nil)
		_ = wantReason(w.t, err, driver.PortInUse)
		if got.Status != devserver.StatusFailed || len(w.List("shop")) != 1 {
			w.t.Errorf("%+v", got)
		}
	})
}

func TestWorkspaceStopAndRemoveTakeServersAlong(t *testing.T) {
	inBubble(t, host, func(w *world) {
		w.start(w.spec("listen 3000"))
		w.start(w.spec("listen 3001"))
		_, lines, err := w.manager.Stop(w.t.Context(), workspace.Ref{ID: "shop"}, time.Second)
		if err != nil || len(lines) != 3 || !strings.HasPrefix(lines[0], "dev server ") {
			w.t.Error(lines, err)
		}
		if list := w.List("shop"); len(list) != 2 || list[0].Status != devserver.StatusStopped || w.Running() != 0 {
			w.t.Errorf("%+v", list)
		}
		w.start(w.spec("listen 3000"))
		if _, _, err := w.manager.Remove(w.t.Context(), workspace.Ref{ID: "shop"}); err != nil {
			w.t.Error(err)
		}
		if list := w.List(""); len(list) != 0 {
			w.t.Error(list)
		}
	})
}

func TestSandboxVanishes(t *testing.T) {
	inBubble(t, host, func(w *world) {
		w.start(w.spec("listen 3000"))
		if err := w.driver.Remove(w.t.Context(), "sero-shop", true); err != nil {
			w.t.Fatal(err)
		}
		w.becomes("3000", devserver.StatusStopped)
		time.Sleep(10 * time.Second)
		if w.Running() != 0 {
			w.t.Error("it is still live")
		}
		if got, err := w.Restart(w.t.Context(), devserver.Ref{Key: "3000"}, 0, nil); err != nil || got.Status != devserver.StatusRunning {
			w.t.Errorf("%+v %v", got, err)
		}
	})
}

func TestCloseEndsEverything(t *testing.T) {
	inBubble(t, host, func(w *world) {
		w.start(w.spec("listen 3000"))
		_, _ = w.Start(w.t.Context(), w.spec("sleep 600"), time.Second, nil)
		w.Close()
		if w.Running() != 0 {
			w.t.Error("something runs")
		}
		_, err := w.Start(w.t.Context(), w.spec("listen 3001"), 0, nil)
		_ = wantReason(w.t, err, driver.Canceled)
	})
}
