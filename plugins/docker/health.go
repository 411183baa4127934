package docker

import (
	"context"
	"maps"
	"strings"
	"time"

	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// The time between two looks at an engine.
const (
	lookReady   = 3 * time.Second
	lookTrouble = 200 * time.Millisecond
)

// firstLook is how long what an engine is may take before it is ready all the
// same: Podman asks other programs for that, for seconds.
const firstLook = time.Second

// Health reports the engine's state at once and whenever it changes.
func (d *Driver) Health(ctx context.Context, report func(driver.Health) error) error {
	var last driver.Health
	for {
		now := d.look(ctx)
		if ctx.Err() != nil {
			return ctxError(ctx)
		}
		if now.State != last.State || now.Message != last.Message || !maps.Equal(now.Attributes, last.Attributes) {
			if err := report(now); err != nil {
				return err
			}
			last = now
		}
		pause := lookReady
		if now.State != driver.HealthReady {
			pause = lookTrouble
		}
		select {
		case <-d.closed:
			return errClosed()
		case <-ctx.Done():
			return ctxError(ctx)
		case <-time.After(pause):
		}
	}
}

// look asks the engine for a sign of life, and once what it is.
func (d *Driver) look(ctx context.Context) driver.Health {
	c, err := call(ctx, d, pingLimit, func(ctx context.Context, c *connection) (*connection, error) {
		_, err := c.Ping(ctx, client.PingOptions{})
		return c, err
	})
	if err == nil {
		select { // one call asks, the others have its answer
		case c.describing <- struct{}{}:
			defer func() { <-c.describing }()
		case <-ctx.Done():
			return driver.Health{} // the caller looks at ctx
		}
		if c.health.State == driver.HealthReady {
			return c.health
		}
		limit := readLimit
		if !c.asked {
			limit, c.asked = firstLook, true
		}
		c.health, err = call(ctx, d, limit, describeEngine)
		if limit == firstLook && driver.ReasonOf(err) == driver.Timeout && ctx.Err() == nil {
			return driver.Health{State: driver.HealthReady, Message: "an engine that answers", Attributes: where(c)}
		}
	}
	if err == nil {
		return c.health
	}
	e := driver.AsError(err)
	if e.Reason == driver.Timeout {
		e = wedged(endpoint{host: e.Resource})
	}
	return driver.Health{State: healthOf(e.Reason), Reason: e.Reason, Message: e.Message, Remedies: e.Remedies}
}

func describeEngine(ctx context.Context, c *connection) (driver.Health, error) {
	said, err := c.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return driver.Health{}, err
	}
	info, err := c.Info(ctx, client.InfoOptions{})
	if err != nil {
		return driver.Health{}, err
	}
	engine := product(said.Platform.Name, info.Info.OperatingSystem, info.Info.Name, said.Components)
	attributes := where(c)
	maps.Copy(attributes, map[string]string{
		"engine.name": engine, "engine.version": said.Version, "engine.os": info.Info.OperatingSystem,
		"engine.arch": info.Info.Architecture, "engine.cgroup": info.Info.CgroupVersion,
		"engine.restart": restartHint(engine, c.at.host),
	})
	return driver.Health{State: driver.HealthReady, Message: engine + " " + said.Version, Attributes: attributes}, nil
}

// where is what is known of an engine without asking it.
func where(c *connection) map[string]string {
	return map[string]string{"engine.api": c.ClientVersion(), "engine.host": c.at.host, "engine.found": c.at.source}
}

func healthOf(reason driver.Reason) driver.HealthState {
	switch reason {
	case driver.EngineNotInstalled:
		return driver.HealthNotInstalled
	case driver.EngineNotRunning:
		return driver.HealthStopped
	case driver.EngineWedged:
		return driver.HealthWedged
	default:
		return driver.HealthUnhealthy
	}
}

// restartHint is how a person restarts an engine. The driver cannot: an engine is
// a service of its machine.
func restartHint(engine, host string) string {
	path, local := strings.CutPrefix(host, "unix://")
	switch {
	case engine == "Colima":
		return "colima restart"
	case engine == "Podman":
		return "systemctl restart podman, or podman machine stop and start"
	case engine != "Docker Engine":
		return "in " + engine + "'s own menu"
	case !local:
		return "on the machine where it runs, systemctl restart docker"
	case strings.HasPrefix(path, "/run/user/"):
		return "systemctl --user restart docker"
	default:
		return "sudo systemctl restart docker"
	}
}

// product names the engine: several speak Docker's API.
func product(platform, system, host string, components []system.ComponentVersion) string {
	for _, c := range components {
		if strings.HasPrefix(c.Name, "Podman") {
			return "Podman"
		}
	}
	switch {
	case strings.HasPrefix(platform, "Docker Desktop"), system == "Docker Desktop":
		return "Docker Desktop"
	case system == "OrbStack":
		return "OrbStack"
	case strings.HasPrefix(host, "colima"):
		return "Colima"
	case strings.Contains(system, "Rancher Desktop"), host == "lima-rancher-desktop":
		return "Rancher Desktop"
	}
	return "Docker Engine"
}
