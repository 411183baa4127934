package devserver_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sero-labs/sero-runtime/core/devserver"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

var host = fake.Script{Isolation: "none"}

func TestB31B32B33StartFindsThePort(t *testing.T) {
	inBubble(t, host, func(w *world) {
		spec := w.spec("echo ready; sleep 2; listen 3000")
		spec.Name = "web"
		got := w.start(spec)
		if got.ID != "shop:workspace:root:3000" || got.Status != devserver.StatusRunning || got.URL != "http://localhost:3000" ||
			got.Port != 3000 || got.PID == 0 || got.Name != "web" || got.Started.IsZero() {
			t := w.t
			t.Errorf("%+v", got)
		}
		if text := w.logs("web"); !strings.HasPrefix(text, "ready\n") {
			w.t.Errorf("%q", text)
		}
		want := []string{"devserver.starting shop:workspace:root:0", "devserver.running shop:workspace:root:3000"}
		if diff := cmp.Diff(want, w.eventLines()); diff != "" {
			w.t.Error(diff)
		}
		card := w.spec("listen 3001")
		card.Scope, card.CardID = "card", "c1"
		if got := w.start(card); got.ID != "shop:card:c1:3001" {
			w.t.Error(got.ID)
		}
		if list := w.List("shop"); len(list) != 2 || w.Running() != 2 || len(w.List("other")) != 0 || len(w.List("")) != 2 {
			w.t.Error(list)
		}
	})
}

func TestB32Address(t *testing.T) {
	for name, c := range map[string]struct {
		script  fake.Script
		command string
		want    string
	}{
		"host, wildcard": {host, "listen -a 0.0.0.0 3000", "http://localhost:3000"},
		"host, loopback": {host, "listen -a 127.0.0.1 3000", "http://localhost:3000"},
		"host, v6":       {host, "listen -a ::1 3000", "http://localhost:3000"},
		"host, both":     {host, "listen -a ::1 3000 & listen -a 127.0.0.1 3000", "http://localhost:3000"},
		"host, any":      {host, "listen -a :: 3000", "http://localhost:3000"},
		"sandbox":        {fake.Script{}, "listen -a 0.0.0.0 3000", "http://10.99.0.3:3000"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, c.script, func(w *world) {
				server := w.start(w.spec(c.command))
				if name == "host, both" {
					time.Sleep(3 * time.Second)
					server = w.get("3000")
				}
				if server.URL != c.want {
					w.t.Errorf("%+v", server)
				}
			})
		})
	}
}

func TestB33FailedWithItsLastLines(t *testing.T) {
	inBubble(t, host, func(w *world) {
		got := w.start(w.spec("echo one; sleep 1.03; echo two >&2; exit 3"))
		if got.Status != devserver.StatusFailed || !slices.Equal(got.LogTail, []string{"one", "two"}) ||
			got.StatusMessage != "the command exited with code 3 before it listened" || got.ID != "shop:workspace:root:0" {
			w.t.Errorf("%+v", got)
		}
		if w.Running() != 0 {
			w.t.Error("something runs")
		}
		_, err := w.Start(w.t.Context(), devserver.Spec{Workspace: workspace.Ref{ID: "shop"}, Command: []string{"no-such-program"}}, 0, nil)
		_ = wantReason(w.t, err, driver.CommandNotFound)
		if list := w.List("shop"); len(list) != 1 {
			w.t.Errorf("what never ran is listed: %+v", list)
		}
	})
}

