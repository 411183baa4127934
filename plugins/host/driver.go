// Package host is the driver that isolates nothing: a sandbox is a workspace's
// directory, and its commands are processes of this machine, run as the user.
//
// What it does give is that every process it started can be found and ended: a
// command is a session of its own, carries a marker in its environment, and on
// Linux what it leaves behind becomes the driver's child. Everything ends with
// the driver, however the driver ends.
package host

import (
	"context"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// version of the driver.
const version = "0.1.0"

// Driver runs commands on this machine. A process has at most one, and starts
// no other session leaders itself: the Driver takes the process's orphans.
type Driver struct {
	processes *processes
	watch     *watch
	inherited []string       // the environment of this process, as far as commands get it
	users     bool           // commands may run as others
	work      sync.WaitGroup // what Exec leaves behind: waits and drains
	closed    chan struct{}
	close     sync.Once

	mu        sync.Mutex
	sandboxes map[string]*sandbox
}

// New makes the driver. It starts nothing: its processes and goroutines come
// with the first command and go with Shutdown.
func New() *Driver { return makeDriver(inherit(hostEnviron())) }

func makeDriver(inherited []string) *Driver {
	d := &Driver{
		processes: newProcesses(inherited),
		inherited: inherited,
		closed:    make(chan struct{}),
		sandboxes: make(map[string]*sandbox),
	}
	d.watch = newWatch(d.processes)
	return d
}

// Info says that this is the host driver.
func (d *Driver) Info() driver.Info {
	facts := []driver.Capability{driver.CapExecTTY, driver.CapExecSignal}
	if d.users {
		facts = append(facts, driver.CapExecUser)
	}
	return driver.Info{
		Name:        "host",
		Version:     version,
		Description: "runs commands on this machine, with no isolation",
		Isolation:   driver.IsolationNone,
		Platforms:   []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64"},
		Facts:       facts,
	}
}

// Health reports ready, which this machine always is, and waits for ctx's end.
func (d *Driver) Health(ctx context.Context, report func(driver.Health) error) error {
	err := report(driver.Health{
		State:      driver.HealthReady,
		Message:    "commands run on this machine, with no isolation",
		Attributes: map[string]string{"os": runtime.GOOS, "arch": runtime.GOARCH, "kernel": kernel()},
	})
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctxError(ctx)
	case <-d.closed:
		return errClosed()
	}
}

// shutdownGrace is what commands get to end by themselves at Shutdown, which
// happens when nobody is left who could ask for more.
const shutdownGrace = 400 * time.Millisecond

// Shutdown ends every process that the driver started, within ctx's deadline.
// Nothing runs in its sandboxes afterwards.
func (d *Driver) Shutdown(ctx context.Context) error {
	d.close.Do(func() { close(d.closed) })
	grace := shutdownGrace
	if deadline, ok := ctx.Deadline(); ok {
		grace = max(0, min(grace, time.Until(deadline)/2))
	}
	if err := d.processes.shutdown(ctx, grace); err != nil {
		return err
	}
	d.watch.shutdown()
	d.mu.Lock()
	sandboxes := slices.Collect(maps.Values(d.sandboxes))
	d.mu.Unlock()
	for _, s := range sandboxes {
		s.setState(driver.SandboxStopped)
	}
	idle := make(chan struct{})
	go func() { // ends with the work, which ended or is bounded by its processes
		d.work.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctxError(ctx)
	}
}

func errClosed() error {
	return driver.Errorf(driver.Canceled, "the driver is shutting down")
}

// ctxError is why ctx ended: its cause if that says more, as a Canceled or
// Timeout that errors.Is finds ctx.Err in.
func ctxError(ctx context.Context) error {
	e := *driver.AsError(ctx.Err())
	if cause := context.Cause(ctx); cause != nil {
		e.Message = cause.Error()
	}
	return &e
}

var (
	_ driver.Driver          = (*Driver)(nil)
	_ driver.Shutdowner      = (*Driver)(nil)
	_ driver.ListenerWatcher = (*Driver)(nil)
)
