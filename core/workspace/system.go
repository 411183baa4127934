package workspace

import (
	"context"
	"errors"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// SystemUse is one thing that runs in a driver's engine.
type SystemUse struct {
	Name        string // as the runtime knows it
	WorkspaceID string // of ours that it was made for; empty: it is another's
}

// restartHint is the health attribute in which a driver that cannot restart its
// engine says how a person does.
const restartHint = "engine.restart"

// healthWait bounds the wait for a driver's first word on its health.
const healthWait = 3 * time.Second

// SystemUses tells all that runs in a driver's engine, whoever made it: what a
// restart would stop. Its error is that this cannot be told.
func (m *Manager) SystemUses(ctx context.Context, name string) ([]SystemUse, error) {
	d, err := m.options.Drivers.Driver(ctx, name)
	if err != nil {
		return nil, err
	}
	var all []driver.Sandbox
	err = m.call(ctx, name, func(ctx context.Context) (err error) {
		all, err = d.List(ctx, nil)
		return err
	})
	if driver.ReasonOf(err) == driver.EngineNotRunning {
		return nil, nil // nothing can
	}
	var uses []SystemUse
	for _, s := range all {
		if s.State == driver.SandboxStopped || s.State == driver.SandboxCorrupt {
			continue
		}
		use := SystemUse{Name: s.ID}
		if m.ours(s) {
			use.WorkspaceID = s.Labels[driver.LabelWorkspaceID]
		}
		uses = append(uses, use)
	}
	return uses, err
}

// CanRestartSystem is why a driver's engine cannot be restarted through it, with
// how a person does it, or nil. One that is not even there cannot.
func (m *Manager) CanRestartSystem(ctx context.Context, name string) error {
	d, err := m.options.Drivers.Driver(ctx, name)
	if err != nil {
		return err
	}
	_, err = driver.SystemStopperOf(d)
	if err == nil {
		_, err = driver.SystemStarterOf(d)
	}
	h := m.health(ctx, d)
	switch {
	case err == nil && (h.State == driver.HealthNotInstalled || h.State == driver.HealthUnsupported):
		return &driver.Error{Reason: h.Reason, Message: h.Message, Remedies: h.Remedies, Driver: name}
	case err == nil:
		return nil
	}
	lacks := driver.AsError(err)
	e := driver.Errorf(driver.Unsupported, "driver %s cannot restart what it runs on", name)
	e.Driver, e.Resource = name, lacks.Resource
	if how := h.Attributes[restartHint]; how != "" {
		return e.Remedy("do it yourself, once nobody needs what runs there: " + how)
	}
	if e.Remedies = h.Remedies; len(e.Remedies) == 0 {
		e = e.Remedy("see what it runs on", "sero", "driver", "info", name)
	}
	return e
}

// health is what a driver says first, if it says it soon.
func (m *Manager) health(ctx context.Context, d driver.Driver) (first driver.Health) {
	ctx, cancel := context.WithTimeoutCause(ctx, healthWait, driver.Errorf(driver.Timeout, "the driver does not tell its health"))
	defer cancel()
	seen := errors.New("seen")
	_ = d.Health(ctx, func(h driver.Health) error { // without it there is no hint
		first = h
		return seen
	})
	return first
}

// RestartSystem stops a driver's engine, with all that runs in it, and starts it
// again. Nothing here calls it: a person asks for it, who has seen what it would
// stop (B17). Workspaces become ready again at their next use.
func (m *Manager) RestartSystem(ctx context.Context, name string, report func(driver.Progress)) error {
	if err := m.CanRestartSystem(ctx, name); err != nil {
		return err
	}
	d, err := m.options.Drivers.Driver(ctx, name)
	if err != nil {
		return err
	}
	stopper, err := driver.SystemStopperOf(d)
	if err != nil {
		return err
	}
	starter, err := driver.SystemStarterOf(d)
	if err != nil {
		return err
	}
	m.log.Info("the engine is restarted because somebody asked for it", "driver", name)
	if err := stopper.StopSystem(ctx, report); err != nil {
		return err
	}
	return starter.StartSystem(ctx, report)
}
