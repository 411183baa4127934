package workspace

import (
	"bytes"
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/internal/oneline"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// start starts the sandbox that was found or made. The directories that it is to
// show are open meanwhile, and compared with those that it shows then.
func (a *attempt) start(ctx context.Context, found driver.Sandbox) (driver.Sandbox, error) {
	a.report(driver.Progress{Phase: "start", Message: "starting the sandbox"})
	var open []display
	if !a.choice.HostMode {
		var err error
		if open, err = a.displays(found); err != nil {
			return found, err
		}
		defer closeDisplays(open)
	}
	var state driver.Sandbox
	err := a.call(ctx, func(ctx context.Context) (err error) {
		state, err = a.driver.Start(ctx, a.spec.ID)
		return err
	})
	if err == nil {
		return a.started(ctx, state, open)
	}
	switch reason := driver.ReasonOf(err); {
	case ctx.Err() != nil:
		return state, err
	case (reason == driver.Corrupt || reason == driver.NotFound && a.isGone(ctx)) && !a.recreated:
		return a.recreate(ctx, "it cannot be started: "+driver.AsError(err).Message)
	case reason == driver.Internal && a.mayRepeat(ctx):
		return a.start(ctx, found)
	}
	return state, errNotStarted(a.e, err)
}

// mayRepeat reports whether a start that failed for no known reason is to be
// repeated, which it is once: an engine that is ending ends what it has just
// started, and that means nothing.
func (a *attempt) mayRepeat(ctx context.Context) bool {
	if a.repeated || !a.settle(ctx) {
		return false
	}
	a.repeated = true
	return true
}

// isGone reports whether there is no sandbox any more. A driver that cannot start
// what it still describes says nothing that would be worth its files.
func (a *attempt) isGone(ctx context.Context) bool {
	_, err := a.get(ctx)
	return driver.ReasonOf(err) == driver.NotFound
}

// started takes a sandbox that was just started into use.
func (a *attempt) started(ctx context.Context, state driver.Sandbox, open []display) (driver.Sandbox, error) {
	if state.ID == a.spec.ID && state.State == driver.SandboxStopped {
		return a.ended(ctx, state)
	}
	state, err := a.checked(state)
	if err != nil || a.choice.HostMode {
		return state, err
	}
	var other string
	var both sync.WaitGroup
	both.Go(func() { other, err = a.compare(ctx, state, open) })
	prepared := a.prepare(ctx, state)
	both.Wait()
	if !prepared || err != nil {
		if now, ended := a.hasEnded(ctx, a.spec.ID); ended {
			return a.ended(ctx, now)
		}
	}
	if err != nil && other == "" && a.mayRepeat(ctx) {
		return a.start(ctx, state)
	}
	if other != "" {
		err = errExchanged(a.e, other)
	}
	if err != nil { // nothing may run in it
		if stop := a.m.stopSandbox(context.WithoutCancel(ctx), a.e, a.driver, a.choice.Actual, time.Millisecond); stop != nil {
			a.m.log.Warn("a sandbox that shows something else than it should cannot be stopped", "workspace", a.e.id, "error", stop)
		}
		return state, err
	}
	a.takeOver(open)
	return state, nil
}

// hasEnded reports whether a sandbox in which nothing could be run has ended. It
// looks after a moment: an image without sleep ends a little after its start.
func (a *attempt) hasEnded(ctx context.Context, id string) (driver.Sandbox, bool) {
	if !a.settle(ctx) {
		return driver.Sandbox{}, false
	}
	now, err := a.m.get(ctx, a.driver, a.choice.Actual, id)
	return now, err == nil && now.State == driver.SandboxStopped
}

// ended starts a sandbox again that ended as soon as it was started. One that
// ends again is at fault itself.
func (a *attempt) ended(ctx context.Context, state driver.Sandbox) (driver.Sandbox, error) {
	if a.mayRepeat(ctx) {
		return a.start(ctx, state)
	}
	return state, a.errEnded(ctx, state)
}

// errEnded is about a sandbox whose main process ended as soon as it was started,
// with the last line that it wrote where the driver has it.
func (a *attempt) errEnded(ctx context.Context, state driver.Sandbox) error {
	why := ""
	if logs, err := driver.LogReaderOf(a.driver); err == nil {
		var out bytes.Buffer
		err := a.call(ctx, func(ctx context.Context) error {
			return logs.Logs(ctx, state.ID, false, 1, &limitedWriter{to: &out, left: 4 << 10})
		})
		if err != nil {
			a.m.log.Info("the log of a sandbox that ended cannot be read", "workspace", a.e.id, "error", err)
		}
		why = oneline.Of(out.String(), 512, ' ')
	}
	if why != "" {
		why = "; the last line of its log: " + why
	}
	return driver.Errorf(driver.NotRunning, "sandbox %s of image %s ended as soon as it was started%s", state.ID, orNone(state.Image), why).
		About(state.ID).Remedy("use an image for " + runtime.GOARCH + " that has sh and sleep")
}

// errNotStarted is the failure of a start that says nothing of the sandbox itself.
// Only a person may decide to throw the sandbox away for it.
func errNotStarted(e *entry, err error) error {
	failed := *driver.AsError(err)
	if !failed.Retryable {
		failed.Remedies = append(slices.Clone(failed.Remedies),
			driver.Remedy{Text: "recreate the sandbox, which loses what was written outside the workspace", Command: []string{"sero", "recreate", "-w", e.id}})
	}
	return &failed
}
