// Package registry finds drivers, starts their processes when they are needed,
// keeps them running, and hands them out as driver.Driver by name. Nothing that
// a driver does, or fails to do, stops the core or another driver: it becomes
// one line in the registry's entries.
package registry

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/launch"
)

// DefaultHealthWait bounds the wait for a driver to start and to tell its
// health, when it is one of many.
const DefaultHealthWait = 2 * time.Second

// Config is what a Registry works with. RunDir and HostVersion are required.
type Config struct {
	Bundled []Bundled // drivers that sero itself serves
	Beside  string    // directory of the sero binary; empty: none
	UserDir string    // the user's directory of drivers; empty: none
	Path    []string  // of SERO_DRIVER_PATH

	RunDir           string // private directory for sockets, at most launch.MaxRunDir bytes
	HostVersion      string // semantic version of the core
	HostCapabilities []string

	Settings    map[string][]byte // for Configure, JSON, by driver
	Constraints map[string]string // on a driver's version, go-version syntax, by driver
	Pins        map[string]string // SHA-256 of a driver's file, in hex, by driver

	StartTimeout time.Duration            // of one process; 0: launch.DefaultStartTimeout
	HealthWait   time.Duration            // 0: DefaultHealthWait
	Deadlines    map[string]time.Duration // other than usual, by RPC
	Policy       Policy

	Environ []string                                    // what drivers get a part of; nil: os.Environ
	Log     *slog.Logger                                // nil: nothing is logged
	OnEvent func(kind event.Type, name, message string) // must not block; may be nil

	environment []string
	platform    string
}

// Entry is what is known of one driver.
type Entry struct {
	Name      string
	Path      string // of its file; empty for a bundled one
	Origin    Origin
	Overrides string // path of the next driver of this name, or "bundled"; empty: none
	State     State
	Problem   *driver.Error     // why it does not run, or nil
	Handshake *launch.Handshake // nil until it has run
	Health    driver.Health     // while it runs
	PID       int               // 0 unless it runs
	Restarts  int               // since the registry was made
}

// Offer is the entry for a choice.
func (e Entry) Offer() negotiate.Offer {
	o := negotiate.Offer{Name: e.Name, Info: driver.Info{Name: e.Name}, Health: e.Health, Problem: e.Problem}
	if e.Handshake != nil {
		o.Info, o.Capabilities = e.Handshake.Info, e.Handshake.Capabilities
	}
	return o
}

// Usable tells whether the driver runs and its runtime works, or can be started.
func (e Entry) Usable() bool {
	return e.State == StateRunning && negotiate.Unusable(e.Offer()) == nil
}

// Registry is the drivers of this machine. It is safe for concurrent use. Close
// ends it.
type Registry struct {
	config  Config
	ctx     context.Context // ends with the registry
	cancel  context.CancelCauseFunc
	running sync.WaitGroup // everything that supervisors have started

	mu      sync.Mutex
	drivers map[string]*supervisor
	closed  bool
}

// New finds the drivers and starts none. It removes what drivers of a core that
// died have left in RunDir.
func New(c Config) *Registry {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Environ == nil {
		c.Environ = os.Environ()
	}
	if c.HealthWait <= 0 {
		c.HealthWait = DefaultHealthWait
	}
	c.Policy = c.Policy.withDefaults()
	c.environment = environment(c.Environ)
	c.platform = runtime.GOOS + "/" + runtime.GOARCH
	r := &Registry{config: c, drivers: map[string]*supervisor{}}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	for _, dir := range sweep(c.RunDir) {
		c.Log.Info("removed what a dead driver left", "directory", dir)
	}
	r.Rescan()
	return r
}

// Rescan looks for drivers again. One that runs goes on as it is; a new file is
// used from the next start.
func (r *Registry) Rescan() {
	found := discover(r.config)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	for name, b := range found {
		if s, known := r.drivers[name]; known {
			s.binaryChanged(b)
		} else {
			r.drivers[name] = newSupervisor(r, b)
		}
	}
	for name, s := range r.drivers {
		if _, still := found[name]; !still && s.abandoned() {
			delete(r.drivers, name)
		}
	}
}

