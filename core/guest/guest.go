// Package guest is the core's side of what goes on inside a sandbox: it runs
// commands there, watches what listens, connects to it and stops it, the same
// on every driver that isolates.
//
// It does so through the guest helper, cmd/sero-guest, where the sandbox has
// one, over one connection that is opened when first needed and again when it
// broke; else with the driver's own Exec, a shell and ss. Nothing that comes
// from a sandbox is trusted.
package guest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Target is the sandbox that a Guest works in.
type Target struct {
	SandboxID string
	Owner     string // names the core that the helper works for: its installation
	HasHelper bool   // the helper is mounted
	Shared    string // the directory of this machine that is mounted, if the sandbox shares its kernel
	User      string // who commands run as if they do not say; empty: the sandbox's own user
	HostsNet  bool   // the sandbox has no network of its own: most of what listens there is others'
	// Driver is the sandbox's driver as it runs now.
	Driver func(ctx context.Context) (driver.Driver, error)
}

// Guest works inside one sandbox. It is safe for concurrent use.
type Guest struct {
	target Target
	plain  plain

	turn chan struct{} // held while the helper is being started

	mu     sync.Mutex
	link   *link
	absent error     // why there is no helper; nil: not known, or there is one
	retry  time.Time // when to look again; zero: never
	closed bool
}

// absentFor is how long a helper that did not answer is not asked again.
const absentFor = time.Minute

// New makes the Guest of a sandbox. It starts nothing.
func New(target Target) *Guest {
	g := &Guest{target: target, plain: plain{target}, turn: make(chan struct{}, 1)}
	if !target.HasHelper {
		g.absent = driver.Errorf(driver.NotFound, "the sandbox was made without it")
	}
	return g
}

// Close ends the connection with the helper. Detached commands go on.
func (g *Guest) Close() {
	g.mu.Lock()
	g.closed = true
	l := g.link
	g.link = nil
	g.mu.Unlock()
	if l != nil {
		l.close(nil)
		<-l.ended
	}
}

// NoHelper begins the Status of a Guest without the helper.
const NoHelper = "no helper: "

// Status says in one line how commands get into the sandbox; empty while that is
// not known.
func (g *Guest) Status() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.link != nil && g.link.alive():
		way := "the driver"
		if g.link.direct { // set before the link was kept
			way = "a socket"
		}
		return fmt.Sprintf("helper %s over %s", line(g.link.about.Build, 64), way)
	case g.absent != nil:
		return NoHelper + driver.AsError(g.absent).Message
	default:
		return ""
	}
}

// helper is the connection with the helper, opened if need be; nil when there is
// no helper. The error is one that plain Exec would have too.
func (g *Guest) helper(ctx context.Context) (*link, error) {
	if l, known := g.known(); known {
		return l, nil
	}
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-ctx.Done():
		return nil, driver.AsError(context.Cause(ctx))
	}
	if l, known := g.known(); known {
		return l, nil
	}
	d, err := g.target.Driver(ctx)
	if err != nil {
		return nil, err
	}
	l, err := openLink(ctx, d, g.target, "guest-"+rand.Text())
	if err == nil {
		return g.keep(l)
	}
	if ctx.Err() != nil {
		return nil, driver.AsError(context.Cause(ctx))
	}
	return nil, g.judge(err)
}

const (
	lifeLimit   = 5 * time.Second // for a sign of life of the helper
	helperTries = 4
)

// living is helper for a command, which must not be given to a connection that is
// dead: a helper, a channel or a driver that was killed a moment ago is not known to
// be, and a command that was lost on the way may have begun. A connection that was
// there before is asked for a sign of life, and opened again without one.
func (g *Guest) living(ctx context.Context) (*link, error) {
	for try := 1; ; try++ {
		if l, known := g.known(); known && (l == nil || l.lives(ctx)) {
			return l, nil
		}
		l, err := g.helper(ctx)
		crashed := driver.ReasonOf(err) == driver.DriverCrashed // before anything was begun
		if !crashed || try == helperTries || ctx.Err() != nil {
			return l, err
		}
	}
}

// known gives the connection, or nil and true when there is no helper.
func (g *Guest) known() (*link, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.link != nil && g.link.alive():
		return g.link, true
	case g.absent != nil && (g.retry.IsZero() || time.Now().Before(g.retry)):
		return nil, true
	default:
		return nil, g.closed
	}
}

func (g *Guest) keep(l *link) (*link, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		l.close(nil)
		return nil, driver.Errorf(driver.NotRunning, "sandbox %s is being stopped", g.target.SandboxID)
	}
	g.link, g.absent = l, nil
	return l, nil
}

