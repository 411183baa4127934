package standintest

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// hangs tells whether a call gives no answer for a while.
func (s *Standin) hangs(argv ...string) bool {
	s.t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Second, errors.New("no answer"))
	defer cancel()
	return exec.CommandContext(ctx, s.Path, argv...).Run() != nil && ctx.Err() != nil
}

func (r Result) says(t *testing.T, code int, part string) {
	t.Helper()
	if r.Code != code || !strings.Contains(r.Stdout+r.Stderr, part) {
		t.Errorf("%+v, want exit code %d and %q", r, code, part)
	}
}

func TestWedge(t *testing.T) {
	with(t, "1.2.2", func(s *Standin, id string) {
		s.Fault("wedge")
		for _, argv := range [][]string{{"system", "status"}, {"list"}, {"exec", id, "true"}, {"image", "list"}} {
			if !s.hangs(argv...) {
				t.Errorf("%q answered", argv)
			}
		}
		s.Run("--version").says(t, 0, "1.2.2")
		s.Fault("wedge:exec")
		if !s.hangs("exec", id, "true") {
			t.Error("exec answered")
		}
		s.Run("list", "--quiet").want(t, 0, id+"\n")
	})
}

// TestBroken holds the containers that only a delete by force gets rid of.
func TestBroken(t *testing.T) {
	everyVersion(t, func(t *testing.T, s *Standin) {
		for _, how := range []string{"ghost", "ghost-inspectable", "storage-gone", "stale-name"} {
			id := "broken-" + how
			s.must("create", "--name", id, "--entrypoint", "/bin/sleep", "sero-base:bookworm", "infinity")
			s.Fault(how + "=" + id)
			list := s.Run("list", "--all", "--format", "json")
			if listed := strings.Contains(list.Stdout, `"`+id+`"`); listed != (how != "stale-name") {
				t.Errorf("%s: listed %v", how, listed)
			}
			inspect := s.Run("inspect", id)
			found := inspect.Code == 0 && strings.Contains(inspect.Stdout, id)
			if want := how == "ghost-inspectable" || how == "storage-gone"; found != want {
				t.Errorf("%s: inspect %+v", how, inspect)
			}
			s.Run("start", id).says(t, 1, map[string]string{
				"ghost": "config.json", "ghost-inspectable": "config.json", "storage-gone": "VZErrorDomain", "stale-name": "not found",
			}[how])
			s.Run("create", "--name", id, "sero-base:bookworm").says(t, 1, "already exists: "+id)
			r := s.Run("delete", "--force", id)
			// Only a restart of the system helps there, which would stop others.
			if strings.HasPrefix(how, "ghost") && !since(s.Version, "0.10.0") {
				r.says(t, 1, "config.json")
				continue
			}
			if how == "stale-name" && !since(s.Version, "0.12.3") { // the CLI looks into its list first
				r.says(t, 1, "failed to delete one or more containers")
				continue
			}
			r.want(t, 0, id+"\n")
			s.must("create", "--name", id, "--entrypoint", "/bin/sleep", "sero-base:bookworm", "infinity")
			s.Run("start", id).want(t, 0, id+"\n")
		}
	})
}

func TestTransientFaults(t *testing.T) {
	with(t, "1.2.2", func(s *Standin, id string) {
		s.Fault("exec-not-running=2")
		for range 2 {
			s.Run("exec", id, "true").says(t, 1, "cannot exec: container is not running")
		}
		s.Run("exec", id, "true").want(t, 0, "")
		s.Fault("no-address=1")
		if r := s.Run("inspect", id); !strings.Contains(r.Stdout, `"networks": []`) {
			t.Errorf("%+v", r)
		}
		s.Run("inspect", id).says(t, 0, "ipv4Address")
		s.must("stop", "--time", "0", id)
		s.Fault("start-fails=1")
		s.Run("start", id).says(t, 1, "expected to be in created state")
		s.Run("start", id).want(t, 0, id+"\n")
		s.Fault("xpc-interrupted=1")
		s.Run("list").says(t, 1, "Connection interrupted")
		s.Run("list", "-q").want(t, 0, id+"\n")
		s.Fault("delete-fails=2")
		for range 2 {
			s.Run("delete", "--force", id).says(t, 1, "deleteProcess: exec ")
		}
		s.Run("delete", "--force", id).want(t, 0, id+"\n")
	})
}

