// Package guest is the core's side of what goes on inside a sandbox: it runs
// commands there, watches what listens, connects to it and stops it, the same
// on every driver that isolates.
package guest

import (
	"context"
	"net"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// ExecIDEnv is the variable that tells which of the core's commands a process
// in a sandbox descends from.
const ExecIDEnv = "SERO_EXEC_ID"

// Target is the sandbox that a Guest works in.
type Target struct {
	SandboxID string
	Instance  string // another one is another sandbox under the same id
	// Driver is the sandbox's driver as it runs now.
	Driver func(ctx context.Context) (driver.Driver, error)
}

// Guest works inside one sandbox. It is safe for concurrent use.
type Guest struct {
	target Target
	plain  plain
}

// New makes the Guest of a sandbox. It starts nothing.
func New(target Target) *Guest {
	return &Guest{target: target, plain: plain{target}}
}

// Exec runs one command by the rules of driver.ExecIO.
func (g *Guest) Exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	return g.plain.exec(ctx, spec, stdio)
}

// Listeners calls report with the sandbox's listening TCP sockets at once and
// after each change, until ctx ends or report fails.
func (g *Guest) Listeners(ctx context.Context, report func([]driver.Listener) error) error {
	return g.plain.listeners(ctx, report)
}

// Dial connects to a TCP address, such as "127.0.0.1:5173", from inside the
// sandbox. The connection can be closed for writing alone.
func (g *Guest) Dial(ctx context.Context, address string) (net.Conn, error) {
	return g.plain.dial(ctx, address)
}

// Listen accepts connections that are made inside the sandbox to
// 127.0.0.1:port; with port 0 one is chosen, and Addr tells it. Unsupported
// without the guest helper.
func (g *Guest) Listen(context.Context, uint16) (net.Listener, error) {
	return nil, driver.Errorf(driver.Unsupported, "sandbox %s has no guest helper, which alone can accept connections for sero", g.target.SandboxID).
		About(g.target.SandboxID).Remedy("make the sandbox anew, with the helper in it", "sero", "recreate")
}

// StopListeners ends the process groups of the processes that listen on a port
// inside the sandbox: SIGTERM, and SIGKILL for what is left once grace has
// passed. It says what listened. Process groups 0 and 1 are never signalled.
func (g *Guest) StopListeners(ctx context.Context, port uint16, grace time.Duration) ([]driver.Listener, error) {
	return g.plain.stopListeners(ctx, port, grace)
}