// A job that is done did not fail, whatever it wrote and left; it never listened
// either.
func TestC5JobThatEndsWithZeroIsNoFailure(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		status devserver.Status
		why    string
	}{
		"at once":                {"echo done", devserver.StatusStopped, "the command exited with code 0 before it listened"},
		"later":                  {"sleep 20; echo done", devserver.StatusStopped, "the command exited with code 0 before it listened"},
		"failed":                 {"echo done; exit 1", devserver.StatusFailed, "the command exited with code 1 before it listened"},
		"leaves a server":        {"echo done; listen 3000 & exit 0", devserver.StatusRunning, ""},
		"leaves one that starts": {"echo done; sh -c 'sleep 1; echo starting; listen 3000' & exit 0", devserver.StatusRunning, ""},
		"listened before it":     {"sh -c 'listen 3000' & sleep 10; kill $!; exit 0", devserver.StatusRunning, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, host, func(w *world) {
				got := w.start(w.spec(c.script))
				if got.Status != c.status || c.why != "" && got.StatusMessage != c.why {
					w.t.Errorf("%+v", got)
				}
				if c.status != devserver.StatusRunning && !slices.Equal(got.LogTail, []string{"done"}) {
					w.t.Errorf("its last lines: %q", got.LogTail)
				}
			})
		})
	}
}

func TestB33StatusFollowsTheListener(t *testing.T) {
	inBubble(t, host, func(w *world) {
		w.start(w.spec("sh -c 'listen 3000' & sleep 20; kill $!; sleep 20; listen 3000"))
		w.becomes("3000", devserver.StatusRunning)
		if got := w.becomes("3000", devserver.StatusStopped); !strings.Contains(got.StatusMessage, "nothing listens on port 3000") {
			w.t.Error(got.StatusMessage)
		}
		w.becomes("3000", devserver.StatusRunning)
		if n := w.Running(); n != 1 {
			w.t.Error(n)
		}
	})
	inBubble(t, host, func(w *world) {
		w.start(w.spec("sh -c 'listen 3000' & sleep 10; kill $!; exit 4"))
		w.becomes("3000", devserver.StatusStopped)
		time.Sleep(time.Second)
		if got := w.get("3000"); !strings.Contains(got.StatusMessage, "code 4") || w.Running() != 0 {
			w.t.Errorf("%+v", got)
		}
	})
}

func TestWaitIsOver(t *testing.T) {
	inBubble(t, host, func(w *world) {
		result, err := w.Start(w.t.Context(), w.spec("sleep 100; listen 3000"), 5*time.Second, nil)
		if err != nil || result.Server.Status != devserver.StatusStarting {
			w.t.Fatalf("%+v %v", result.Server, err)
		}
		ctx, cancel := context.WithTimeoutCause(w.t.Context(), time.Second, errors.New("the caller has gone"))
		defer cancel()
		_, err = w.Start(ctx, w.spec("sleep 100; listen 3000"), 0, nil)
		if err == nil {
			w.t.Error("a caller that went away was answered")
		}
		w.becomes("3000", devserver.StatusRunning)
	})
}

func TestPortRules(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		port   uint16
		want   uint16
	}{
		"debugger first":          {"listen 9229 & sleep 1; listen 3000", 0, 3000},
		"debugger only":           {"listen 9229", 0, 9229},
		"ephemeral first":         {"listen 40123 & sleep 1; listen 8080", 0, 8080},
		"ephemeral only":          {"listen 40123", 0, 40123},
		"requested wins":          {"listen 3000 & sleep 1; listen 4000", 4000, 4000},
		"requested is not heeded": {"listen 3000", 4000, 3000},
		"PORT is given":           {"listen $PORT", 4321, 4321},
		"requested comes late":    {"listen 3000 & sleep 8; listen 4000", 4000, 4000},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, host, func(w *world) {
				spec := w.spec(c.script)
				spec.Port = c.port
				got := w.start(spec)
				if name == "requested comes late" {
					time.Sleep(10 * time.Second)
					got = w.List("shop")[0]
				}
				if got.Port != c.want {
					w.t.Errorf("%d, want %d", got.Port, c.want)
				}
			})
		})
	}
	inBubble(t, host, func(w *world) { // a debugger that is left is not the server
		w.start(w.spec("listen 9229 & sh -c 'listen 3000' & sleep 5; kill $!; sleep 600"))
		w.becomes("3000", devserver.StatusStopped)
		time.Sleep(10 * time.Second)
		if got := w.get("3000"); got.Status != devserver.StatusStopped {
			w.t.Errorf("%+v", got)
		}
	})
}

