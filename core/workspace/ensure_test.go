package workspace_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

func TestB14ConcurrentUpsMakeOneSandbox(t *testing.T) {
	w := newWorld(t, fake.Script{Rules: []fake.Rule{{Call: "CreateSandbox", Delay: fake.Duration(20 * time.Millisecond)}}})
	dir := w.dir("shop", "")
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if got, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil); err != nil || got.ID != "shop" {
				t.Error(got.ID, err)
			}
		})
	}
	wg.Wait()
	if creates, starts := w.box.Calls("CreateSandbox"), w.box.Calls("StartSandbox"); creates != 1 || starts != 1 {
		t.Errorf("%d creates, %d starts", creates, starts)
	}
}

func TestB14OneErrorIsShared(t *testing.T) {
	w := newWorld(t, fake.Script{Rules: []fake.Rule{{Call: "CreateSandbox", Delay: fake.Duration(100 * time.Millisecond), Error: &fake.Failure{Reason: driver.OutOfDisk}}}})
	dir := w.dir("shop", "")
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil); driver.ReasonOf(err) != driver.OutOfDisk {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := w.box.Calls("CreateSandbox"); n > 5 {
		t.Errorf("%d creates for 50 callers", n)
	}
	got, err := w.Get(t.Context(), workspace.Ref{Dir: dir})
	if err != nil || got.State != workspace.StateStopped || !strings.Contains(got.StateMessage, "box") && got.StateMessage == "" {
		t.Errorf("%+v %v", got, err)
	}
	if !slices.Contains(w.eventTypes(), event.WorkspaceFailed) {
		t.Error(w.eventTypes())
	}
}

func TestB14WorkspacesDoNotWaitForEachOther(t *testing.T) {
	w := newWorld(t, fake.Script{Rules: []fake.Rule{{Call: "CreateSandbox", Sandbox: "sero-slow", Hang: true}}})
	slow, quick := w.dir("slow", ""), w.dir("quick", "")
	ctx, cancel := context.WithCancelCause(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := w.Up(ctx, workspace.UpOptions{Ref: workspace.Ref{Dir: slow}}, nil)
		if driver.ReasonOf(err) != driver.Canceled {
			t.Error(err)
		}
	})
	eventually(t, "slow is being created", func() bool { return w.box.Calls("CreateSandbox") == 1 })
	w.upDir(quick)
	if got := states(w.List(t.Context())); got != "quick:running slow:starting" {
		t.Error(got)
	}
	cancel(context.Canceled)
	wg.Wait()
}

func states(list []workspace.Workspace) string {
	var out []string
	for _, w := range list {
		out = append(out, w.ID+":"+w.State.String())
	}
	return strings.Join(out, " ")
}

func TestB14CancellationIsNotFelt(t *testing.T) {
	w := newWorld(t, fake.Script{Clock: "manual", Rules: []fake.Rule{{Call: "CreateSandbox", Delay: fake.Duration(time.Minute)}}})
	dir := w.dir("shop", "")
	var joined, ended atomic.Int32
	var wg sync.WaitGroup
	up := func(ctx context.Context, want driver.Reason) {
		wg.Go(func() {
			defer ended.Add(1)
			var join sync.Once
			_, err := w.Up(ctx, workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, func(driver.Progress) { join.Do(func() { joined.Add(1) }) })
			if driver.ReasonOf(err) != want {
				t.Errorf("want %q: %v", want, err)
			}
		})
	}
	first, cancel := context.WithCancelCause(t.Context())
	up(first, driver.Canceled)
	eventually(t, "the first has begun", func() bool { return w.box.Clock().Waiting() == 1 })
	for range 10 {
		up(t.Context(), "")
	}
	eventually(t, "all have joined", func() bool { return joined.Load() == 11 })
	cancel(context.Canceled)
	eventually(t, "the first has left", func() bool { return ended.Load() > 0 })
	w.box.Clock().Advance(time.Minute)
	wg.Wait()
	if n := w.box.Calls("CreateSandbox"); n != 1 {
		t.Errorf("%d creates", n)
	}
}

func TestB14TheLastOneToLeaveEndsIt(t *testing.T) {
	w := newWorld(t, fake.Script{Rules: []fake.Rule{{Call: "CreateSandbox", Times: 1, Hang: true}}})
	dir := w.dir("shop", "")
	ctx, cancel := context.WithCancelCause(t.Context())
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { _, _ = w.Up(ctx, workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil) })
	}
	eventually(t, "it hangs", func() bool { return w.box.Calls("CreateSandbox") == 1 })
	cancel(errors.New("enough"))
	wg.Wait()
	ctx, stop := context.WithTimeoutCause(t.Context(), guard, errors.New("the abandoned attempt is still in the way"))
	defer stop()
	if _, err := w.Up(ctx, workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil); err != nil {
		t.Error(err)
	}
}