// Driver is a driver by name, its process started if need be. The result stays
// good for the registry's life: the process behind it is started anew when a
// call needs it. It fails with DriverNotFound, or with why the driver does not
// start.
func (r *Registry) Driver(ctx context.Context, name string) (driver.Driver, error) {
	s, ok := r.find(name)
	if !ok {
		r.Rescan()
		if s, ok = r.find(name); !ok {
			return nil, negotiate.NotFound(name, r.shown())
		}
	}
	d := &remote{s}
	if _, err := s.acquire(ctx); err != nil {
		return nil, d.fail(ctx, err)
	}
	return d, nil
}

// Started is a driver by name if its process runs now. It never waits.
func (r *Registry) Started(name string) (driver.Driver, bool) {
	s, ok := r.find(name)
	if !ok {
		return nil, false
	}
	if _, ok := s.current(); !ok {
		return nil, false
	}
	return &remote{s}, true
}

// Entries tells what is known of each driver, best first. It starts nothing and
// never waits.
func (r *Registry) Entries() []Entry {
	r.mu.Lock()
	all := slices.Collect(maps.Values(r.drivers))
	r.mu.Unlock()
	entries := make([]Entry, 0, len(all))
	for _, s := range all {
		entries = append(entries, s.entry())
	}
	slices.SortFunc(entries, func(a, b Entry) int { return negotiate.Compare(a.Offer(), b.Offer()) })
	return entries
}

// Close ends every driver at once, within ctx's deadline or some seconds. When
// it returns no process and no goroutine of the registry is left.
func (r *Registry) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	all := slices.Collect(maps.Values(r.drivers))
	r.mu.Unlock()
	r.cancel(errClosed())
	var group sync.WaitGroup
	errs := make([]error, len(all))
	for i, s := range all {
		if p := s.close(); p != nil {
			group.Go(func() { errs[i] = p.Close(ctx) })
		}
	}
	group.Wait()
	r.running.Wait()
	sweep(r.config.RunDir)
	return errors.Join(errs...)
}

// complete adds to an error for a missing capability which driver has it.
func (r *Registry) complete(ctx context.Context, e *driver.Error) error {
	if e.Reason != driver.Unsupported || e.Resource == "" {
		return e
	}
	others := slices.DeleteFunc(r.names(), func(name string) bool {
		return name == e.Driver || name == negotiate.FakeDriver
	})
	var offers []negotiate.Offer
	if len(others) > 0 {
		offers = r.Survey(ctx, others...)
	}
	return negotiate.WhoHas(e, offers)
}

// Complete adds to an Unsupported error for a missing capability which installed
// driver has it. Any other error comes back as it is.
func (r *Registry) Complete(ctx context.Context, err error) error {
	if driver.ReasonOf(err) != driver.Unsupported {
		return err
	}
	return r.complete(ctx, driver.AsError(err))
}

func (r *Registry) find(name string) (*supervisor, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.drivers[name]
	return s, ok
}

// Lasting names the drivers whose sandboxes may outlive their process: all but
// the host and the fake. It starts none.
func (r *Registry) Lasting() []string {
	r.Rescan()
	return slices.DeleteFunc(r.names(), func(name string) bool {
		return name == negotiate.HostDriver || name == negotiate.FakeDriver
	})
}

func (r *Registry) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.drivers))
}

// shown returns the names of the drivers that are not hidden.
func (r *Registry) shown() []string { return slices.DeleteFunc(r.names(), Hidden) }

// Hidden reports whether a driver is neither offered, listed, started nor suggested
// unless a person names it: the one for tests is, without negotiate.FakeVariable.
func Hidden(name string) bool {
	return name == negotiate.FakeDriver && os.Getenv(negotiate.FakeVariable) != "1"
}
