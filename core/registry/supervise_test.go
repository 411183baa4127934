package registry_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/registry"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func pid(t *testing.T, d driver.Driver) int {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Second, errors.New("the driver is not back"))
	defer cancel()
	sb, err := d.Get(ctx, "pid")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(sb.Instance)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestB8KilledDuringExec(t *testing.T) {
	var events seen
	r := open(t, registry.Config{
		Bundled: []registry.Bundled{bundled(t, "toy", "good"), bundled(t, "other", "good")}, OnEvent: events.add,
		Policy: registry.Policy{MinDelay: time.Hour, MaxDelay: time.Hour}, // a call does not wait for it
	})
	d, other := get(t, r, "toy"), get(t, r, "other")
	before, bystander := pid(t, d), pid(t, other)
	_, err := d.Exec(t.Context(), driver.ExecSpec{SandboxID: "a", Argv: []string{"wait"}}, driver.ExecIO{Started: func(pid int64) {
		time.AfterFunc(200*time.Millisecond, func() { _ = syscall.Kill(int(pid), syscall.SIGKILL) })
	}})
	e := driver.AsError(err)
	if e == nil || e.Reason != driver.DriverCrashed || e.Driver != "toy" || !e.Retryable || !strings.Contains(e.Message, "waiting for Godot") || !strings.Contains(e.Message, "killed") {
		t.Fatalf("%#v", e)
	}
	if after := pid(t, d); after == before {
		t.Error("the same process answers")
	}
	if pid(t, other) != bystander {
		t.Error("another driver was restarted too")
	}
	if got := entry(t, r, "toy"); got.Restarts != 1 || got.State != registry.StateRunning {
		t.Errorf("%+v", got)
	}
	eventually(t, "the health is there again", func() bool { return entry(t, r, "toy").Health.State == driver.HealthReady })
	if events.count("driver.crashed toy: the driver's process ended (signal: killed)") != 1 || events.count("driver.started toy") != 2 || events.count("driver.health toy: ready") != 2 {
		t.Errorf("%q", events.events)
	}
}

// A driver that nobody calls comes back by itself.
func TestB8IdleDriverIsRestarted(t *testing.T) {
	r := open(t, registry.Config{Bundled: []registry.Bundled{bundled(t, "toy", "good")}, Policy: registry.Policy{MinDelay: 10 * time.Millisecond}})
	before := pid(t, get(t, r, "toy"))
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it runs again", func() bool {
		e := entry(t, r, "toy")
		return e.State == registry.StateRunning && e.PID != before && e.Health.State == driver.HealthReady
	})
}

func TestB8SetAsideAfterCrashes(t *testing.T) {
	var events seen
	r := open(t, registry.Config{
		Bundled: []registry.Bundled{bundled(t, "toy", "good"), bundled(t, "other", "good")}, OnEvent: events.add,
		Policy: registry.Policy{Crashes: 3, CoolDown: 1500 * time.Millisecond, MinDelay: time.Millisecond, MaxDelay: 10 * time.Millisecond},
	})
	d := get(t, r, "toy")
	for range 3 {
		if _, err := d.Get(t.Context(), "crash"); driver.ReasonOf(err) != driver.DriverCrashed {
			t.Fatal(err)
		}
	}
	_, err := d.Get(t.Context(), "pid")
	e := driver.AsError(err)
	if e == nil || e.Reason != driver.DriverSetAside || e.Driver != "toy" || len(e.Remedies) == 0 ||
		!strings.Contains(e.Message, "crashed 3 times") || !strings.Contains(e.Message, "these are my last words") {
		t.Fatalf("%#v", e)
	}
	if got := entry(t, r, "toy"); got.State != registry.StateSetAside || got.Problem == nil || got.PID != 0 {
		t.Errorf("%+v", got)
	}
	pid(t, get(t, r, "other"))
	if events.count("driver.setaside toy") != 1 {
		t.Errorf("%q", events.events)
	}
	eventually(t, "the cool-down ends", func() bool {
		_, err := d.Get(t.Context(), "pid")
		return err == nil
	})
}