func TestNeverSomebodyElsesListener(t *testing.T) {
	inBubble(t, host, func(w *world) {
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancelCause(w.t.Context())
		wg.Go(func() { // a command that is not a dev server
			_, _ = w.manager.Exec(ctx, workspace.ExecOptions{Ref: workspace.Ref{Dir: w.dir("shop")}, Argv: []string{"listen", "3000"}}, driver.ExecIO{}, nil, nil)
		})
		time.Sleep(time.Second)
		result, err := w.Start(w.t.Context(), w.spec("sleep 600"), 10*time.Second, nil)
		if err != nil || result.Server.Status != devserver.StatusStarting || result.Server.Port != 0 {
			w.t.Errorf("%+v %v", result.Server, err)
		}
		spec := w.spec("listen 3000")
		spec.Port = 3000
		before, _ := w.count()
		_, err = w.Start(w.t.Context(), spec, 0, nil)
		if e := wantReason(w.t, err, driver.PortInUse); !strings.Contains(e.Message, "listen") || len(e.Remedies) == 0 {
			w.t.Error(e)
		}
		if after, _ := w.count(); after != before {
			w.t.Error("something was run before the refusal")
		}
		if _, err := w.Stop(w.t.Context(), devserver.Ref{Key: result.Server.Name, WorkspaceID: "shop"}); err != nil {
			w.t.Error(err)
		}
		if _, kills := w.count(); kills != 0 {
			w.t.Error("somebody else's listener was signalled")
		}
		cancel(errors.New("over"))
		wg.Wait()
	})
}

func TestPortInUse(t *testing.T) {
	inBubble(t, host, func(w *world) {
		w.start(w.spec("listen 3000"))
		other := w.spec("exec listen 3000")
		other.Workspace.Dir = w.dir("other")
		other.Port = 3000
		_, err := w.Start(w.t.Context(), other, 0, nil)
		if e := wantReason(w.t, err, driver.PortInUse); !strings.Contains(e.Message, "of workspace shop") || e.Remedies[0].Command == nil {
			w.t.Error(e, e.Remedies)
		}
		for port, address := range map[uint16]string{5000: "127.0.0.1:5000", 7000: "[::1]:7000"} {
			w.take(address)
			other.Port = port
			_, err = w.Start(w.t.Context(), other, 0, nil)
			if e := wantReason(w.t, err, driver.PortInUse); !strings.Contains(e.Message, "another program") {
				w.t.Error(e)
			}
		}
		if list := w.List("other"); len(list) != 0 {
			w.t.Error(list)
		}
	})
}

func TestSameCommandIsNotStartedTwice(t *testing.T) {
	inBubble(t, host, func(w *world) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		joined := 0
		for range 40 {
			wg.Go(func() {
				result, err := w.Start(w.t.Context(), w.spec("sleep 3; listen 3000"), 0, nil)
				if err != nil || result.Server.ID != "shop:workspace:root:3000" {
					w.t.Errorf("%+v %v", result.Server, err)
				}
				mu.Lock()
				defer mu.Unlock()
				if result.AlreadyRunning {
					joined++
				}
			})
		}
		wg.Wait()
		if execs, _ := w.count(); execs != 1 || joined != 39 {
			w.t.Error(execs, joined)
		}
		for what, change := range map[string]func(*devserver.Spec){
			"dir":   func(s *devserver.Spec) { s.Dir = "sub" },
			"card":  func(s *devserver.Spec) { s.CardID = "c2" },
			"scope": func(s *devserver.Spec) { s.Scope = "card" },
			"port":  func(s *devserver.Spec) { s.Port = 3000 }, // the same port is the same server
		} {
			w.dir("shop/sub")
			spec := w.spec("sleep 3; listen 3000")
			change(&spec)
			result, err := w.Start(w.t.Context(), spec, time.Second, nil)
			if err != nil || result.AlreadyRunning != (what == "port") {
				w.t.Errorf("%s: %+v %v", what, result, err)
			}
		}
		if _, err := w.Stop(w.t.Context(), devserver.Ref{Key: "shop:workspace:root:3000"}); err != nil {
			w.t.Error(err)
		}
	})
}

