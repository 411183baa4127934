package workspace

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// labelTrial marks a sandbox that was made to find out whether it can be made.
const labelTrial = "dev.sero.trial"

// trialID is the name of the trial of a workspace's sandbox. No workspace's sandbox
// has it: an id does not begin with a hyphen.
func (m *Manager) trialID(e *entry) string {
	sum := sha256.Sum256([]byte(m.options.Installation + "\n" + e.id))
	return SandboxPrefix + "-trial-" + hex.EncodeToString(sum[:8])
}

func (m *Manager) isTrial(s driver.Sandbox) bool { return m.ours(s) && s.Labels[labelTrial] == "true" }

// tryOut finds out whether the sandbox that the spec describes can be made and
// started now, before another is removed for it: it gets what the sandbox is made
// from, makes one under a name of its own, starts it and takes it away again. The
// caller has the workspace's turn. Without an error the old one may go. One that a
// crash leaves is found by its labels at the next trial, and by Prune.
func (a *attempt) tryOut(ctx context.Context) error {
	if err := a.gather(ctx); err != nil {
		return errKept(a.e, "", err)
	}
	if a.choice.HostMode {
		return nil // nothing is in such a sandbox that could be lost
	}
	a.report(driver.Progress{Phase: "create", Message: "trying out the new sandbox in driver " + a.choice.Actual})
	spec := a.spec
	spec.ID, spec.Labels = a.m.trialID(a.e), maps.Clone(a.spec.Labels)
	spec.Labels[labelTrial] = "true"
	spec.Publish = nil // the old sandbox has the ports
	err := a.tryCreate(ctx, spec)
	if err == nil {
		err = a.tryStart(ctx, spec)
	}
	if gone := a.dropTrial(context.WithoutCancel(ctx), spec.ID); gone != nil {
		a.m.log.Warn("a sandbox that was made on trial cannot be taken away", "sandbox", spec.ID, "error", gone)
		if err == nil {
			err = gone
		}
	}
	return errKept(a.e, spec.ID, err)
}

// tryCreate makes the sandbox of a trial, once more where an earlier trial has left
// one, or where an engine that is ending failed for no known reason.
func (a *attempt) tryCreate(ctx context.Context, spec driver.SandboxSpec) error {
	create := func() error {
		var state driver.Sandbox
		err := a.call(ctx, func(ctx context.Context) (err error) {
			state, err = a.driver.Create(ctx, spec)
			return err
		})
		if err == nil && state.ID != spec.ID {
			err = a.nonsense("it made %s instead of %s", shown(state.ID), spec.ID)
		}
		return err
	}
	err := create()
	switch driver.ReasonOf(err) {
	case driver.AlreadyExists, driver.Corrupt:
		if err := a.dropTrial(ctx, spec.ID); err != nil {
			return err
		}
	case driver.Internal:
		if !a.settle(ctx) {
			return err
		}
	default:
		return err
	}
	return create()
}

// tryStart starts the sandbox of a trial, once more where an engine that is ending
// failed for no known reason, or ended what it had started.
func (a *attempt) tryStart(ctx context.Context, spec driver.SandboxSpec) error {
	var state driver.Sandbox
	start := func() error {
		return a.call(ctx, func(ctx context.Context) (err error) {
			state, err = a.driver.Start(ctx, spec.ID)
			return err
		})
	}
	err := start()
	ended := err == nil && state.State == driver.SandboxStopped
	if (ended || driver.ReasonOf(err) == driver.Internal) && a.settle(ctx) {
		err = start()
	}
	switch {
	case err != nil:
		return err
	case state.State == driver.SandboxStopped:
		return a.errEnded(ctx, state)
	case state.ID != spec.ID || state.State != driver.SandboxRunning:
		return a.nonsense("%s is %s after it was started", shown(state.ID), state.State)
	}
	if _, err := a.m.asRoot(ctx, a.driver, spec.ID, ":"); err != nil {
		if now, ended := a.hasEnded(ctx, spec.ID); ended {
			return a.errEnded(ctx, now)
		}
	}
	return nil
}

// dropTrial takes the sandbox of a trial away, if it is there and ours.
func (a *attempt) dropTrial(ctx context.Context, id string) error {
	state, err := a.m.get(ctx, a.driver, a.choice.Actual, id)
	switch driver.ReasonOf(err) {
	case "":
		if !a.m.isTrial(state) {
			return driver.Errorf(driver.ForeignResource, "a sandbox named %s exists and is not this sero's; it is left alone", id).About(id).
				Remedy("remove that sandbox with the tool that made it")
		}
	case driver.NotFound:
		return nil
	case driver.Corrupt:
		if err := a.listedAsTrial(ctx, id, err); err != nil {
			return err
		}
	default:
		return err
	}
	return a.call(ctx, func(ctx context.Context) error { return a.driver.Remove(ctx, id, true) })
}

// listedAsTrial is nil if a sandbox that cannot be described is listed with the
// labels of a trial of ours, else cause.
func (a *attempt) listedAsTrial(ctx context.Context, id string, cause error) error {
	var ours []driver.Sandbox
	err := a.call(ctx, func(ctx context.Context) (err error) {
		ours, err = a.driver.List(ctx, map[string]string{labelTrial: "true", driver.LabelInstallation: a.m.options.Installation})
		return err
	})
	if err == nil && !slices.ContainsFunc(ours, func(s driver.Sandbox) bool { return s.ID == id && a.m.isTrial(s) }) {
		err = cause
	}
	return err
}

// mayReplace refuses to replace what has the name of the workspace's sandbox and
// is not ours. What cannot be described is looked at again when it is removed.
func (a *attempt) mayReplace(ctx context.Context) error {
	state, err := a.get(ctx)
	switch driver.ReasonOf(err) {
	case "":
		return a.m.mayChange(a.e, state)
	case driver.NotFound, driver.Corrupt:
		return nil
	default:
		return err
	}
}

// errKept is why a new sandbox cannot be had, which leaves the old one as it was.
// Remedies for the sandbox of the trial are no help.
func errKept(e *entry, trial string, err error) error {
	if err == nil {
		return nil
	}
	kept := *driver.AsError(err)
	kept.Message += "; nothing was stopped or removed"
	kept.Remedies = slices.DeleteFunc(slices.Clone(kept.Remedies), func(r driver.Remedy) bool {
		return trial != "" && slices.Contains(r.Command, strings.TrimPrefix(trial, SandboxPrefix)) // as if it were a workspace's id
	})
	if kept.Resource == trial {
		kept.Resource = SandboxID(e.id)
	}
	return &kept
}