func TestB8SetAsideAfterMissedDeadlines(t *testing.T) {
	r := open(t, registry.Config{
		Bundled: []registry.Bundled{bundled(t, "toy", "good")},
		// With no delay to speak of; the first set-aside lasts, the second ends the process.
		Policy:    registry.Policy{Misses: 3, MissCoolDown: 700 * time.Millisecond, MinDelay: time.Millisecond},
		Deadlines: map[string]time.Duration{"GetSandbox": 80 * time.Millisecond},
	})
	d := get(t, r, "toy")
	before := pid(t, d)
	for range 2 {
		_, err := d.Get(t.Context(), "slow")
		if e := driver.AsError(err); e == nil || e.Reason != driver.Timeout || e.Message != "GetSandbox was not answered within 80ms" || !e.Retryable || e.Driver != "toy" {
			t.Fatalf("%#v", e)
		}
	}
	// An answer in between, an error too, makes it good again.
	if _, err := d.Get(t.Context(), "absent"); driver.ReasonOf(err) != driver.NotFound {
		t.Fatal(err)
	}
	// So does nothing that the caller itself gave up.
	gone := errors.New("the caller left")
	for range 5 {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, gone)
		if _, err := d.Get(ctx, "slow"); !errors.Is(err, gone) {
			t.Fatal(err)
		}
		cancel()
	}
	for range 3 {
		if _, err := d.Get(t.Context(), "slow"); driver.ReasonOf(err) != driver.Timeout {
			t.Fatal(err)
		}
	}
	_, err := d.Exec(t.Context(), driver.ExecSpec{Argv: []string{"true"}}, driver.ExecIO{})
	if driver.ReasonOf(err) != driver.DriverSetAside || !strings.Contains(err.Error(), "did not answer 3 calls in a row") {
		t.Fatal(err)
	}
	if e := entry(t, r, "toy"); e.State != registry.StateSetAside || e.PID != before {
		t.Errorf("%+v", e)
	}
	// After the cool-down one more miss is enough, and its process is replaced.
	eventually(t, "the cool-down ends", func() bool {
		_, err := d.Get(t.Context(), "slow")
		return driver.ReasonOf(err) == driver.Timeout
	})
	eventually(t, "another process answers", func() bool {
		sb, err := d.Get(t.Context(), "pid")
		return err == nil && sb.Instance != strconv.Itoa(before)
	})
}

func TestStopHasItsGrace(t *testing.T) {
	r := open(t, registry.Config{
		Bundled:   []registry.Bundled{bundled(t, "toy", "good")},
		Deadlines: map[string]time.Duration{"StopSandbox": time.Second},
	})
	if err := get(t, r, "toy").Stop(t.Context(), "a", 1200*time.Millisecond); err != nil {
		t.Error(err)
	}
}

func TestHealthStreamThatEndsIsOpenedAgain(t *testing.T) {
	var events seen
	r := open(t, registry.Config{
		Bundled: []registry.Bundled{bundled(t, "toy", "ends-health")}, OnEvent: events.add,
		Policy: registry.Policy{MinDelay: time.Millisecond, MaxDelay: 10 * time.Millisecond},
	})
	pid(t, get(t, r, "toy"))
	eventually(t, "three streams", func() bool {
		return events.count("driver.health toy: ready") >= 3 && events.count("driver.health toy: unknown: its health is not known: the driver ended the health stream") >= 2
	})
	if e := entry(t, r, "toy"); e.Restarts != 0 {
		t.Errorf("it was restarted: %+v", e)
	}
}

func TestWrongRepliesAreContained(t *testing.T) {
	r := open(t, registry.Config{Bundled: []registry.Bundled{bundled(t, "toy", "steers")}})
	d := get(t, r, "toy")
	for id, text := range map[string]string{
		"other":     `asked for "other", it gave "sero-another"`,
		"escape":    `the image "?[2J" is not a plain text`,
		"huge":      "the instance",
		"address":   `"here" is not an IP address`,
		"own-label": "the label \"dev.sero.managed\"",
	} {
		_, err := d.Get(t.Context(), id)
		if e := driver.AsError(err); e == nil || e.Reason != driver.Internal || e.Driver != "toy" || !strings.Contains(e.Message, text) || len(e.Message) > 1000 {
			t.Errorf("%s: %v", id, err)
		} else if last := e.Remedies[len(e.Remedies)-1].Command; strings.Join(last, " ") != "sero driver test toy" {
			t.Errorf("%s: the remedy is %q", id, last)
		}
	}
	for _, which := range []string{"twice", "unlabelled"} {
		if _, err := d.List(t.Context(), map[string]string{"which": which}); driver.ReasonOf(err) != driver.Internal {
			t.Errorf("%s: %v", which, err)
		}
	}
	for _, fine := range []string{"future", "foreign-label"} {
		if sb, err := d.Get(t.Context(), fine); err != nil || sb.State != driver.SandboxUnknown {
			t.Errorf("%s: %+v, %v", fine, sb, err)
		}
	}
	if list, err := d.List(t.Context(), nil); err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := d.Exec(t.Context(), driver.ExecSpec{Argv: []string{"bad-exit"}}, driver.ExecIO{}); driver.ReasonOf(err) != driver.Internal {
		t.Error(err)
	}
	info := d.Info()
	if info.Description != "?[2Jcleared" || info.Isolation != driver.IsolationNone {
		t.Errorf("%+v", info)
	}
	if caps := driver.Capabilities(d); len(caps) != 2 || caps[1] != "x-acme.com/gpu@1" {
		t.Errorf("%q", caps)
	}
	_, err := d.Get(t.Context(), "absent")
	if e := driver.AsError(err); e.Reason != driver.NotFound || len(e.Remedies) != 1 || e.Error() != "toy: no sandbox absent" {
		t.Errorf("%#v", e)
	}
}