func TestB38Logs(t *testing.T) {
	inBubble(t, host, func(w *world) {
		w.start(w.spec("echo 1; echo 2; echo 3; listen 3000 >/dev/null & sleep 5; echo later; sleep 600"))
		synctest.Wait() // output and listeners come by ways of their own
		var mu sync.Mutex
		var followed strings.Builder
		ctx, cancel := context.WithCancelCause(w.t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			err := w.Logs(ctx, devserver.Ref{Key: "3000"}, true, 2, func(p []byte) error {
				mu.Lock()
				defer mu.Unlock()
				followed.Write(p)
				return nil
			})
			if !errors.Is(err, errSeen) {
				w.t.Error(err)
			}
		})
		time.Sleep(10 * time.Second)
		cancel(errSeen)
		wg.Wait()
		if followed.String() != "2\n3\nlater\n" {
			w.t.Errorf("%q", followed.String())
		}
		nothing := func(p []byte) error { return fmt.Errorf("none was asked for: %q", p) }
		if err := w.Logs(w.t.Context(), devserver.Ref{Key: "3000"}, false, -1, nothing); err != nil {
			w.t.Error(err)
		}
		err := w.Logs(w.t.Context(), devserver.Ref{Key: "nosuch"}, false, 0, nil)
		_ = wantReason(w.t, err, driver.NotFound)
	})
}

func TestLookup(t *testing.T) {
	inBubble(t, host, func(w *world) {
		a := w.spec("listen 3000")
		a.Name = "web"
		w.start(a)
		b := w.spec("listen 3001; true")
		b.Name = "web"
		if got := w.start(b); got.Name != "web-2" {
			w.t.Error(got.Name)
		}
		c := w.spec("listen 3002")
		c.Name, c.Workspace.Dir = "web", w.dir("other")
		w.start(c)
		for key, want := range map[string]string{"web": "shop:workspace:root:3000", "3001": "shop:workspace:root:3001", "other:workspace:root:3002": "other:workspace:root:3002"} {
			if got := w.get(key); got.ID != want {
				w.t.Errorf("%s: %s", key, got.ID)
			}
		}
		_, err := w.Get(devserver.Ref{Key: "web"})
		if e := wantReason(w.t, err, driver.InvalidArgument); !strings.Contains(e.Message, "web (other:workspace:root:3002), web (shop:workspace:root:3000)") {
			w.t.Error(e)
		}
		_, err = w.Get(devserver.Ref{Key: "3002", WorkspaceID: "shop"})
		_ = wantReason(w.t, err, driver.NotFound)
		_, err = w.Get(devserver.Ref{})
		_ = wantReason(w.t, err, driver.InvalidArgument)
	})
}

func TestBadSpecs(t *testing.T) {
	inBubble(t, host, func(w *world) {
		for name, change := range map[string]func(*devserver.Spec){
			"no command":    func(s *devserver.Spec) { s.Command = nil },
			"empty command": func(s *devserver.Spec) { s.Command = []string{""} },
			"colon":         func(s *devserver.Spec) { s.Scope = "a:b" },
			"control":       func(s *devserver.Spec) { s.CardID = "a\nb" },
			"long":          func(s *devserver.Spec) { s.CardID = strings.Repeat("a", 65) },
			"name":          func(s *devserver.Spec) { s.Name = "Web" },
			"digits":        func(s *devserver.Spec) { s.Name = "3000" },
			"escape":        func(s *devserver.Spec) { s.Dir = "../x" },
			"absolute":      func(s *devserver.Spec) { s.Dir = "/etc" },
			"env":           func(s *devserver.Spec) { s.Env = []driver.EnvVar{{Name: "A B"}} },
			"directory":     func(s *devserver.Spec) { s.Workspace = workspace.Ref{Dir: "relative"} },
		} {
			spec := w.spec("listen 3000")
			change(&spec)
			_, err := w.Start(w.t.Context(), spec, 0, nil)
			if driver.ReasonOf(err) != driver.InvalidArgument || len(driver.AsError(err).Remedies) == 0 {
				w.t.Errorf("%s: %v", name, err)
			}
		}
		if list := w.List(""); len(list) != 0 {
			w.t.Error(list)
		}
	})
}

