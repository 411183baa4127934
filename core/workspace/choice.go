package workspace

import (
	"cmp"
	"context"
	"fmt"
	"os"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Wishes for a driver that are not a driver's name.
const (
	wishAuto = "auto"
	wishHost = "host"
)

// Chooser decides which driver a workspace gets.
type Chooser interface {
	Choose(ctx context.Context, request negotiate.Request) (negotiate.Choice, error)
}

// Drivers hands out drivers by name.
type Drivers interface {
	// Driver is a driver that runs, started if need be.
	Driver(ctx context.Context, name string) (driver.Driver, error)
	// Started is the driver if it runs already. It never waits.
	Started(name string) (driver.Driver, bool)
}

// Images makes images available.
type Images interface {
	// Ensure gives the local image of a reference, built or pulled if it is missing.
	Ensure(ctx context.Context, d driver.Driver, reference string, report func(driver.Progress)) (driver.Image, error)
	// Built tells whether this installation built an image.
	Built(i driver.Image) bool
}

// requestFor makes the request for a choice. What a person says now (wish) wins
// over the workspace's file, which wins over the machine's; but a file that came
// with the workspace chooses the host only if it is trusted, and never weakens
// the machine's demand for isolation.
func requestFor(wish string, file config.Workspace, trusted bool, machine config.Machine) (request negotiate.Request, warnings []string) {
	request = negotiate.Request{
		Mode:           file.Mode,
		Driver:         file.Driver,
		NeedsIsolation: file.NeedsIsolation(),
		FallbackHost:   file.Fallback == config.FallbackHost && trusted,
	}
	if request.Driver == wishHost {
		request.Mode, request.Driver = config.ModeHost, ""
	}
	if request.Mode == config.ModeHost && !trusted {
		request.Mode = "" // as if the file did not say it; see untrusted
	}
	if request.Mode == "" && request.Driver == "" {
		request.Mode, request.Driver = machine.Mode, machine.Driver
	}
	if machine.Mode == config.ModeRequire && (request.Mode == config.ModeHost || request.FallbackHost) {
		request.Mode, request.FallbackHost = config.ModeRequire, false
		warnings = append(warnings, "sero.json may not choose the host: this machine's config.json requires isolation")
	}
	if machine.Mode == config.ModeRequire && request.Mode != config.ModeHost {
		request.Mode = config.ModeRequire
	}
	switch wish {
	case "":
	case wishAuto:
		request.Mode, request.Driver = config.ModeAuto, ""
	case wishHost:
		request.Mode, request.Driver, request.FallbackHost = config.ModeHost, "", true
	default:
		request.Mode, request.Driver, request.FallbackHost = config.ModeAuto, wish, false // named: it or an error
	}
	if request.Mode == "" {
		request.Mode = config.ModeAuto
	}
	return request, warnings
}

// request makes the request for a workspace's choice: that of requestFor, held to
// what a workspace that has had a sandbox that isolates may have. Only a person's
// wish takes it to the host; a file or a setting never does.
func (m *Manager) request(e *entry, wish string, file config.Workspace) (negotiate.Request, []string) {
	e.mu.Lock()
	wish = cmp.Or(wish, e.wish)
	livesIn := e.livesIn()
	e.mu.Unlock()
	request, warnings := requestFor(wish, file, m.trusted(e, file), m.options.Machine)
	request.NeverHost = m.options.Machine.NeverHost
	request.HideFake = request.Driver == negotiate.FakeDriver && wish != negotiate.FakeDriver && os.Getenv(negotiate.FakeVariable) != "1"
	if wish != "" && wish != wishAuto || livesIn == "" {
		return request, warnings
	}
	request.LivesIn, request.FallbackHost = livesIn, false
	if request.Mode == config.ModeHost {
		request.Mode, request.Driver = config.ModeAuto, ""
		warnings = append(warnings, fmt.Sprintf(
			"the workspace does not go to the host because a file says so: it has had a sandbox that isolates; to take it there: sero up --driver host -w %s", e.id))
	}
	return request, warnings
}

// staysIsolated reports whether a workspace that runs without isolation now must
// not do so for a caller with this wish, because the workspace has had a sandbox
// that isolates and no person asks for this now. e.mu must be held.
func (e *entry) staysIsolated(wish string) bool {
	asked := cmp.Or(wish, e.wish)
	return e.current.choice.HostMode && e.livesIn() != "" && asked != wishHost && asked != e.current.choice.Actual
}

// errOnHost refuses to run a command on the host that was not meant for it.
func errOnHost(id, livesIn string) error {
	return driver.Errorf(driver.NotStopped, "workspace %s has had a sandbox in driver %s, and runs on the host for now, as it was asked to", id, livesIn).
		About(id).
		Remedy("stop what runs on the host", "sero", "stop", "-w", id).
		Remedy("to stay on the host, ask for it", "sero", "up", "--driver", wishHost, "-w", id)
}

// conflicts tells whether a wish asks for something else than what is in use.
func conflicts(wish string, choice negotiate.Choice) bool {
	switch wish {
	case "", wishAuto:
		return false
	case wishHost:
		return !choice.HostMode
	default:
		return wish != choice.Actual
	}
}

// errOtherDriver refuses a wish while the workspace runs in another driver:
// ending what runs there is for a person to decide.
func errOtherDriver(id, wish, actual string) error {
	return driver.Errorf(driver.NotStopped, "workspace %s runs in driver %s; stop it before it can use %s", id, actual, wish).
		About(id).Remedy("stop the workspace", "sero", "stop", "-w", id)
}

func checkWish(wish string) error {
	if wish == "" || driverName().MatchString(wish) {
		return nil
	}
	err := driver.Errorf(driver.InvalidArgument, "%s is not a driver's name", shown(wish)).
		Remedy("see the drivers there are", "sero", "driver", "ls")
	err.Field = "driver"
	return err
}
