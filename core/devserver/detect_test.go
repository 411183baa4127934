package devserver_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sero-labs/sero-runtime/core/devserver"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

var container = fake.Script{}

// by runs a command that is no dev server, as a person in a terminal does, and
// gives what ends it.
func (w *world) by(command string) (end func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancelCause(w.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = w.manager.Exec(ctx, workspace.ExecOptions{Ref: workspace.Ref{Dir: w.dir("shop")}, Argv: []string{"sh", "-c", command}}, driver.ExecIO{}, nil, nil)
	})
	w.t.Cleanup(func() { cancel(errors.New("over")); wg.Wait() })
	time.Sleep(10 * time.Second)
	return func() {
		cancel(errors.New("it is ended"))
		wg.Wait()
		time.Sleep(time.Second)
	}
}

func TestB32ListenersNobodyRegisteredAreFound(t *testing.T) {
	inBubble(t, container, func(w *world) {
		end := w.by("listen -a 127.0.0.1 3000")
		got := w.get("3000")
		if !got.Detected || got.Status != devserver.StatusRunning || got.ID != "shop:workspace:root:3000" || got.PID == 0 ||
			got.URL != "http://10.99.0.3:3000" || len(got.Addresses) != 1 || got.Addresses[0] != "127.0.0.1:3000" {
			w.t.Errorf("%+v", got)
		}
		if w.Running() != 1 {
			w.t.Error(w.Running())
		}
		_, err := w.Restart(w.t.Context(), devserver.Ref{Key: got.ID}, 0, nil)
		if e := wantReason(w.t, err, driver.InvalidArgument); len(e.Remedies) == 0 {
			w.t.Error(e)
		}
		err = w.Logs(w.t.Context(), devserver.Ref{Key: got.ID}, false, 0, nil)
		_ = wantReason(w.t, err, driver.NotFound)
		end()
		if got := w.get("3000"); got.Status != devserver.StatusStopped || w.Running() != 0 {
			w.t.Errorf("%+v", got)
		}
		want := "devserver.running shop:workspace:root:3000 devserver.stopped shop:workspace:root:3000"
		if lines := strings.Join(w.eventLines(), " "); lines != want {
			w.t.Error(lines)
		}
		time.Sleep(15 * time.Minute)
		end = w.by("listen 4000") // whatever makes the watch look
		if list := w.List("shop"); len(list) != 1 || list[0].Port != 4000 {
			w.t.Errorf("what has gone is not forgotten: %+v", list)
		}
		end()
	})
}

// What comes and goes faster than anybody can look is no news each time.
func TestFoundServersThatFlapAreFewEvents(t *testing.T) {
	const pulse = "sleep 0.2; listen 3000 & sleep 0.2; kill $!; "
	inBubble(t, container, func(w *world) {
		w.by("listen 3000 & sleep 5; kill $!; " + strings.Repeat(pulse, 100) + "sleep 20; listen 3000 & sleep 600")
		time.Sleep(30 * time.Second) // it flaps
		if got, lines := w.get("3000"), w.eventLines(); got.Status != devserver.StatusRunning || len(lines) != 1 {
			w.t.Errorf("%+v %d events", got, len(lines))
		}
		time.Sleep(15 * time.Second) // it is down
		if got := w.get("3000"); got.Status != devserver.StatusStopped || got.PID != 0 {
			w.t.Errorf("%+v", got)
		}
		time.Sleep(30 * time.Second) // and up
		want := "devserver.running devserver.stopped devserver.running"
		if lines := strings.ReplaceAll(strings.Join(w.eventLines(), " "), " shop:workspace:root:3000", ""); lines != want {
			w.t.Errorf("%s", lines)
		}
	})
}

func TestB32NotEveryListenerIsAnnounced(t *testing.T) {
	for name, command := range map[string]string{
		"ephemeral": "listen 45000", "debugger": "listen 9229", "database": "listen 5432", "for a moment": "listen 3000 & sleep 1; kill $!; sleep 600",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, container, func(w *world) {
				w.by(command)
				if list := w.List(""); len(list) != 0 {
					w.t.Errorf("%+v", list)
				}
			})
		})
	}
	inBubble(t, host, func(w *world) { // B6: what listens on the host may be anybody's
		w.by("listen 3000")
		if list := w.List(""); len(list) != 0 {
			w.t.Errorf("%+v", list)
		}
	})
	inBubble(t, container, func(w *world) { // the other ports of a server that was started are its own
		w.start(w.spec("listen 5173 & listen 5174 & sleep 600"))
		time.Sleep(time.Minute)
		if list := w.List(""); len(list) != 1 || list[0].Detected {
			w.t.Errorf("%+v", list)
		}
	})
	inBubble(t, container, func(w *world) {
		command := ""
		for i := range 40 {
			command += fmt.Sprintf("listen %d & ", 3000+i)
		}
		w.by(command + "sleep 6000")
		if list := w.List(""); len(list) != 32 {
			w.t.Errorf("%d", len(list))
		}
	})
}