func TestWithoutListenersAPortIsNeeded(t *testing.T) {
	inBubble(t, fake.Script{Isolation: "none", Without: []driver.Capability{driver.CapNetListeners}}, func(w *world) {
		_, err := w.Start(w.t.Context(), w.spec("sleep 600"), 0, nil)
		_ = wantReason(w.t, err, driver.Unsupported)
		spec := w.spec("sleep 600")
		spec.Port = 3000
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(5 * time.Second)
			w.take("localhost:3000")
		})
		got := w.start(spec)
		wg.Wait()
		if got.Status != devserver.StatusRunning || got.URL != "http://localhost:3000" {
			w.t.Errorf("%+v", got)
		}
		if got, err := w.Stop(w.t.Context(), devserver.Ref{Key: got.ID}); err != nil || got.Status != devserver.StatusStopped {
			w.t.Errorf("%+v %v", got, err)
		}
	})
}

func TestManyServers(t *testing.T) {
	inBubble(t, host, func(w *world) {
		var wg sync.WaitGroup
		for i := range 50 {
			dir := w.dir(fmt.Sprintf("ws-%d", i))
			for j := range 4 {
				wg.Go(func() {
					port := 2000 + 10*i + j
					result, err := w.Start(w.t.Context(), devserver.Spec{Workspace: workspace.Ref{Dir: dir}, Command: []string{"listen", fmt.Sprint(port)}}, 0, nil)
					if err != nil || result.Server.Status != devserver.StatusRunning || int(result.Server.Port) != port {
						w.t.Errorf("%+v %v", result.Server, err)
					}
				})
			}
		}
		wg.Wait()
		if w.Running() != 200 {
			w.t.Error(w.Running())
		}
		synctest.Wait()
	})
}

// TestRandomPairs runs start, stop, restart and the workspace's stop against
// each other; in the end the server can be started and stopped as ever.
func TestRandomPairs(t *testing.T) {
	inBubble(t, host, func(w *world) {
		allowed := map[driver.Reason]bool{"": true, driver.NotFound: true, driver.Canceled: true, driver.NotRunning: true, driver.PortInUse: true}
		spec := w.spec("listen 3000")
		spec.Name = "web"
		ref := devserver.Ref{Key: "web"}
		operations := []func() error{
			func() error { _, err := w.Start(w.t.Context(), spec, 5*time.Second, nil); return err },
			func() error { _, err := w.Stop(w.t.Context(), ref); return err },
			func() error { _, err := w.Restart(w.t.Context(), ref, 5*time.Second, nil); return err },
			func() error {
				_, _, err := w.manager.Stop(w.t.Context(), workspace.Ref{Dir: w.root + "/shop"}, time.Second)
				return err
			},
		}
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				for j := range 40 {
					if err := operations[(i*3+j*(i+1))%len(operations)](); !allowed[driver.ReasonOf(err)] {
						w.t.Errorf("%v", err)
					}
					time.Sleep(time.Duration(i*j%7) * 50 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		if got := w.start(spec); got.Status != devserver.StatusRunning || len(w.List("")) != 1 {
			w.t.Errorf("%+v", w.List(""))
		}
		if got, err := w.Stop(w.t.Context(), ref); err != nil || got.Status != devserver.StatusStopped {
			w.t.Errorf("%+v %v", got, err)
		}
	})
}
