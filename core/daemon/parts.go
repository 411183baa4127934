package daemon

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/devserver"
	"github.com/sero-labs/sero-runtime/core/egress"
	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/core/forward"
	"github.com/sero-labs/sero-runtime/core/image"
	"github.com/sero-labs/sero-runtime/core/preview"
	"github.com/sero-labs/sero-runtime/core/registry"
	"github.com/sero-labs/sero-runtime/core/terminal"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/internal/paths"
)

// parts are the core's parts, plugged together.
type parts struct {
	config     Config
	machine    config.Machine
	log        *slog.Logger
	events     *event.Bus
	drivers    *registry.Registry
	images     *image.Images
	workspaces *workspace.Manager
	terminals  *terminal.Service
	rejoined   chan struct{} // closed when what an earlier core left is known
	servers    *devserver.Supervisor
	forwards   *forward.Service
	egress     *egress.Service
	previews   *preview.Gateway // nil: no port could be had
}

// build makes the parts; nothing runs yet but what each needs for itself.
func build(c Config) (*parts, error) {
	machine, warnings, err := config.LoadMachine(paths.Config(c.Home))
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		c.Log.Warn("configuration", "warning", w.String())
	}
	if c.IdleExit == 0 {
		c.IdleExit = machine.IdleExitAfter(DefaultIdleExit)
	}
	state := paths.State(c.Home)
	p := &parts{config: c, machine: machine, log: c.Log, events: event.NewBus(), rejoined: make(chan struct{})}
	p.drivers = registry.New(p.registryConfig(machine))
	installation, lost, err := workspace.InstallationID(state, p.recoverInstallation)
	if err != nil {
		return nil, errors.Join(err, p.closeDrivers())
	}
	if lost {
		c.Log.Error("the installation's id was damaged in both copies: it is what the sandboxes of known directories have, or a new one if there are none; those with another are not this sero's any more",
			"installation", installation)
	}
	p.images = image.New(image.Options{
		StateDir: state, Installation: installation, Drivers: p.drivers, Chooser: p.drivers, Base: machine.ImageBase, Certificates: image.MachineCertificates(), Log: c.Log,
	})
	p.workspaces, err = workspace.NewManager(workspace.Options{
		StateDir: state, Installation: installation, Drivers: p.drivers, Chooser: p.drivers, Images: p.images, Private: []string{c.Home, c.RunDir, paths.Socket(c.RunDir), paths.Pipes(c.RunDir)}, GuestDir: paths.Guest(c.Home),
		Lasting: p.drivers.Lasting, Machine: machine, Events: p.events, Log: c.Log,
	})
	if err != nil {
		return nil, errors.Join(err, p.closeDrivers())
	}
	p.egress, err = egress.New(egress.Options{
		StateDir: state, Machine: machine.Egress, Events: p.events, Log: c.Log,
		Listen: p.workspaces.Listen, Current: p.workspaces.IsCurrent, Gone: p.workspaces.HasEnded,
	})
	if err != nil {
		return nil, errors.Join(err, p.closeDrivers())
	}
	p.terminals = terminal.New(p.workspaces, p.rejoined, c.Log)
	p.workspaces.SetEgress(p.egress)
	p.servers = devserver.New(devserver.Options{Runner: p.workspaces, Events: p.events, Log: c.Log, Known: p.rejoined, KnownOf: p.workspaces.Rejoined, Forward: forward.Open})
	p.workspaces.SetDevServers(p.servers)
	p.forwards = forward.New(p.workspaces, p.events)
	p.previews, err = preview.Open(preview.Options{
		Servers: p.servers, Dial: p.workspaces.Dial, Port: machine.Preview.Port, StateDir: state, Log: c.Log,
	})
	if err != nil {
		c.Log.Error("there are no previews", "error", err)
	}
	return p, nil
}

// recoverLimit bounds asking engines for a damaged installation's id.
const recoverLimit = 8 * time.Second

// recoverInstallation asks the drivers whose sandboxes outlive them.
func (p *parts) recoverInstallation() string {
	ctx, cancel := context.WithTimeoutCause(context.Background(), recoverLimit, errors.New("the drivers had their time"))
	defer cancel()
	return workspace.RecoverInstallation(ctx, paths.State(p.config.Home), p.drivers, p.drivers.Lasting())
}

func (p *parts) registryConfig(machine config.Machine) registry.Config {
	c := registry.Config{
		Bundled: p.config.Bundled, Beside: p.config.Beside, UserDir: paths.Drivers(p.config.Home), Path: filepath.SplitList(os.Getenv(registry.PathVariable)),
		RunDir: p.config.RunDir, HostVersion: p.config.Version, Log: p.log,
		Settings: map[string][]byte{}, Pins: map[string]string{}, Constraints: map[string]string{},
		OnEvent: func(kind event.Type, driverName, message string) {
			p.events.Publish(event.Event{Type: kind, Subject: driverName, Message: message})
		},
	}
	for name, d := range machine.Drivers {
		c.Settings[name], c.Pins[name], c.Constraints[name] = d.Settings, d.SHA256, d.Constraint
	}
	return c
}

// busy tells whether anything runs that an idle exit would end.
func (p *parts) busy() bool {
	_, commands := p.workspaces.Running()
	return commands > 0 || p.servers.Running() > 0 || p.egress.Running() > 0
}

// endWork ends dev servers and commands.
func (p *parts) endWork() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), shutdownTimeout, errSlowEnd)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.forwards.Close()
		p.servers.Close()
		p.previews.Close()
		p.egress.Close()
		p.terminals.Close()
		p.workspaces.Close()
		p.images.Close()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done(): // the drivers are ended next, and what they run with them
		return context.Cause(ctx)
	}
}

// closeDrivers ends the drivers, and with the host's all that it runs.
func (p *parts) closeDrivers() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), shutdownTimeout, errSlowEnd)
	defer cancel()
	return p.drivers.Close(ctx)
}