func TestB34StopOfAFoundServer(t *testing.T) {
	inBubble(t, container, func(w *world) {
		w.by("listen 3000")
		w.by("listen 4000")
		got, err := w.Stop(w.t.Context(), devserver.Ref{Key: "3000", WorkspaceID: "shop"})
		if err != nil || got.Status != devserver.StatusStopped || len(w.stopped) != 1 || w.stopped[0].Port != 3000 {
			w.t.Errorf("%+v %v %+v", got, err, w.stopped)
		}
		if got := w.get("4000"); got.Status != devserver.StatusRunning {
			w.t.Errorf("%+v", got)
		}
		if _, err := w.Stop(w.t.Context(), devserver.Ref{Key: "3000", WorkspaceID: "shop"}); err != nil {
			w.t.Error(err)
		}
	})
}

func TestB34StopInAContainer(t *testing.T) {
	for name, script := range map[string]string{
		"ignores TERM":       "trap '' TERM; while true; do listen 3000; done",
		"in the background":  "listen 3000 & listen 3001 & wait",
		"left behind":        "listen 3000 & exit 0",
		"a group of its own": "setsid listen 3000 & exit 0",
		"still starting":     "sleep 600",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, container, func(w *world) {
				result, err := w.Start(w.t.Context(), w.spec(script), 5*time.Second, nil)
				if err != nil {
					w.t.Fatal(err)
				}
				got, err := w.Stop(w.t.Context(), devserver.Ref{Key: result.Server.Name, WorkspaceID: "shop"})
				if err != nil || got.Status != devserver.StatusStopped || w.Running() != 0 {
					w.t.Errorf("%+v %v", got, err)
				}
				time.Sleep(10 * time.Second)
				if list := w.List("shop"); len(list) != 1 {
					w.t.Errorf("something is left: %+v", list)
				}
			})
		})
	}
}

// again is a new core over the sandboxes of an earlier one.
func (w *world) again() *world {
	w.t.Helper()
	second := &world{t: w.t, root: w.root, events: w.events, taken: map[string]bool{}, host: w.host, driver: w.driver, manager: w.manager}
	second.Supervisor = devserver.New(devserver.Options{Runner: runner{second}, Events: w.events, Grace: time.Second})
	w.t.Cleanup(second.Close)
	return second
}

func TestB43AServerInAContainerOutlivesTheCore(t *testing.T) {
	inBubble(t, container, func(w *world) {
		spec := w.spec("echo up; listen 3000")
		spec.Name = "web"
		before := w.start(spec)
		w.Close()
		if lines := w.eventLines(); len(lines) != 2 {
			w.t.Error("it was told to have ended:", lines)
		}
		next := w.again()
		next.Attend(w.t.Context(), "shop")
		time.Sleep(5 * time.Second)
		got := next.get("web") // its name is known from its processes
		if !got.Detected || got.Status != devserver.StatusRunning || got.ID != before.ID || got.PID != before.PID {
			w.t.Errorf("%+v", got)
		}
		// Asking for it again is not a second one, and tells the core its command.
		result, err := next.Start(w.t.Context(), spec, 0, nil)
		if err != nil || !result.AlreadyRunning || result.Server.PID != before.PID {
			w.t.Errorf("%+v %v", result, err)
		}
		restarted, err := next.Restart(w.t.Context(), devserver.Ref{Key: "web", WorkspaceID: "shop"}, 0, nil)
		if err != nil || restarted.Status != devserver.StatusRunning || restarted.ID != before.ID || restarted.Detected || restarted.PID == before.PID {
			w.t.Errorf("%+v %v", restarted, err)
		}
		if text := next.logs("web"); !strings.Contains(text, "up\n") {
			w.t.Errorf("%q", text)
		}
		if len(next.List("")) != 1 {
			w.t.Errorf("%+v", next.List(""))
		}
	})
	inBubble(t, host, func(w *world) {
		w.start(w.spec("listen 3000"))
		w.Close()
		synctest.Wait()
		err := w.manager.Listeners(w.t.Context(), "shop", func(l []driver.Listener) error {
			if len(l) != 0 {
				w.t.Errorf("it goes on in host mode: %+v", l)
			}
			return errSeen
		})
		if !errors.Is(err, errSeen) {
			w.t.Error(err)
		}
	})
}