func TestBadOutput(t *testing.T) {
	with(t, "1.2.2", func(s *Standin, id string) {
		s.Fault("half-json:inspect")
		if r := s.Run("inspect", id); r.Code != 0 || json.Valid([]byte(r.Stdout)) {
			t.Errorf("%+v", r)
		}
		s.Fault("half-json:inspect=1")
		s.Run("inspect", id)
		if r := s.Run("inspect", id); !json.Valid([]byte(r.Stdout)) {
			t.Errorf("%+v", r)
		}
		s.Fault("truncate:list=100")
		if r := s.Run("list", "--format", "json"); r.Code != 0 || len(r.Stdout) != 100 {
			t.Errorf("%d bytes", len(r.Stdout))
		}
		s.Fault("json-version=0.9.0")
		if r := s.Run("inspect", id); r.Code != 0 || !strings.Contains(r.Stdout, `"status": "running"`) {
			t.Errorf("%+v", r)
		}
	})
}

func TestImagesMissing(t *testing.T) {
	with(t, "1.2.2", func(s *Standin, _ string) {
		s.Fault("images-missing")
		s.Run("image", "list", "--format", "json").want(t, 0, "[]\n")
		s.Run("create", "sero-base:bookworm").says(t, 1, "401 Unauthorized")
		s.Fault("pull-fails=1")
		s.Run("image", "pull", "sero-base:bookworm").says(t, 1, "503 Service Unavailable")
		s.Run("image", "pull", "sero-base:bookworm").want(t, 0, "")
	})
}

func TestSubnetChanges(t *testing.T) {
	with(t, "1.2.2", func(s *Standin, id string) {
		before := s.Run("network", "inspect", "default").Stdout
		s.must("system", "stop")
		s.Fault("subnet-changed")
		s.must("system", "start", "--enable-kernel-install")
		s.must("start", id)
		after := s.Run("network", "inspect", "default").Stdout
		if before == after {
			t.Errorf("still %s", after)
		}
		var networks []struct{ Status struct{ IPv4Gateway string } }
		if err := json.Unmarshal([]byte(after), &networks); err != nil {
			t.Fatal(err)
		}
		gateway := networks[0].Status.IPv4Gateway
		s.Run("inspect", id).says(t, 0, gateway)
		s.Run("exec", id, "ip", "route").says(t, 0, "default via "+gateway)
	})
}

func TestSystemStoppedOnce(t *testing.T) {
	with(t, "0.12.3", func(s *Standin, id string) {
		s.Fault("system-stopped")
		s.Run("exec", id, "true").says(t, 1, "Connection invalid")
		s.must("system", "start", "--enable-kernel-install")
		s.Run("start", id).want(t, 0, id+"\n")
	})
}

func TestUnknownFaultIsRefused(t *testing.T) {
	with(t, "1.2.2", func(s *Standin, _ string) {
		s.Fault("wegde")
		s.Run("list").says(t, 1, `no fault "wegde"`)
		s.Fault("")
	})
}

// TestManyAtOnce: one name has one winner, and calls do not disturb each other.
func TestManyAtOnce(t *testing.T) {
	with(t, "1.2.2", func(s *Standin, id string) {
		var wait sync.WaitGroup
		results := make([]Result, 8)
		for i := range results {
			wait.Go(func() { results[i] = s.Run("create", "--name", "same", "sero-base:bookworm") })
			wait.Go(func() { s.Run("exec", id, "echo", "text").want(t, 0, "text\n") })
			wait.Go(func() {
				if r := s.Run("list", "--all", "--format", "json"); r.Code != 0 || !json.Valid([]byte(r.Stdout)) {
					t.Errorf("%+v", r)
				}
			})
		}
		wait.Wait()
		won := 0
		for _, r := range results {
			if r.Code == 0 {
				won++
			} else if !strings.Contains(r.Stderr, "container already exists: same") {
				t.Errorf("%+v", r)
			}
		}
		if won != 1 {
			t.Errorf("%d winners", won)
		}
	})
}

// TestCallsUnderWayAreFound: a driver that leaves a call behind fails its test.
func TestCallsUnderWayAreFound(t *testing.T) {
	s := Start(t, "1.2.2", AnyArgv(), Alone())
	s.Fault("wedge")
	cmd := s.command("list")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); len(s.Journal()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the call is not in the journal")
		}
	}
	if !s.alive(s.Journal()[0].PID) {
		t.Error("the call that hangs is not seen")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if s.alive(s.Journal()[0].PID) {
		t.Error("a call that was killed is seen")
	}
}
