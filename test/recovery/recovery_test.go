package recovery_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestBehindOurBack does to a workspace's container and image what people do who
// do not know of sero, and goes on working.
func TestBehindOurBack(t *testing.T) {
	m := newMachine(t)
	docker := m.engine.Docker

	t.Run("B17 removed", func(t *testing.T) {
		w := m.workspace(t, "removed")
		w.ok("up")
		was := w.container()
		docker("rm", "-f", w.sandbox())
		w.ok("ls")
		w.works()
		if w.container() == was {
			t.Error("it is the same container")
		}
	})
	t.Run("B15 stopped", func(t *testing.T) {
		w := m.workspace(t, "stopped")
		w.ok("up")
		was := w.container()
		w.ok("exec", "--", "sh", "-c", "echo kept >/root-file")
		docker("stop", "-t", "1", w.sandbox())
		if got := w.state(); got != "stopped" {
			t.Errorf("sero ls says it is %s", got)
		}
		w.works()
		if w.container() != was {
			t.Error("it was made anew")
		}
		if out := w.ok("exec", "--", "cat", "/root-file"); out != "kept\n" {
			t.Errorf("its file holds %q", out)
		}
	})
	t.Run("B15 paused", func(t *testing.T) {
		w := m.workspace(t, "paused")
		w.ok("up")
		w.works() // Docker 20.10 never answers for a container that is paused while a command starts
		was := w.container()
		docker("pause", w.sandbox())
		if got := w.state(); got != "paused" {
			t.Errorf("sero ls says it is %s", got)
		}
		w.works()
		if w.container() != was {
			t.Error("it was made anew")
		}
	})
	t.Run("B17 storage gone", func(t *testing.T) {
		w := m.workspace(t, "ghost")
		w.ok("up")
		was := w.container()
		layer := filepath.Dir(docker("inspect", "--format", "{{.GraphDriver.Data.UpperDir}}", w.sandbox()))
		docker("stop", "-t", "1", w.sandbox())
		if !strings.Contains(layer, "overlay2") {
			t.Fatalf("the container's storage is %s", layer)
		}
		if err := os.RemoveAll(layer); err != nil {
			t.Fatal(err)
		}
		w.ok("ls")
		w.works()
		if w.container() == was {
			t.Error("it is the same container")
		}
	})
	t.Run("B13 image removed", func(t *testing.T) {
		w := m.workspace(t, "imageless")
		w.ok("up")
		docker("tag", m.image, "sero-test:spare")
		docker("rmi", "-f", m.image)
		w.works() // it needs no image to run
		docker("rm", "-f", w.sandbox())
		w.ok("ls")
		if a := w.fails("IMAGE_NOT_FOUND", "up"); !strings.Contains(a.stderr, `"remedies":[{`) {
			t.Errorf("there is no remedy: %s", a.stderr)
		}
		docker("tag", "sero-test:spare", m.image)
		w.works()
	})
	t.Run("B18 foreign", func(t *testing.T) {
		w := m.workspace(t, "foreign")
		docker("run", "-d", "--init", "--name", w.sandbox(), m.image, "sleep", "1000")
		describe := func() string {
			return docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}} {{.State.Status}}", w.sandbox())
		}
		was := describe()
		w.fails("FOREIGN_RESOURCE", "up")
		w.refused("is not this sero's", "exec", "--", "true")
		w.ok("ls")
		w.sero("stop")
		w.sero("rm")
		if got := describe(); got != was {
			t.Errorf("it was %s and is %s", was, got)
		}
		docker("rm", "-f", w.sandbox())
		w.works()
	})
}

// TestEngineTrouble stops, freezes and restarts the engine.
func TestEngineTrouble(t *testing.T) {
	m := newMachine(t)
	w := m.workspace(t, "trouble")
	w.ok("up")

	t.Run("wedged", func(t *testing.T) {
		w := *w
		w.t = t
		m.engine.Pause()
		defer m.engine.Resume()
		w.ok("ls")
		w.refused("does not answer", "exec", "--", "true")
		w.fails("ENGINE_WEDGED", "up")
		w.ok("driver", "ls")
		w.ok("doctor")
	})
	t.Run("back from the freeze", func(t *testing.T) {
		w := *w
		w.t = t
		w.again("ENGINE_WEDGED")
		w.works()
	})
	t.Run("stopped", func(t *testing.T) {
		w := *w
		w.t = t
		was := w.container()
		m.engine.Stop()
		w.ok("ls")
		w.refused("engine", "exec", "--", "true")
		m.engine.Start()
		w.again("ENGINE_NOT_RUNNING")
		w.works()
		if w.container() != was {
			t.Error("it was made anew")
		}
	})
	t.Run("killed", func(t *testing.T) {
		w := *w
		w.t = t
		m.engine.Kill()
		m.engine.Start()
		w.again("ENGINE_NOT_RUNNING")
		w.works()
	})
}