func TestB32SeroJSONNamesWhatIsFound(t *testing.T) {
	inBubble(t, container, func(w *world) {
		text := `{"devServers": {"api": {"command": ["sh", "-c", "listen 3000"], "port": 3000, "env": {"A": "b"}}}}`
		if err := os.WriteFile(filepath.Join(w.dir("shop"), "sero.json"), []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
		w.by("listen 3000")
		if got := w.get("api"); !got.Detected || got.Port != 3000 {
			w.t.Errorf("%+v", got)
		}
		got, err := w.Restart(w.t.Context(), devserver.Ref{Key: "api", WorkspaceID: "shop"}, 0, nil)
		if err != nil || got.Status != devserver.StatusRunning || got.Detected || got.Command[2] != "listen 3000" {
			w.t.Errorf("%+v %v", got, err)
		}
	})
}

func TestFoundServersEndWithTheWorkspace(t *testing.T) {
	inBubble(t, container, func(w *world) {
		w.by("listen 3000")
		_, lines, err := w.manager.Stop(w.t.Context(), workspace.Ref{ID: "shop"}, time.Second)
		if err != nil || len(lines) != 1 {
			w.t.Error(lines, err)
		}
		synctest.Wait()
		if got := w.get("3000"); got.Status != devserver.StatusStopped || w.Running() != 0 {
			w.t.Errorf("%+v", got)
		}
		w.by("listen 3000")
		if got := w.get("3000"); got.Status != devserver.StatusRunning || len(w.List("")) != 1 {
			w.t.Errorf("%+v", w.List(""))
		}
	})
}

// A server that went down and that somebody starts again by hand is still the
// same: its preview, its command and its output stay.
func TestB37AServerThatSomebodyStartsAgainKeepsItsName(t *testing.T) {
	inBubble(t, container, func(w *world) {
		spec := w.spec("echo words; listen 3000 & sleep 5; kill $!; exit 3")
		spec.Name = "web"
		before := w.start(spec)
		w.becomes("web", devserver.StatusStopped)
		end := w.by("listen 3000")
		got := w.becomes("web", devserver.StatusRunning)
		if list := w.List(""); !got.Detected || got.ID != before.ID || got.PID == 0 || len(got.Command) == 0 || len(list) != 1 {
			w.t.Errorf("%+v", list)
		}
		if text := w.logs("web"); !strings.Contains(text, "words\n") || !strings.Contains(text, "[sero]") {
			w.t.Errorf("%q", text)
		}
		end()
		w.becomes("web", devserver.StatusStopped)
		time.Sleep(15 * time.Minute)
		w.by("listen 4000") // whatever makes the watch look
		if got := w.get("web"); got.Detected || got.Status != devserver.StatusStopped {
			w.t.Errorf("%+v", got)
		}
		w.by("listen 3000")
		w.becomes("web", devserver.StatusRunning)
		got, err := w.Restart(w.t.Context(), devserver.Ref{Key: "web", WorkspaceID: "shop"}, 0, nil)
		if err != nil || got.Status != devserver.StatusRunning || got.Detected || got.ID != before.ID || len(w.stopped) != 1 {
			w.t.Errorf("%+v %v %+v", got, err, w.stopped)
		}
	})
}

// A server of host mode is found again where its workspace is by now: in a
// container.
func TestAServerOfHostModeIsFoundAgainInAContainer(t *testing.T) {
	inBubble(t, container, func(w *world) {
		w.host = true
		spec := w.spec("listen 3000 & sleep 5; kill $!; exit 3")
		spec.Name = "web"
		if got := w.start(spec); got.URL != "http://localhost:3000" {
			w.t.Errorf("%+v", got)
		}
		w.becomes("web", devserver.StatusStopped)
		if _, _, err := w.manager.Stop(w.t.Context(), workspace.Ref{ID: "shop"}, 0); err != nil {
			w.t.Fatal(err)
		}
		w.host = false
		w.by("listen 3000")
		if got := w.becomes("web", devserver.StatusRunning); got.URL != "http://10.99.0.3:3000" {
			w.t.Errorf("%+v", got)
		}
	})
}

// A new core that starts a server at once does not take what it has not seen yet
// for the server's.
func TestWhatListenedBeforeIsNotAServers(t *testing.T) {
	inBubble(t, container, func(w *world) {
		shop, err := w.manager.Up(w.t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: w.dir("shop")}}, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		w.Close()
		var other sync.WaitGroup
		ctx, cancel := context.WithCancelCause(w.t.Context())
		other.Go(func() { // not through sero, as with docker exec
			_, _ = w.driver.Exec(ctx, driver.ExecSpec{SandboxID: shop.SandboxID, Argv: []string{"listen", "3000"}}, driver.ExecIO{})
		})
		synctest.Wait()
		next := w.again()
		if got := next.start(w.spec("sleep 5; listen 4000")); got.Port != 4000 || got.Status != devserver.StatusRunning {
			w.t.Errorf("%+v", got)
		}
		if _, err := next.Stop(w.t.Context(), devserver.Ref{Key: "4000"}); err != nil || len(next.stopped) != 0 {
			w.t.Errorf("%v: somebody else's was ended: %+v", err, next.stopped)
		}
		cancel(errors.New("over"))
		other.Wait()
	})
}
