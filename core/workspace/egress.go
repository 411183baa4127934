package workspace

import (
	"context"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Egress is who runs the proxies through which workspaces reach the network.
type Egress interface {
	// Environment opens the proxy of a running sandbox if its rules ask for one,
	// and gives what a command needs to find it.
	Environment(ctx context.Context, id string, sandbox driver.Sandbox, file config.Egress) ([]driver.EnvVar, error)
	// Changed tells whether a running sandbox keeps to other rules than the file
	// has by now.
	Changed(id string, sandbox driver.Sandbox, file config.Egress) bool
	// StopWorkspace ends the proxy of a workspace whose sandbox has stopped.
	StopWorkspace(id string)
	// ForgetWorkspace drops what is known of a workspace.
	ForgetWorkspace(id string)
}

// SetEgress says who runs proxies. It is called once, before use.
func (m *Manager) SetEgress(e Egress) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.egress = e
}

func (m *Manager) egressPart() Egress {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.egress
}

// network is the network that a workspace's sandbox gets: none at all where the
// egress proxy is to be the only way out and the driver can make it so. Where it
// cannot, that is said, or refused if the rules must be enforced.
func (m *Manager) network(file config.Egress, choice negotiate.Choice, d driver.Driver) (driver.Network, []string, error) {
	machine := m.options.Machine.Egress
	strict := file.Strict() || machine.Strict()
	isolates := !choice.HostMode && driver.Has(d, driver.CapNetIsolated)
	switch {
	case strict && isolates:
		return driver.NetworkIsolated, nil, nil
	case file.Enforce || machine.Enforce:
		err := driver.Lacks(d.Info().Name, driver.CapNetIsolated).
			Remedy("remove egress.enforce: then only programs that use the proxy keep to the rules")
		return 0, nil, err
	case choice.HostMode && machine.Asked():
		return driver.NetworkDefault, []string{"egress of config.json has no effect in host mode"}, nil
	case choice.HostMode:
		return driver.NetworkDefault, nil, nil // of sero.json it was said
	case strict || len(file.Deny)+len(machine.Deny) > 0:
		return driver.NetworkDefault, []string{
			"egress rules are advice here: only programs that use the proxy keep to them, for the sandbox has a network of its own",
		}, nil
	default:
		return driver.NetworkDefault, nil, nil
	}
}

// egress is what a command needs to find its workspace's proxy. A workspace with
// rules runs nothing without its proxy.
func (c *command) egress(ctx context.Context, file config.Workspace) ([]driver.EnvVar, error) {
	e := c.m.egressPart()
	if e == nil || c.sandbox.choice.HostMode {
		return nil, nil
	}
	enforced := file.Egress.Enforce || c.m.options.Machine.Egress.Enforce
	if enforced && c.sandbox.state.Network != driver.NetworkIsolated {
		return nil, driver.Errorf(driver.Unsupported, "the egress rules of workspace %s must be enforced, and its sandbox was made with a network of its own", c.e.id).
			About(c.e.id).Remedy("make the sandbox anew, without one", "sero", "recreate", "-w", c.e.id)
	}
	return e.Environment(ctx, c.e.id, c.sandbox.state, file.Egress)
}

// noteEgress says that rules have changed which hold from the next start on.
func (a *attempt) noteEgress(file config.Workspace, state driver.Sandbox) {
	if e := a.m.egressPart(); e != nil && !a.choice.HostMode && e.Changed(a.e.id, state, file.Egress) {
		a.warnings = append(a.warnings, "egress of sero.json has changed, which holds once the workspace is stopped and started again: sero stop -w "+a.e.id)
	}
}

// ReopenEgress gives the programs of a sandbox that outlived an earlier core their
// proxy back.
func (m *Manager) ReopenEgress(ctx context.Context, id string) error {
	e, s, err := m.ready(id)
	if err != nil {
		return err
	}
	file, err := e.config()
	if err != nil {
		return err
	}
	_, err = (&command{m: m, e: e, sandbox: s}).egress(ctx, file)
	return err
}

// IsCurrent tells whether a sandbox, in this life of it, is the one that a
// workspace is known to run in.
func (m *Manager) IsCurrent(id string, s driver.Sandbox) bool {
	_, now, err := m.ready(id)
	return err == nil && sameLife(now.state, s)
}

// HasEnded asks the driver whether a workspace's sandbox has ended. Where that
// cannot be told it has not.
func (m *Manager) HasEnded(ctx context.Context, id string, s driver.Sandbox) bool {
	_, now, err := m.ready(id)
	if err != nil || !sameLife(now.state, s) {
		return true
	}
	name := now.choice.Actual
	d, err := m.options.Drivers.Driver(ctx, name)
	if err != nil {
		return false
	}
	state, err := m.get(ctx, d, name, s.ID)
	if err != nil {
		return driver.ReasonOf(err) == driver.NotFound
	}
	return state.State == driver.SandboxStopped || !sameLife(state, s)
}

func sameLife(a, b driver.Sandbox) bool {
	return a.Instance == b.Instance && (a.Started.Equal(b.Started) || a.Started.IsZero() || b.Started.IsZero())
}

// EgressRules are a known workspace's id, what its sero.json says of egress now,
// and whether it was last used in host mode, where that holds nothing.
func (m *Manager) EgressRules(ref Ref) (id string, rules config.Egress, host bool, err error) {
	e, _, err := m.find(ref)
	if err != nil {
		return "", config.Egress{}, false, err
	}
	e.mu.Lock()
	host = e.last.HostMode
	e.mu.Unlock()
	file, err := e.config()
	return e.id, file.Egress, host, err
}
