// Package applecontainer is the driver for Apple's container command line: a
// sandbox is a container in a light virtual machine of its own.
//
// Apple offers no library and no socket to third parties, so the driver runs
// the CLI and reads what it prints. Everything that it knows about a release is
// in dialect.go; everything that it concludes from a text is in classify.go; and
// every call has a deadline of its own, for the CLI has none that holds.
package applecontainer

import (
	"context"
	"os"
	"sync"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// version of the driver.
const version = "0.1.0"

// Driver drives the CLI.
type Driver struct {
	cli    *cli
	turns  turns
	starts flight // of the system, joined by all who ask
	stops  flight
	system chan struct{} // a start or a stop of it
	builds chan struct{}
	health *monitor
	closed chan struct{}
	close  sync.Once
	work   sync.WaitGroup // what Exec leaves behind until its client has ended
}

// New makes the driver. It starts nothing and looks for nothing.
func New() *Driver {
	d := &Driver{
		cli:    newCLI(os.Getenv(pathEnv)),
		system: make(chan struct{}, 1),
		builds: make(chan struct{}, 1),
		closed: make(chan struct{}),
	}
	d.health = newMonitor(d)
	return d
}

// Info says that this is the driver for Apple's CLI. It names no platform, so
// that an explicit path to the CLI is taken anywhere; where there can be no such
// CLI the driver's health says so.
func (d *Driver) Info() driver.Info {
	return driver.Info{
		Name:        "apple-container",
		Version:     version,
		Description: "containers in light virtual machines, through Apple's container CLI",
		Isolation:   driver.IsolationVM,
		Facts: []driver.Capability{
			driver.CapExecTTY, driver.CapExecSignal, driver.CapExecUser,
			driver.CapMountBind, driver.CapMountRO,
			driver.CapNetAddress, driver.CapNetGateway, driver.CapNetPublish, driver.CapNetContainer, driver.CapNetIsolated,
			driver.CapLimitCPU, driver.CapLimitMemory, driver.CapSharedMemory, driver.CapSSHAgent,
			driver.CapBrowser, driver.CapTooling, driver.CapLinuxParity, driver.CapPreview,
		},
	}
}

// Shutdown ends every CLI process that the driver started. The containers stay.
func (d *Driver) Shutdown(ctx context.Context) error {
	d.close.Do(func() { close(d.closed) })
	d.cli.shutdown(errClosed())
	idle := make(chan struct{})
	go func() { // ends with the work, whose processes are killed
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
	_ driver.Driver        = (*Driver)(nil)
	_ driver.Shutdowner    = (*Driver)(nil)
	_ driver.Configurer    = (*Driver)(nil)
	_ driver.SystemStarter = (*Driver)(nil)
	_ driver.SystemStopper = (*Driver)(nil)
	_ driver.ImageEnsurer  = (*Driver)(nil)
	_ driver.ImageBuilder  = (*Driver)(nil)
	_ driver.ImageRemover  = (*Driver)(nil)
	_ driver.ImageLister   = (*Driver)(nil)
	_ driver.Copier        = (*Driver)(nil)
	_ driver.StatsReader   = (*Driver)(nil)
)