func TestB3UnsupportedTellsWhoWouldHaveIt(t *testing.T) {
	r := open(t, registry.Config{Bundled: []registry.Bundled{
		bundled(t, "host", "host"), bundled(t, "docker", "builder"), bundled(t, "hang", "hang"),
	}, HealthWait: 2 * time.Second})
	d := get(t, r, "host")
	_, gated := driver.ImageBuilderOf(d)
	_, called := unchecked(t, d).BuildImage(t.Context(), driver.BuildSpec{}, nil)
	for name, err := range map[string]error{"gated": r.Complete(t.Context(), gated), "called": called} {
		e := driver.AsError(err)
		if e == nil || e.Reason != driver.Unsupported || !strings.Contains(e.Error(), "host") ||
			!strings.HasSuffix(e.Message, "does not have the capability image.build@1; docker has it") || e.Remedies[0].Command[3] != "docker" {
			t.Errorf("%s: %#v", name, e)
		}
	}
}

// unchecked is a driver's part without the question whether it has it.
func unchecked(t *testing.T, d driver.Driver) driver.ImageBuilder {
	t.Helper()
	part, ok := any(d).(interface{ driver.ImageBuilder })
	if !ok {
		t.Fatalf("%T has no BuildImage", d)
	}
	return part
}

func TestConcurrentFirstCallsShareOneStart(t *testing.T) {
	var events seen
	r := open(t, registry.Config{Bundled: []registry.Bundled{bundled(t, "toy", "good")}, OnEvent: events.add})
	var group sync.WaitGroup
	pids := make([]int, 50)
	for i := range pids {
		group.Go(func() {
			d, err := r.Driver(t.Context(), "toy")
			if err != nil {
				t.Error(err)
				return
			}
			pids[i] = pid(t, d)
		})
	}
	// One that gives up takes nobody with it.
	impatient, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("impatient"))
	if _, err := r.Driver(impatient, "toy"); err == nil {
		t.Log("it was started already")
	}
	group.Wait()
	for _, p := range pids {
		if p != pids[0] {
			t.Fatalf("%v", pids)
		}
	}
	if events.count("driver.started") != 1 {
		t.Errorf("%q", events.events)
	}
}

func TestDriverEnvironment(t *testing.T) {
	r := open(t, registry.Config{
		Bundled: []registry.Bundled{bundled(t, "toy", "good")},
		Environ: []string{"PATH=/bin", "LC_ALL=C", "AWS_SECRET_ACCESS_KEY=x", "GITHUB_TOKEN=x", "LC_TOKEN=x", "SERO_FAKE_SCRIPT={}", "LD_PRELOAD=x", "nonsense"},
	})
	sb, err := get(t, r, "toy").Get(t.Context(), "env")
	if err != nil {
		t.Fatal(err)
	}
	for name, passes := range map[string]bool{
		"PATH": true, "LC_ALL": true, "SERO_FAKE_SCRIPT": true,
		"AWS_SECRET_ACCESS_KEY": false, "GITHUB_TOKEN": false, "LC_TOKEN": false, "LD_PRELOAD": false,
	} {
		if strings.Contains(" "+sb.WorkspaceDir, " "+name+"=") != passes {
			t.Errorf("%s passes: %v", name, !passes)
		}
	}
}

func TestCloseWhileStartingAndCrashed(t *testing.T) {
	r := open(t, registry.Config{
		Bundled: []registry.Bundled{bundled(t, "hang", "hang"), bundled(t, "toy", "good"), bundled(t, "idle", "good")},
		Policy:  registry.Policy{MinDelay: time.Hour, MaxDelay: time.Hour}, HealthWait: 50 * time.Millisecond,
	})
	r.Offers(t.Context(), "hang")
	d := get(t, r, "toy")
	if _, err := d.Get(t.Context(), "crash"); driver.ReasonOf(err) != driver.DriverCrashed {
		t.Fatal(err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := d.Get(t.Context(), "pid"); driver.ReasonOf(err) != driver.Canceled {
		t.Error(err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error("twice: ", err)
	}
}

func TestCloseAtAnyMoment(t *testing.T) {
	for after := time.Duration(0); after < 80*time.Millisecond; after += 7 * time.Millisecond {
		r := open(t, registry.Config{Bundled: []registry.Bundled{bundled(t, "toy", "good"), bundled(t, "two", "good")}})
		var calls sync.WaitGroup
		calls.Go(func() { r.Offers(t.Context()) })
		time.Sleep(after)
		if err := r.Close(t.Context()); err != nil {
			t.Errorf("after %s: %v", after, err)
		}
		calls.Wait()
	}
}

func TestHundredCrashes(t *testing.T) {
	n := 100
	if testing.Short() {
		n = 10
	}
	r := open(t, registry.Config{
		Bundled: []registry.Bundled{bundled(t, "toy", "good")},
		Policy:  registry.Policy{Crashes: 1000, MinDelay: time.Millisecond, MaxDelay: time.Millisecond},
	})
	d := get(t, r, "toy")
	for range n {
		if err := syscall.Kill(pid(t, d), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the next call works", func() bool {
			_, err := d.Get(t.Context(), "pid")
			if err != nil && driver.ReasonOf(err) != driver.DriverCrashed {
				t.Fatal(err)
			}
			return err == nil
		})
	}
	if got := entry(t, r, "toy").Restarts; got < n-1 {
		t.Errorf("%d restarts", got)
	}
}
