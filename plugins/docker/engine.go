package docker

import (
	"cmp"
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// The deadlines of calls to an engine.
const (
	pingLimit   = 3 * time.Second  // an engine that takes longer is wedged
	readLimit   = 20 * time.Second // asking for something
	changeLimit = 2 * time.Minute  // making, starting, stopping, removing
	startLimit  = 30 * time.Second // a command
	imageLimit  = time.Hour        // pulling and building
)

// minAPI is the oldest API version that is spoken: Docker 20.10's.
const minAPI = "1.41"

var (
	errSlow   = errors.New("the engine takes too long")
	errWedged = errors.New("the engine does not answer")
)

// engine finds an engine and keeps the connection while it works.
type engine struct {
	mu       sync.Mutex
	settings settings
	current  *connection
}

// connection is a client whose API version is agreed upon.
type connection struct {
	*client.Client
	at       endpoint
	buildKit bool // the engine builds with it unless told otherwise

	describing chan struct{} // holds one: who asks what the engine is
	asked      bool          // what it is, at least once; whose turn it is may say
	health     driver.Health // what the engine is, ready once it was asked; as asked
}

func (e *engine) configure(s settings) {
	e.mu.Lock()
	changed := e.settings != s
	e.settings = s
	e.mu.Unlock()
	if changed {
		e.disconnect()
	}
}

func (e *engine) disconnect() {
	e.mu.Lock()
	old := e.current
	e.current = nil
	e.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
}

// drop forgets a connection that has failed, so that the next call looks anew.
func (e *engine) drop(c *connection) {
	e.mu.Lock()
	if e.current == c {
		e.current = nil
	}
	e.mu.Unlock()
	_ = c.Close()
}

// connect gives the connection, made if there is none.
func (e *engine) connect(ctx context.Context) (*connection, error) {
	e.mu.Lock()
	c, s := e.current, e.settings
	e.mu.Unlock()
	if c != nil {
		return c, nil
	}
	all, err := endpoints(s)
	if err != nil {
		return nil, err
	}
	var failed error
	for _, at := range all {
		c, err := dial(ctx, at)
		if err == nil {
			return e.keep(c), nil
		}
		if failed == nil || driver.ReasonOf(failed) == driver.EngineNotRunning {
			failed = err // one that is there says more than one that is not
		}
	}
	return nil, failed
}

func (e *engine) keep(c *connection) *connection {
	e.mu.Lock()
	if e.current == nil {
		e.current = c
	}
	kept := e.current
	e.mu.Unlock()
	if kept != c {
		_ = c.Close() // another call was faster
	}
	return kept
}

// dial connects with the engine at an address and agrees on the API's version.
func dial(ctx context.Context, at endpoint) (*connection, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, pingLimit, errWedged)
	defer cancel()
	if path, local := strings.CutPrefix(at.host, "unix://"); local {
		// The client's own error does not say why.
		probe, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err != nil {
			return nil, dialError(ctx, at, err)
		}
		_ = probe.Close()
	}
	options := []client.Opt{client.WithHost(at.host), client.WithAPIVersionFromEnv()}
	if at.certs != "" {
		options = append([]client.Opt{client.WithTLSClientConfig(
			filepath.Join(at.certs, "ca.pem"), filepath.Join(at.certs, "cert.pem"), filepath.Join(at.certs, "key.pem"))}, options...)
	}
	c, err := client.New(options...)
	if err != nil {
		return nil, driver.Errorf(driver.ConfigInvalid, "the engine's address %s (from %s) cannot be used: %w", at.host, at.source, err)
	}
	pong, err := c.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	switch {
	case err != nil && pong.APIVersion == "":
		_ = c.Close()
		return nil, dialError(ctx, at, err)
	case err != nil || versions.LessThan(cmp.Or(pong.APIVersion, minAPI), minAPI):
		_ = c.Close()
		return nil, driver.Errorf(driver.EngineTooOld, "the engine at %s speaks API version %s, and %s is needed", at.host, pong.APIVersion, minAPI).
			About(at.host).Remedy("upgrade the engine: Docker 20.10 or newer, or Podman 4 or newer")
	}
	return &connection{
		Client: c, at: at, buildKit: pong.BuilderVersion == build.BuilderBuildKit, describing: make(chan struct{}, 1),
	}, nil
}

// call makes one call to the engine, within limit. It gives up earlier when the
// engine stops answering at all. What fails is a driver.Error with the cause in
// it.
func call[T any](ctx context.Context, d *Driver, limit time.Duration, f func(context.Context, *connection) (T, error)) (T, error) {
	var none T
	if ctx.Err() != nil {
		return none, ctxError(ctx)
	}
	c, err := d.engine.connect(ctx)
	if err != nil {
		return none, err
	}
	bounded, cancel := context.WithTimeoutCause(ctx, limit, errSlow)
	defer cancel()
	bounded, give := context.WithCancelCause(bounded)
	defer give(nil)
	watch := watchdog(bounded, give, c)
	defer watch.Stop()
	v, err := f(bounded, c)
	if err == nil {
		return v, nil
	}
	err = d.engine.explain(ctx, bounded, c, err)
	return none, err
}

// do is call for what gives nothing.
func do(ctx context.Context, d *Driver, limit time.Duration, f func(context.Context, *connection) error) error {
	_, err := call(ctx, d, limit, func(ctx context.Context, c *connection) (struct{}, error) { return struct{}{}, f(ctx, c) })
	return err
}

// watchdog asks the engine for a sign of life while a call is on its way, and
// gives the call up when there is none.
func watchdog(ctx context.Context, give context.CancelCauseFunc, c *connection) *time.Timer {
	var timer *time.Timer
	var set sync.Mutex
	set.Lock()
	defer set.Unlock()
	timer = time.AfterFunc(pingLimit, func() {
		asked, cancel := context.WithTimeoutCause(ctx, pingLimit, errWedged)
		defer cancel()
		if _, err := c.Ping(asked, client.PingOptions{}); err != nil && errors.Is(context.Cause(asked), errWedged) {
			give(errWedged)
			return
		}
		set.Lock()
		defer set.Unlock()
		if ctx.Err() == nil {
			timer.Reset(pingLimit)
		}
	})
	return timer
}
