// Package daemon is the composition root of sero's core: it builds the parts,
// plugs them together, serves the API on a private socket, and ends everything
// in order. Nobody but a command imports it.
package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"

	"github.com/sero-labs/sero-runtime/core/api"
	"github.com/sero-labs/sero-runtime/core/registry"
	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// DefaultIdleExit is how long a daemon with nothing to do stays.
const DefaultIdleExit = 30 * time.Minute

// shutdownTimeout bounds the orderly end: dev servers get their grace, drivers
// their Shutdown call.
const shutdownTimeout = 15 * time.Second

// Config is what a daemon runs with. Home, RunDir and Version are required.
type Config struct {
	Home     string             // what lasts: configuration, drivers, state
	RunDir   string             // private directory of the socket and the lock
	Version  string             // semantic version of this build
	Bundled  []registry.Bundled // drivers that this binary can serve itself
	Beside   string             // directory where other drivers are beside sero; empty: none
	LogFile  string             // where Log goes, to be shown; may be empty
	IdleExit time.Duration      // 0: the configuration's or DefaultIdleExit; negative: never
	Log      *slog.Logger       // nil: slog.Default

	CheckEvery time.Duration // between looks at whether clients can still reach the socket; 0: 5 s

	// Wanted reports whether whoever starts the daemon still waits for it. A daemon
	// that is not wanted ends before it serves. nil: it is.
	Wanted func() bool
}

// Reasons for a daemon's end, seen in its log and in the errors of calls that it
// cuts off.
var (
	errAsked    = errors.New("the daemon was asked to end")
	errIdle     = errors.New("the daemon had nothing to do")
	errVanished = errors.New("its socket is gone")
	errNoHome   = errors.New("its home is gone")
	errServe    = errors.New("the socket failed")
	errSlowEnd  = errors.New("the daemon took too long to end")
)

// Run serves until ctx ends, until it is asked to end, or until it has been idle
// for long enough. It returns ErrRunning at once when it runs already, a
// DaemonConflict when the daemon of another run directory holds the home or that
// of another home the run directory, and nil after an orderly end.
func Run(ctx context.Context, c Config) error {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if err := paths.CheckHome(c.Home); err != nil {
		return err
	}
	wanted := func() bool { return c.Wanted == nil || c.Wanted() }
	if !wanted() {
		return nil
	}
	me := paths.Holder{PID: os.Getpid(), Socket: paths.Socket(c.RunDir), Home: c.Home}
	var home *flock.Flock
	for _, path := range []string{paths.Lock(c.RunDir), paths.HomeLock(c.Home)} {
		held, err := lock(path, me)
		if err != nil {
			return err
		}
		defer func() { _ = held.Close() }() // at the very end; the file stays
		home = held
	}
	// Whoever leaves from now on has met this daemon, or leaves one that others meet.
	if !wanted() {
		return nil
	}
	if err := removePrograms(paths.Programs(c.Home)); err != nil {
		c.Log.Warn("older programs of sero stay", "error", err)
	}
	if err := removeSockets(c.RunDir); err != nil {
		return driver.Errorf(driver.Internal, "the run directory cannot be cleaned: %w", err).About(c.RunDir)
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	p, err := build(c)
	if err != nil {
		return err
	}
	return errors.Join(p.serve(ctx, end, home), p.closeDrivers())
}

// serve answers calls until ctx ends. home is the lock that it holds.
func (p *parts) serve(ctx context.Context, end context.CancelCauseFunc, home *flock.Flock) error {
	listener, pipes, err := openSockets(p.config.RunDir, p.judge())
	if err != nil {
		return err
	}
	defer func() { _ = pipes.Close() }()
	activity := newActivity(p.config.IdleExit, func() bool { return p.busy() })
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	calls, cutCalls := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cutCalls(errAsked)
	server := &http.Server{
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxReadFrameSize: 256 << 10},
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return calls },
		ConnContext:       noteRefusal,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
		Handler: api.Handler(api.Parts{
			Workspaces: p.workspaces, Terminals: p.terminals, DevServers: p.servers, Previews: p.previews, Forwards: p.forwards, Drivers: p.drivers, Images: p.images, Egress: p.egress, Events: p.events, Pipes: pipes,
			Log: p.log, Active: activity.add,
			Daemon: api.Daemon{
				PID: os.Getpid(), Version: p.config.Version, Started: time.Now(), Socket: paths.Socket(p.config.RunDir),
				LogFile: p.config.LogFile, Home: p.config.Home, IdleExit: max(0, p.config.IdleExit),
				Shutdown: func() { end(errAsked) },
			},
			Refusal: refusalOf,
		}),
	}
	var group errgroup.Group
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			end(errServe)
			return err
		}
		return nil
	})
	group.Go(func() error { activity.watch(ctx, end); return nil })
	group.Go(func() error {
		p.rejoin(ctx)
		return nil
	})
	every := cmp.Or(p.config.CheckEvery, defaultCheck)
	group.Go(func() error { watch(ctx, listener.reachable, every, errVanished, end); return nil })
	group.Go(func() error { watch(ctx, isThere(home), every, errNoHome, end); return nil })
	p.log.Info("the daemon serves", "socket", paths.Socket(p.config.RunDir), "version", p.config.Version)
	<-ctx.Done()
	p.log.Info("the daemon ends", "why", fmt.Sprint(context.Cause(ctx)))
	// Work ends first, with an answer for who waits for it; then the connections.
	err = p.endWork()
	followers := time.AfterFunc(200*time.Millisecond, func() { cutCalls(context.Cause(ctx)) })
	defer followers.Stop()
	sctx, cancel := context.WithTimeoutCause(context.Background(), 2*time.Second, errors.New("calls did not end"))
	defer cancel()
	if server.Shutdown(sctx) != nil {
		_ = server.Close()
	}
	return errors.Join(err, group.Wait())
}

// rejoin takes up what an earlier core left running.
func (p *parts) rejoin(ctx context.Context) {
	defer close(p.rejoined)
	p.workspaces.Rejoin(ctx, func(id string) {
		if err := p.workspaces.ReopenEgress(ctx, id); err != nil {
			p.log.Warn("a running sandbox has no way out", "workspace", id, "error", err)
		}
		p.servers.Attend(ctx, id)
	})
}
