package workspace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// RecreateOptions say which sandbox to make anew.
type RecreateOptions struct {
	Ref Ref
	// Force also ends commands and terminals that run in it. Without it they are
	// in the way; dev servers never are.
	Force bool
}

// Recreated is what Recreate did.
type Recreated struct {
	Workspace Workspace
	Drift     []Drift  // what was not as it would be made
	Ended     []string // one line each
	Restarted []string // the dev servers that were started again, one line each
}

// Recreate makes a workspace's sandbox anew, so that changes of its image,
// mounts, environment and limits reach it, and starts the dev servers that ran
// again, also where the old one could not be taken away. Everything in the
// workspace's directory stays; what was written elsewhere in the sandbox is lost.
// The new one is tried out before the old one, or what runs in it, is touched; see
// tryOut. report, which may be nil, gets progress.
//
// Errors: NotFound for an unknown workspace, NotStopped when commands run in it
// and Force is not set, ForeignResource when the sandbox is not ours, and those
// of Up.
func (m *Manager) Recreate(ctx context.Context, options RecreateOptions, report func(driver.Progress)) (Recreated, error) {
	if report == nil {
		report = func(driver.Progress) {}
	}
	e, _, err := m.find(options.Ref)
	if err != nil {
		return Recreated{}, err
	}
	if err := m.checkIdle(e, options.Force); err != nil {
		return Recreated{}, err
	}
	now := m.observe(ctx, []*entry{e})[0]
	m.lookAtDrift(ctx, e, &now)
	done := Recreated{Drift: now.Drift}
	if err := m.prepareInTime(ctx, e, report); err != nil {
		return done, err
	}
	report(driver.Progress{Phase: "stop", Message: "ending what runs in the sandbox"})
	ended, resume, err := m.suspendDevServers(ctx, e)
	done.Ended = ended
	if err == nil {
		ended, err = m.takeDown(ctx, e, DefaultStopGrace, endSandbox)
		done.Ended = append(done.Ended, ended...)
	}
	if err != nil { // the sandbox is still there
		done.Restarted = m.resumeAnyway(ctx, e, resume)
		return done, errAsBefore(err, done.Restarted)
	}
	ready, err := m.ensure(ctx, e, wish{}, true, report)
	if errors.Is(err, errRemoved) {
		return done, errUnknown(e.id)
	}
	if err != nil {
		return done, err
	}
	done.Workspace = m.readyOf(e, ready)
	done.Restarted, err = resume(ctx)
	return done, err
}

// resumeAnyway starts the dev servers of a sandbox that stays again, also for a
// caller that is gone.
func (m *Manager) resumeAnyway(ctx context.Context, e *entry, resume func(context.Context) ([]string, error)) []string {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), m.options.EnsureTimeout, errEnsureTimeout(e.id, m.options.EnsureTimeout))
	defer cancel()
	started, err := resume(ctx)
	if err != nil {
		m.log.Warn("dev servers that were stopped for a new sandbox do not run again", "workspace", e.id, "error", err)
	}
	return started
}

// errAsBefore is err, which kept a sandbox from being made anew.
func errAsBefore(err error, restarted []string) error {
	if len(restarted) == 0 {
		return err
	}
	e := *driver.AsError(err)
	e.Message += "; the sandbox is still there, and what was stopped runs again: " + strings.Join(restarted, ", ")
	return &e
}

// Stale lists the workspaces whose sandboxes are not as they would be made now,
// ordered by id, or all that have a sandbox. Those of the host never are: they
// are made from nothing.
func (m *Manager) Stale(ctx context.Context, all bool) []Workspace {
	entries := m.entries()
	var stale []Workspace
	for i, w := range m.observe(ctx, entries) {
		if w.sandbox == nil || w.Choice.HostMode {
			continue
		}
		m.lookAtDrift(ctx, entries[i], &w)
		if all || len(w.Drift) > 0 {
			stale = append(stale, w)
		}
	}
	return stale
}

// checkIdle refuses to end commands that nobody said may be ended. Dev servers
// do not count: they are started again.
func (m *Manager) checkIdle(e *entry, force bool) error {
	if force {
		return nil
	}
	m.mu.Lock()
	servers := m.devServers
	m.mu.Unlock()
	var restarted []string
	if servers != nil {
		restarted = servers.Commands(e.id)
	}
	running := 0
	e.mu.Lock()
	for id := range e.commands {
		if !slices.Contains(restarted, id) {
			running++
		}
	}
	e.mu.Unlock()
	if running == 0 {
		return nil
	}
	return driver.Errorf(driver.NotStopped, "%s in workspace %s would be ended", countOf(running, "command that runs", "commands that run"), e.id).About(e.id).
		Remedy("wait for what runs to end").
		Remedy("end it", "sero", "recreate", "--force", "-w", e.id)
}

func countOf(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// prepareInTime is prepare with the deadline of making a workspace ready: an engine
// that is to be started may never be.
func (m *Manager) prepareInTime(ctx context.Context, e *entry, report func(driver.Progress)) error {
	late := errEnsureTimeout(e.id, m.options.EnsureTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, m.options.EnsureTimeout, late)
	defer cancel()
	err := m.prepare(ctx, e, report)
	if err != nil && ctx.Err() != nil {
		return driver.AsError(context.Cause(ctx))
	}
	return err
}

// prepare finds out whether a sandbox can be made and started now.
func (m *Manager) prepare(ctx context.Context, e *entry, report func(driver.Progress)) error {
	if err := e.checkDirectory(); err != nil {
		return err
	}
	file, err := e.config()
	if err != nil {
		return err
	}
	a := &attempt{m: m, e: e, report: report}
	if err := a.choose(ctx, file); err != nil {
		return err
	}
	if a.choice.WillStart {
		if err := a.startSystem(ctx); err != nil {
			return err
		}
	}
	if err := a.gather(ctx); err != nil { // without the workspace's turn: it may take long
		return errKept(e, "", err)
	}
	if err := e.take(ctx); err != nil {
		return err
	}
	defer e.leave()
	if err := a.mayReplace(ctx); err != nil {
		return err
	}
	return a.tryOut(ctx)
}

func (m *Manager) suspendDevServers(ctx context.Context, e *entry) ([]string, func(context.Context) ([]string, error), error) {
	m.mu.Lock()
	servers := m.devServers
	m.mu.Unlock()
	if servers == nil {
		return nil, func(context.Context) ([]string, error) { return nil, nil }, nil
	}
	return servers.SuspendWorkspace(ctx, e.id)
}
