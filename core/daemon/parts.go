package daemon

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/devserver"
	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/core/registry"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// parts are the core's parts, plugged together.
type parts struct {
	config     Config
	log        *slog.Logger
	events     *event.Bus
	drivers    *registry.Registry
	workspaces *workspace.Manager
	servers    *devserver.Supervisor
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
	installation, err := installationID(state)
	if err != nil {
		return nil, err
	}
	p := &parts{config: c, log: c.Log, events: event.NewBus()}
	p.drivers = registry.New(p.registryConfig(machine))
	p.workspaces, err = workspace.NewManager(workspace.Options{
		StateDir: state, Installation: installation, Drivers: p.drivers, Chooser: chooser{p.drivers},
		Machine: machine, Events: p.events, Log: c.Log,
	})
	if err != nil {
		return nil, errors.Join(err, p.drivers.Close(context.Background()))
	}
	p.servers = devserver.New(p.workspaces, p.events)
	p.workspaces.SetDevServers(p.servers)
	return p, nil
}

func (p *parts) registryConfig(machine config.Machine) registry.Config {
	c := registry.Config{
		Bundled: p.config.Bundled, UserDir: paths.Drivers(p.config.Home), SearchPath: os.Getenv("SERO_DRIVER_PATH"),
		RunDir: p.config.RunDir, HostVersion: p.config.Version, Log: p.log,
		Settings: map[string]json.RawMessage{}, Pins: map[string]string{}, Constraints: map[string]string{},
		OnEvent: func(kind event.Type, driverName, message string) {
			p.events.Publish(event.Event{Type: kind, Subject: driverName, Message: message})
		},
	}
	if self, err := os.Executable(); err == nil {
		c.BesideDir = filepath.Dir(self)
	}
	for name, d := range machine.Drivers {
		c.Settings[name], c.Pins[name], c.Constraints[name] = d.Settings, d.SHA256, d.Constraint
	}
	return c
}

// chooser asks every driver how it is and chooses among them.
type chooser struct{ drivers *registry.Registry }

// Choose picks a driver for a workspace.
func (c chooser) Choose(ctx context.Context, r negotiate.Request) (negotiate.Choice, error) {
	return negotiate.Choose(r, c.drivers.Offers(ctx))
}

// busy tells whether anything runs that an idle exit would end.
func (p *parts) busy() bool {
	_, commands := p.workspaces.Running()
	return commands > 0 || p.servers.Running() > 0
}

// endWork ends dev servers and commands.
func (p *parts) endWork() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), shutdownTimeout, errSlowEnd)
	defer cancel()
	err := p.servers.Close(ctx)
	p.workspaces.Close()
	return err
}

// closeDrivers ends the drivers, and with the host's all that it runs.
func (p *parts) closeDrivers() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), shutdownTimeout, errSlowEnd)
	defer cancel()
	return p.drivers.Close(ctx)
}

// installationID tells this state directory's sandboxes from others'. It is made
// once and kept.
func installationID(state string) (string, error) {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return "", driver.Errorf(driver.PermissionDenied, "the state directory cannot be made: %w", err).About(state)
	}
	file := filepath.Join(state, "installation")
	b, err := os.ReadFile(file)
	if id := strings.TrimSpace(string(b)); err == nil && id != "" {
		return id, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", driver.Errorf(driver.Internal, "the installation's id cannot be read: %w", err).About(file)
	}
	id := strings.ToLower(rand.Text())
	if err := workspace.WriteFile(file, []byte(id+"\n")); err != nil {
		return "", driver.Errorf(driver.OutOfDisk, "the installation's id cannot be written: %w", err).About(file)
	}
	return id, nil
}