// again calls up until it succeeds: the engine is back, and sero has to notice.
// It may fail for the given reason only.
func (w *workspace) again(reason string) {
	w.t.Helper()
	for begin := time.Now(); time.Since(begin) < deadline; time.Sleep(100 * time.Millisecond) {
		a := w.sero("up", "--json")
		if a.code == 0 {
			return
		}
		if got := a.reason(); got != reason {
			w.t.Fatalf("reason %s: %s", got, a.stderr)
		}
	}
	w.t.Error("sero does not notice that the engine is back")
}

// retryable are the reasons for which a caller tries the same again.
var retryable = map[string]bool{"ENGINE_NOT_RUNNING": true, "ENGINE_WEDGED": true, "TIMEOUT": true}

// TestB14HundredEnsures makes ten workspaces ready for a hundred callers at once.
func TestB14HundredEnsures(t *testing.T) {
	m := newMachine(t)
	workspaces := make([]*workspace, 10)
	for i := range workspaces {
		workspaces[i] = m.workspace(t, "many-"+string(rune('a'+i)))
	}
	workspaces[0].ok("ls") // the daemon runs
	created := m.creations(t)

	t.Run("B14 each is made once", func(t *testing.T) {
		for _, a := range m.ensureAll(workspaces) {
			if a.code != 0 {
				t.Errorf("exit code %d: %s", a.code, a.stderr)
			}
		}
		if n := created(); n != len(workspaces) {
			t.Errorf("%d containers were created for %d workspaces", n, len(workspaces))
		}
	})
	t.Run("B17 with the engine restarted in the middle", func(t *testing.T) {
		for _, w := range workspaces {
			m.engine.Docker("rm", "-f", w.sandbox())
		}
		restarted := make(chan struct{})
		go func() {
			defer close(restarted)
			m.engine.Restart()
		}()
		answers := m.ensureAll(workspaces)
		<-restarted
		failed := 0
		for _, a := range answers {
			if a.code != 0 {
				failed++
			}
			if a.code != 0 && !retryable[a.reason()] {
				t.Errorf("exit code %d, reason %q: %s", a.code, a.reason(), a.stderr)
			}
		}
		t.Logf("%d of %d calls met the restart and failed", failed, len(answers))
		for _, w := range workspaces {
			w.again("ENGINE_NOT_RUNNING")
			w.works()
		}
		running := m.engine.Docker("ps", "--filter", "name=sero-many-", "--format", "{{.Names}}")
		if n := len(strings.Fields(running)); n != len(workspaces) {
			t.Errorf("%d containers run: %s", n, running)
		}
	})
}

// ensureAll runs ten times sero up in each workspace, all at once.
func (m *machine) ensureAll(workspaces []*workspace) []answer {
	var all sync.WaitGroup
	answers := make([]answer, 10*len(workspaces))
	for i := range answers {
		all.Go(func() { answers[i] = workspaces[i%len(workspaces)].sero("up", "--json") })
	}
	all.Wait()
	return answers
}

// creations counts the containers that the engine creates from now on.
func (m *machine) creations(t *testing.T) func() int {
	t.Helper()
	since := m.engine.Docker("info", "--format", "{{.SystemTime}}")
	return func() int {
		ctx, cancel := context.WithTimeoutCause(t.Context(), deadline, nil)
		defer cancel()
		until := m.engine.Docker("info", "--format", "{{.SystemTime}}")
		out, err := exec.CommandContext(ctx, "docker", "--host", m.engine.Host, "events", "--since", since, "--until", until,
			"--filter", "event=create", "--filter", "type=container", "--format", "{{.Actor.Attributes.name}}").Output()
		if err != nil {
			t.Fatal(err)
		}
		return len(strings.Fields(string(out)))
	}
}
