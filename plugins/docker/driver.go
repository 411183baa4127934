// Package docker is the driver for engines that speak the Docker Engine API:
// Docker Engine, Docker Desktop, OrbStack, Colima, Rancher Desktop and Podman's
// compatible socket. A sandbox is a container whose main process does nothing;
// commands run beside it.
//
// An engine forgets a command's caller: when the caller goes, the command stays.
// This driver therefore starts each command below a small shell script that
// reports how it ended, and ends commands with another one (see exec.sh and
// end.sh), so an image needs a POSIX shell, and nothing else.
package docker

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

const (
	// name of the driver, on its containers too.
	name = "docker"
	// version of the driver.
	version = "0.1.0"
)

// Driver makes sandboxes of containers. It remembers nothing: what exists is
// asked of the engine.
type Driver struct {
	engine  *engine
	turns   turns
	secrets secrets
	adopted adoption

	commands sync.WaitGroup // running Execs
	closed   chan struct{}
	close    sync.Once
}

// New makes the driver. It touches no engine until it is asked for something.
func New() *Driver {
	return &Driver{
		engine:  &engine{},
		turns:   turns{of: map[string]*turn{}},
		secrets: secrets{of: map[string][]string{}},
		adopted: adoption{of: map[string]chan struct{}{}},
		closed:  make(chan struct{}),
	}
}

// Info says that this is the docker driver.
func (d *Driver) Info() driver.Info {
	facts := []driver.Capability{
		driver.CapExecTTY, driver.CapExecSignal, driver.CapExecUser,
		driver.CapMountBind, driver.CapMountRO, driver.CapLimitCPU, driver.CapLimitMemory, driver.CapLimitProcs, driver.CapSharedMemory,
		driver.CapNetGateway, driver.CapNetPublish, driver.CapNetContainer, driver.CapNetIsolated,
		driver.CapBrowser, driver.CapTooling, driver.CapLinuxParity, driver.CapPreview,
	}
	if runtime.GOOS == "linux" {
		// Elsewhere the engine is in a virtual machine: the host does not reach
		// its networks, and the agent's socket does not reach it.
		facts = append(facts, driver.CapNetAddress, driver.CapSSHAgent)
	}
	return driver.Info{
		Name:        name,
		Version:     version,
		Description: "containers of Docker Engine, Docker Desktop, OrbStack, Colima or Podman",
		Isolation:   driver.IsolationSharedKernel,
		Platforms:   []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64"},
		Facts:       facts,
	}
}

// Shutdown ends the commands that are to end with their caller. Containers keep
// running.
func (d *Driver) Shutdown(ctx context.Context) error {
	d.close.Do(func() { close(d.closed) })
	ended := make(chan struct{})
	go func() { // ends with the commands, whose ends are bounded
		d.commands.Wait()
		close(ended)
	}()
	defer d.engine.disconnect()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctxError(ctx)
	}
}

func errClosed() error {
	return driver.Errorf(driver.Canceled, "the driver is shutting down")
}

// turns lets the calls that change a sandbox come one at a time, each sandbox
// by itself.
type turns struct {
	mu sync.Mutex
	of map[string]*turn
}

type turn struct {
	busy  chan struct{}
	users int
}

// take waits for a sandbox's turn, or for ctx's end; done gives it back.
func (t *turns) take(ctx context.Context, id string) (done func(), err error) {
	t.mu.Lock()
	mine := t.of[id]
	if mine == nil {
		mine = &turn{busy: make(chan struct{}, 1)}
		t.of[id] = mine
	}
	mine.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.users--; mine.users == 0 {
			delete(t.of, id)
		}
	}
	select {
	case mine.busy <- struct{}{}:
		return func() { <-mine.busy; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctxError(ctx)
	}
}

// ctxError is why ctx ended, as a Canceled or Timeout.
func ctxError(ctx context.Context) error {
	e := *driver.AsError(ctx.Err())
	if cause := context.Cause(ctx); cause != nil {
		e.Message = cause.Error()
	}
	return &e
}

// sleep waits, or ends with ctx.
func sleep(ctx context.Context, pause time.Duration) error {
	select {
	case <-ctx.Done():
		return ctxError(ctx)
	case <-time.After(pause):
		return nil
	}
}

var (
	_ driver.Driver       = (*Driver)(nil)
	_ driver.Configurer   = (*Driver)(nil)
	_ driver.Shutdowner   = (*Driver)(nil)
	_ driver.ImageEnsurer = (*Driver)(nil)
	_ driver.ImageBuilder = (*Driver)(nil)
	_ driver.ImageRemover = (*Driver)(nil)
	_ driver.ImageLister  = (*Driver)(nil)
	_ driver.Copier       = (*Driver)(nil)
	_ driver.StatsReader  = (*Driver)(nil)
	_ driver.LogReader    = (*Driver)(nil)
	_ driver.EventWatcher = (*Driver)(nil)
)