func TestB14ProgressGoesToEveryWaiter(t *testing.T) {
	steps := []driver.Progress{{Phase: "pull", Message: "layer 1"}, {Phase: "pull", Message: "layer 2"}}
	w := newWorld(t, fake.Script{Images: []string{}, Remote: []string{"sero-node:latest"}, Rules: []fake.Rule{
		{Call: "EnsureImage", Progress: steps}, {Call: "CreateSandbox", Delay: fake.Duration(200 * time.Millisecond)},
	}})
	dir := w.dir("shop", "")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var phases []string
			_, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, func(p driver.Progress) { phases = append(phases, p.Phase) })
			if err != nil || !slices.Contains(phases, "start") {
				t.Error(phases, err)
			}
		})
	}
	wg.Wait()
}

func TestB15RunningUsedStoppedStarted(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir := w.dir("shop", "")
	first := w.upDir(dir)
	if first.State != workspace.StateRunning || first.SandboxID != "sero-shop" || first.SandboxDir == "" || first.Choice.Actual != "box" {
		t.Errorf("%+v", first)
	}
	w.upDir(dir)
	if w.box.Calls("CreateSandbox") != 1 || w.box.Calls("StartSandbox") != 1 {
		t.Error("a running one was not used")
	}
	if _, lines, err := w.Stop(t.Context(), workspace.Ref{ID: "shop"}, time.Second); err != nil || len(lines) != 1 {
		t.Fatal(lines, err)
	}
	w.upDir(dir)
	if w.box.Calls("CreateSandbox") != 1 || w.box.Calls("StartSandbox") != 2 {
		t.Error("a stopped one was not started")
	}
	again := w.manager() // a new daemon finds it running
	if got := states(again.List(t.Context())); got != "shop:running" {
		t.Error(got)
	}
	if _, err := again.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil); err != nil || w.box.Calls("CreateSandbox") != 1 {
		t.Error(err, w.box.Calls("CreateSandbox"))
	}
}

func TestB17BrokenSandboxesAreMadeAnew(t *testing.T) {
	corrupt := int(driver.SandboxCorrupt)
	for name, rules := range map[string][]fake.Rule{
		"corrupt":           {{Call: "GetSandbox", Times: 1, State: &corrupt}},
		"not inspectable":   {{Call: "GetSandbox", Times: 1, Error: &fake.Failure{Reason: driver.Corrupt}}},
		"cannot be started": {{Call: "StartSandbox", Times: 1, Error: &fake.Failure{Reason: driver.Corrupt}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, fake.Script{})
			dir := w.dir("shop", "")
			w.upDir(dir)
			if _, _, err := w.Stop(t.Context(), workspace.Ref{ID: "shop"}, time.Second); err != nil {
				t.Fatal(err)
			}
			before := w.instances()
			w.script(fake.Script{Rules: rules})
			if got := w.upDir(dir); got.State != workspace.StateRunning || !strings.Contains(strings.Join(got.Warnings, "\n"), "was recreated") {
				t.Errorf("%+v", got)
			}
			if after := w.instances(); len(after) != 1 || after["sero-shop"] == before["sero-shop"] {
				t.Errorf("%v became %v", before, after)
			}
		})
	}
	t.Run("vanishes", func(t *testing.T) {
		w := newWorld(t, fake.Script{})
		dir := w.dir("shop", "")
		w.upDir(dir)
		w.script(fake.Script{Rules: []fake.Rule{
			{Call: "StartSandbox", Times: 1, Error: &fake.Failure{Reason: driver.NotFound}},
			{Call: "GetSandbox", Nth: 2, Times: 2, Error: &fake.Failure{Reason: driver.NotFound}},
		}})
		if _, _, err := w.Stop(t.Context(), workspace.Ref{ID: "shop"}, time.Second); err != nil {
			t.Fatal(err)
		}
		if got := w.upDir(dir); got.State != workspace.StateRunning {
			t.Errorf("%+v", got)
		}
	})
	t.Run("only once", func(t *testing.T) {
		w := newWorld(t, fake.Script{Rules: []fake.Rule{{Call: "StartSandbox", Error: &fake.Failure{Reason: driver.Corrupt, Message: "no"}}}})
		_, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: w.dir("shop", "")}}, nil)
		wantReason(t, err, driver.Corrupt)
		if n := w.box.Calls("CreateSandbox"); n != 2 {
			t.Errorf("%d creates", n)
		}
	})
}