// judge decides whether a helper that did not start is absent, nil, or whether
// the sandbox or its driver is at fault.
func (g *Guest) judge(err error) error {
	reason := driver.ReasonOf(err)
	if notTheHelper[reason] {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.absent, g.retry = err, time.Now().Add(absentFor)
	if reason == driver.CommandNotFound || reason == driver.CommandNotExecutable {
		g.retry = time.Time{} // a sandbox gets its mounts when it is made
		g.absent = driver.Errorf(reason, "the sandbox has no %s", helperPath())
	}
	return nil
}

// notTheHelper are reasons that say nothing about the helper: a plain Exec would
// fail with them too.
var notTheHelper = map[driver.Reason]bool{
	driver.NotRunning: true, driver.NotFound: true, driver.Corrupt: true, driver.ForeignResource: true,
	driver.DriverCrashed: true, driver.DriverSetAside: true, driver.DriverNotFound: true, driver.DriverFailed: true,
	driver.EngineNotRunning: true, driver.EngineWedged: true,
}

// Exec runs one command by the rules of driver.ExecIO.
func (g *Guest) Exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	return g.exec(ctx, spec, nil, stdio)
}

// Listeners calls report with the sandbox's listening TCP sockets at once and
// after each change, until ctx ends or report fails.
func (g *Guest) Listeners(ctx context.Context, report func([]driver.Listener) error) error {
	l, err := g.helper(ctx)
	if err != nil {
		return err
	}
	report = paced(ctx, report)
	if g.target.HostsNet {
		report = ownOnly(report)
	}
	if l == nil {
		return g.plain.listeners(ctx, report)
	}
	return l.listeners(ctx, report)
}

// ownOnly passes on those listeners that are of a process in the sandbox.
func ownOnly(report func([]driver.Listener) error) func([]driver.Listener) error {
	return func(set []driver.Listener) error {
		return report(slices.DeleteFunc(slices.Clone(set), func(l driver.Listener) bool { return l.PID == 0 }))
	}
}

// listenersPause is the least time between two sets that are passed on, whatever
// a sandbox says.
const listenersPause = 20 * time.Millisecond

// paced passes sets of listeners on, and then pauses.
func paced(ctx context.Context, report func([]driver.Listener) error) func([]driver.Listener) error {
	return func(set []driver.Listener) error {
		if err := report(set); err != nil {
			return err
		}
		select {
		case <-time.After(listenersPause):
		case <-ctx.Done():
		}
		return nil
	}
}

// Dial connects to a TCP address, such as "127.0.0.1:5173", from inside the
// sandbox. The connection can be closed for writing alone. NotFound, which wraps
// ECONNREFUSED, when nobody accepts.
func (g *Guest) Dial(ctx context.Context, address string) (net.Conn, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, driver.Errorf(driver.InvalidArgument, "%q is not an address to connect to: %w", address, err)
	}
	l, err := g.helper(ctx)
	if err != nil {
		return nil, err
	}
	if l == nil {
		return g.plain.dial(ctx, address)
	}
	return l.dial(ctx, address)
}

// Listen accepts connections that are made inside the sandbox to
// 127.0.0.1:port; with port 0 one is chosen, and Addr tells it. Unsupported
// without the guest helper.
func (g *Guest) Listen(ctx context.Context, port uint16) (net.Listener, error) {
	l, err := g.need(ctx, "can accept connections for sero")
	if err != nil {
		return nil, err
	}
	return l.listen(ctx, port)
}

// need is the connection with a helper that must be there.
func (g *Guest) need(ctx context.Context, why string) (*link, error) {
	l, err := g.helper(ctx)
	if err != nil || l != nil {
		return l, err
	}
	absent := driver.Errorf(driver.Unsupported, "sandbox %s has no guest helper, which alone %s", g.target.SandboxID, why).
		About(g.target.SandboxID).Remedy("make the sandbox anew, with the helper in it", "sero", "recreate")
	g.mu.Lock()
	defer g.mu.Unlock()
	absent.Retryable = !g.retry.IsZero()
	return nil, absent
}

// StopListeners ends the process groups of the processes that listen on a port
// inside the sandbox: SIGTERM, and SIGKILL for what is left once grace has
// passed. It says what listened. Process groups 0 and 1 are never signalled.
func (g *Guest) StopListeners(ctx context.Context, port uint16, grace time.Duration) ([]driver.Listener, error) {
	l, err := g.helper(ctx)
	if err != nil {
		return nil, err
	}
	if l == nil {
		return g.plain.stopListeners(ctx, port, grace)
	}
	return l.stopListeners(ctx, port, grace)
}

// Clock is the time in the sandbox.
func (g *Guest) Clock(ctx context.Context) (time.Time, error) {
	l, err := g.need(ctx, "tells the sandbox's time")
	if err != nil {
		return time.Time{}, err
	}
	return l.clock(ctx)
}