// TestA12FailedStartKeepsTheSandbox fails starts for every reason but those that
// say that the sandbox is lost.
func TestA12FailedStartKeepsTheSandbox(t *testing.T) {
	for _, reason := range []driver.Reason{
		driver.Internal, driver.NotRunning, driver.NotStopped, driver.InvalidArgument, driver.PermissionDenied, driver.OutOfDisk, driver.OutOfMemory,
		driver.MountDenied, driver.PortInUse, driver.ImageNotFound, driver.AlreadyExists, driver.Unsupported, driver.Timeout, driver.EngineWedged,
		driver.EngineNotRunning, driver.EngineTooOld, driver.CommandNotFound, "X_VENDOR_TROUBLE", "SOMETHING_NEW",
		driver.NotFound, // of a sandbox that is there: it is not absent
	} {
		t.Run(string(reason), func(t *testing.T) {
			w := newWorld(t, fake.Script{})
			dir := w.dir("shop", "")
			w.upDir(dir)
			if _, _, err := w.Stop(t.Context(), workspace.Ref{ID: "shop"}, time.Second); err != nil {
				t.Fatal(err)
			}
			before, err := w.box.Get(t.Context(), "sero-shop")
			if err != nil {
				t.Fatal(err)
			}
			w.script(fake.Script{Rules: []fake.Rule{{Call: "StartSandbox", Error: &fake.Failure{Reason: reason, Message: "no"}}}})
			_, err = w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil)
			failed := wantReason(t, err, reason)
			if !slices.ContainsFunc(failed.Remedies, func(r driver.Remedy) bool { return slices.Equal(r.Command, []string{"sero", "recreate", "-w", "shop"}) }) {
				t.Errorf("remedies %v", failed.Remedies)
			}
			if n := w.box.Calls("RemoveSandbox"); n != 0 {
				t.Errorf("%d removals", n)
			}
			w.script(fake.Script{})
			w.upDir(dir)
			if after, err := w.box.Get(t.Context(), "sero-shop"); err != nil || after.Instance != before.Instance {
				t.Errorf("another sandbox: %v, %v", after.Instance, err)
			}
		})
	}
	t.Run("INTERNAL for a moment", func(t *testing.T) {
		w := newWorld(t, fake.Script{Rules: []fake.Rule{{Call: "StartSandbox", Times: 1, Error: &fake.Failure{Reason: driver.Internal}}}})
		w.upDir(w.dir("shop", ""))
		if starts, removals := w.box.Calls("StartSandbox"), w.box.Calls("RemoveSandbox"); starts != 2 || removals != 0 {
			t.Errorf("%d starts, %d removals", starts, removals)
		}
	})
	t.Run("an intact one under its name", func(t *testing.T) {
		w := newWorld(t, fake.Script{})
		dir := w.dir("shop", "")
		w.upDir(dir)
		if _, _, err := w.Stop(t.Context(), workspace.Ref{ID: "shop"}, time.Second); err != nil {
			t.Fatal(err)
		}
		w.write(filepath.Join(dir, config.FileName), `{"env": {"A": "b"}}`) // so that Create meets another spec
		w.script(fake.Script{Rules: []fake.Rule{{Call: "GetSandbox", Times: 1, Error: &fake.Failure{Reason: driver.NotFound}}}})
		if got := w.upDir(dir); got.State != workspace.StateRunning || len(got.Drift) == 0 || w.box.Calls("RemoveSandbox") != 0 {
			t.Errorf("%+v, %d removals", got, w.box.Calls("RemoveSandbox"))
		}
	})
}

// script changes the box's behaviour; its sandboxes stay.
func (w *world) script(s fake.Script) {
	w.t.Helper()
	text, err := marshal(s)
	if err == nil {
		err = w.box.Configure(w.t.Context(), text, false)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestB18AnothersSandboxIsNeverTouched(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir := w.dir("shop", "")
	for name, labels := range map[string]map[string]string{
		"no labels":            {},
		"another installation": {driver.LabelManaged: "true", driver.LabelWorkspaceID: "shop", driver.LabelInstallation: "there"},
		"another workspace":    {driver.LabelManaged: "true", driver.LabelWorkspaceID: "other", driver.LabelInstallation: "here"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if _, err := w.box.Create(ctx, driver.SandboxSpec{ID: "sero-shop", WorkspaceDir: dir, Image: "sero-node:latest", Labels: labels}); err != nil {
				t.Fatal(err)
			}
			before := w.box.Calls("StartSandbox") + w.box.Calls("StopSandbox") + w.box.Calls("RemoveSandbox")
			_, err := w.Up(ctx, workspace.UpOptions{Ref: workspace.Ref{Dir: dir}, NewID: "shop"}, nil)
			if e := wantReason(t, err, driver.ForeignResource); len(e.Remedies) == 0 {
				t.Error("no remedy")
			}
			if after := w.box.Calls("StartSandbox") + w.box.Calls("StopSandbox") + w.box.Calls("RemoveSandbox"); after != before {
				t.Errorf("%d calls touched it", after-before)
			}
			if err := w.box.Remove(ctx, "sero-shop", true); err != nil {
				t.Fatal(err)
			}
		})
	}
	t.Run("made for another directory", func(t *testing.T) {
		elsewhere := w.dir("elsewhere/shop", "")
		labels := map[string]string{
			driver.LabelManaged: "true", driver.LabelWorkspaceID: "shop", driver.LabelInstallation: "here", driver.LabelWorkspacePath: elsewhere,
		}
		spec := driver.SandboxSpec{ID: "sero-shop", WorkspaceDir: elsewhere, Image: "sero-node:latest", Labels: labels}
		theirs, err := w.box.Create(t.Context(), spec)
		if err == nil {
			_, err = w.box.Start(t.Context(), spec.ID)
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // also once the workspace is known to have a sandbox there
			_, err = w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil)
			if e := wantReason(t, err, driver.AlreadyExists); e.Resource != elsewhere || len(e.Remedies) == 0 {
				t.Error(e, e.Remedies)
			}
		}
		if now, err := w.box.Get(t.Context(), spec.ID); err != nil || now.Instance != theirs.Instance || now.State != driver.SandboxRunning {
			t.Errorf("it was touched: %+v %v", now, err)
		}
		if err := os.RemoveAll(elsewhere); err != nil {
			t.Fatal(err)
		}
		w.upDir(dir) // nobody needs it any more
		if now, err := w.box.Get(t.Context(), spec.ID); err != nil || now.Instance == theirs.Instance || now.Labels[driver.LabelWorkspacePath] != dir {
			t.Errorf("it was not made anew: %+v %v", now, err)
		}
	})
	t.Run("stop and remove", func(t *testing.T) {
		ctx := t.Context()
		w.upDir(dir)
		if err := w.box.Remove(ctx, "sero-shop", true); err != nil {
			t.Fatal(err)
		}
		if _, err := w.box.Create(ctx, driver.SandboxSpec{ID: "sero-shop", WorkspaceDir: dir, Image: "sero-node:latest"}); err != nil {
			t.Fatal(err)
		}
		_, _, err := w.Stop(ctx, workspace.Ref{ID: "shop"}, time.Second)
		wantReason(t, err, driver.ForeignResource)
		id, lines, err := w.Remove(ctx, workspace.Ref{ID: "shop"}) // else nobody could get rid of the record
		if err != nil || id != "shop" || !strings.Contains(strings.Join(lines, "\n"), "left alone") {
			t.Errorf("%s, %q, %v", id, lines, err)
		}
		if n := len(w.List(ctx)); n != 0 {
			t.Errorf("%d workspaces", n)
		}
		if _, err := w.box.Get(ctx, "sero-shop"); err != nil {
			t.Error("it is gone:", err)
		}
	})
}

func TestRepliesAreDistrusted(t *testing.T) {
	paused := int(driver.SandboxPaused)
	for name, rule := range map[string]fake.Rule{
		"wrong id":    {Call: "StartSandbox", ID: "sero-other"},
		"not running": {Call: "StartSandbox", State: &paused},
		"get":         {Call: "GetSandbox", ID: "sero-other"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, fake.Script{Rules: []fake.Rule{rule}})
			dir := w.dir("shop", "")
			_, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil)
			if name == "get" && err == nil { // it was NotFound before it could lie
				_, err = w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil)
			}
			if e := wantReason(t, err, driver.Internal); e.Driver != "box" || !strings.Contains(e.Message, "makes no sense") {
				t.Error(e)
			}
		})
	}
}

// TestESandboxThatEndsAtOnce is about an image without sh or sleep, or for another
// machine: the driver says at Start, or a moment later, that the sandbox stopped.
func TestESandboxThatEndsAtOnce(t *testing.T) {
	stopped := int(driver.SandboxStopped)
	for name, rules := range map[string][]fake.Rule{
		"said by Start":       {{Call: "StartSandbox", State: &stopped}},
		"seen a moment later": {{Call: "Exec", Error: &fake.Failure{Reason: driver.NotRunning}}, {Call: "GetSandbox", Nth: 2, State: &stopped}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, fake.Script{Rules: rules})
			_, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: w.dir("shop", "")}}, nil)
			failed := wantReason(t, err, driver.NotRunning)
			if !strings.Contains(failed.Message, `"sero-node:latest" ended as soon as it was started; the last line of its log: fake: ready`) || len(failed.Remedies) == 0 {
				t.Error(failed, failed.Remedies)
			}
		})
	}
}

// TestB14WhatAnEngineEndsIsStartedAgain is about an engine that is restarted: it
// ends the sandbox that it has just started, which is no fault of the image.
func TestB14WhatAnEngineEndsIsStartedAgain(t *testing.T) {
	stopped := int(driver.SandboxStopped)
	for name, rules := range map[string][]fake.Rule{
		"said by Start":       {{Call: "StartSandbox", Times: 1, State: &stopped}},
		"seen a moment later": {{Call: "Exec", Times: 2, Error: &fake.Failure{Reason: driver.NotRunning}}, {Call: "GetSandbox", Nth: 2, Times: 1, State: &stopped}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, fake.Script{Rules: rules})
			ref := workspace.Ref{Dir: w.dir("shop", "")}
			if _, err := w.Up(t.Context(), workspace.UpOptions{Ref: ref}, nil); err != nil {
				t.Fatal(err)
			}
			w.sh(workspace.ExecOptions{Ref: ref}, "true")
			if w.box.Calls("CreateSandbox") != 1 || w.box.Calls("RemoveSandbox") != 0 {
				t.Error("it was recreated")
			}
		})
	}
}

func TestStoppedEngineIsStarted(t *testing.T) {
	t.Run("known to the choice", func(t *testing.T) {
		w := newWorld(t, fake.Script{})
		w.willStart = true
		w.upDir(w.dir("shop", ""))
		if w.box.Calls("StartSystem") != 1 {
			t.Error("the engine was not started")
		}
	})
	t.Run("found out by a call", func(t *testing.T) {
		w := newWorld(t, fake.Script{Rules: []fake.Rule{{Call: "GetSandbox", Times: 1, Error: &fake.Failure{Reason: driver.EngineNotRunning}}}})
		w.upDir(w.dir("shop", ""))
		if w.box.Calls("StartSystem") != 1 {
			t.Error("the engine was not started")
		}
	})
	t.Run("B16 found out by a command", func(t *testing.T) {
		w := newWorld(t, fake.Script{})
		ref := workspace.Ref{Dir: w.dir("shop", "")}
		w.sh(workspace.ExecOptions{Ref: ref}, "true")
		stopped := &fake.Failure{Reason: driver.EngineNotRunning}
		w.script(fake.Script{Rules: []fake.Rule{{Call: "Exec", Times: 1, Error: stopped}, {Call: "GetSandbox", Times: 2, Error: stopped}}})
		w.sh(workspace.ExecOptions{Ref: ref}, "true")
		if n := w.box.Calls("StartSystem"); n != 1 {
			t.Errorf("the engine was started %d times", n)
		}
	})
}

func TestManyWorkspaces(t *testing.T) {
	w := newWorld(t, fake.Script{})
	var wg sync.WaitGroup
	for i := range 200 {
		dir := w.dir(fmt.Sprintf("ws-%03d", i), "")
		wg.Go(func() {
			if _, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	list := w.List(t.Context())
	if len(list) != 200 || list[0].ID != "ws-000" || list[199].State != workspace.StateRunning {
		t.Error(len(list))
	}
	if running, _ := w.Running(); running != 200 {
		t.Error(running)
	}
}

// TestECancelledUpOfARunningWorkspace gives up while the driver is asked: the
// workspace still runs, and no event says that it failed.
func TestECancelledUpOfARunningWorkspace(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir := w.dir("shop", "")
	w.upDir(dir)
	w.script(fake.Script{Rules: []fake.Rule{{Call: "GetSandbox", Hang: true}}})
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	before := w.box.Calls("GetSandbox")
	go func() {
		_, err := w.Up(ctx, workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil)
		done <- err
	}()
	eventually(t, "the driver is asked", func() bool { return w.box.Calls("GetSandbox") > before })
	cancel(errors.New("the caller gives up"))
	if err := <-done; driver.ReasonOf(err) != driver.Internal && driver.ReasonOf(err) != driver.Canceled {
		t.Error(err)
	}
	w.script(fake.Script{})
	eventually(t, "the attempt has ended", func() bool { return states(w.List(t.Context())) == "shop:running" })
	for _, e := range w.eventTypes() {
		if e == event.WorkspaceFailed {
			t.Error("an event says that it failed")
		}
	}
}
