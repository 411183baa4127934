package registry

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/launch"
)

// remote is a driver as the rest of the core sees it: it starts and restarts
// without being asked, every call ends in time, what it answers is checked, and
// its errors carry its name.
type remote struct {
	s *supervisor
}

// do makes one call: f with a process that runs, within the call's limit and
// extra.
func do[T any](ctx context.Context, r *remote, call string, extra time.Duration, f func(context.Context, *launch.Process) (T, error)) (T, error) {
	var none T
	p, err := r.s.acquire(ctx)
	if err != nil {
		return none, r.fail(ctx, err)
	}
	bound := r.s.registry.config.limit(call)
	within := ctx
	if bound.within > 0 {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeoutCause(ctx, bound.within+extra, noAnswer(call, bound.within+extra))
		defer cancel()
	}
	result, err := f(within, p)
	if bound.control && ctx.Err() == nil {
		if missed := err != nil && within.Err() != nil; missed || driver.ReasonOf(err) != driver.DriverCrashed {
			r.s.observe(p, call, missed)
		}
	}
	if err != nil {
		return none, r.fail(ctx, err)
	}
	return result, nil
}

// doErr is do for a call without a result.
func doErr(ctx context.Context, r *remote, call string, extra time.Duration, f func(context.Context, *launch.Process) error) error {
	_, err := do(ctx, r, call, extra, func(ctx context.Context, p *launch.Process) (struct{}, error) {
		return struct{}{}, f(ctx, p)
	})
	return err
}

// fail completes an error: the driver's name, once, and for a capability that
// is missing who has it. What the caller itself gave as the cause of an end is
// not the driver's.
func (r *remote) fail(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return driver.AsError(err)
	}
	e := r.s.named(err)
	if errors.Is(err, errWrong) {
		e = e.Remedy("see where the driver breaks its contract", "sero", "driver", "test", r.s.name)
	}
	if e.Reason == driver.Canceled {
		e.Driver = ""
	}
	return r.s.registry.complete(ctx, e)
}

// Info is the driver's handshake.
func (r *remote) Info() driver.Info {
	info, _ := r.s.declared()
	return info
}

// Declared is what the driver declared in its handshake.
func (r *remote) Declared() []driver.Capability {
	_, capabilities := r.s.declared()
	return capabilities
}

// Health streams the runtime's state.
func (r *remote) Health(ctx context.Context, report func(driver.Health) error) error {
	return doErr(ctx, r, "Health", 0, func(ctx context.Context, p *launch.Process) error {
		return p.Health(ctx, func(h driver.Health) error { return report(cleanHealth(h)) })
	})
}

// Create makes a sandbox.
func (r *remote) Create(ctx context.Context, spec driver.SandboxSpec) (driver.Sandbox, error) {
	return r.sandbox(ctx, "CreateSandbox", spec.ID, func(ctx context.Context, p *launch.Process) (driver.Sandbox, error) {
		return p.Create(ctx, spec)
	})
}

// Start starts a sandbox.
func (r *remote) Start(ctx context.Context, id string) (driver.Sandbox, error) {
	return r.sandbox(ctx, "StartSandbox", id, func(ctx context.Context, p *launch.Process) (driver.Sandbox, error) {
		return p.Start(ctx, id)
	})
}

// Get describes a sandbox.
func (r *remote) Get(ctx context.Context, id string) (driver.Sandbox, error) {
	return r.sandbox(ctx, "GetSandbox", id, func(ctx context.Context, p *launch.Process) (driver.Sandbox, error) {
		return p.Get(ctx, id)
	})
}

func (r *remote) sandbox(ctx context.Context, call, id string, f func(context.Context, *launch.Process) (driver.Sandbox, error)) (driver.Sandbox, error) {
	return do(ctx, r, call, 0, func(ctx context.Context, p *launch.Process) (driver.Sandbox, error) {
		sb, err := f(ctx, p)
		if err == nil {
			err = checkSandbox(call, id, sb)
		}
		return sb, err
	})
}

// Stop stops a sandbox.
func (r *remote) Stop(ctx context.Context, id string, grace time.Duration) error {
	return doErr(ctx, r, "StopSandbox", grace, func(ctx context.Context, p *launch.Process) error {
		return p.Stop(ctx, id, grace)
	})
}

// Remove removes a sandbox.
func (r *remote) Remove(ctx context.Context, id string, force bool) error {
	return doErr(ctx, r, "RemoveSandbox", 0, func(ctx context.Context, p *launch.Process) error {
		return p.Remove(ctx, id, force)
	})
}

// List describes the sandboxes that carry the labels.
func (r *remote) List(ctx context.Context, labels map[string]string) ([]driver.Sandbox, error) {
	return do(ctx, r, "ListSandboxes", 0, func(ctx context.Context, p *launch.Process) ([]driver.Sandbox, error) {
		list, err := p.List(ctx, labels)
		if err == nil {
			err = checkList("ListSandboxes", labels, list)
		}
		return list, err
	})
}

// Exec runs a command. A driver that was killed a moment ago is not known to be
// dead, and a command that was lost on the way to it may have begun: so the driver
// is asked for a sign of life first, and the next one takes its place.
func (r *remote) Exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	var begun atomic.Bool
	started := stdio.Started
	stdio.Started = func(pid int64) {
		begun.Store(true)
		if started != nil {
			started(max(0, pid))
		}
	}
	for try := 0; try < execTries && !r.lives(ctx, spec.SandboxID); try++ {
	}
	status, err := do(ctx, r, "Exec", 0, func(ctx context.Context, p *launch.Process) (driver.ExitStatus, error) {
		status, err := p.Exec(ctx, spec, stdio)
		if err == nil {
			err = checkExit(status)
		}
		return status, err
	})
	if driver.ReasonOf(err) == driver.DriverCrashed && !begun.Load() {
		e := *driver.AsError(err)
		e.Message += "; the command may have begun"
		e.Retryable = false
		err = &e
	}
	return status, err
}

const (
	execTries = 4               // how many drivers in a row may be found dead before a command
	lifeLimit = 2 * time.Second // for a sign of life
)

// lives reports whether the driver's process is not known to be dead. What else may
// be wrong the command finds out. It returns once a dead one has been waited for.
func (r *remote) lives(ctx context.Context, sandbox string) bool {
	ctx, cancel := context.WithTimeoutCause(ctx, lifeLimit, noAnswer("Get", lifeLimit))
	defer cancel()
	p, err := r.s.acquire(ctx)
	if err != nil {
		return true
	}
	if _, err := p.Get(ctx, sandbox); driver.ReasonOf(err) != driver.DriverCrashed {
		return true
	}
	select {
	case <-p.Exited():
		return false
	case <-ctx.Done():
		return true
	}
}

// StartSystem starts the engine.
func (r *remote) StartSystem(ctx context.Context, report func(driver.Progress)) error {
	return doErr(ctx, r, "StartSystem", 0, func(ctx context.Context, p *launch.Process) error {
		return p.StartSystem(ctx, cleaned(report))
	})
}

// StopSystem stops the engine.
func (r *remote) StopSystem(ctx context.Context, report func(driver.Progress)) error {
	return doErr(ctx, r, "StopSystem", 0, func(ctx context.Context, p *launch.Process) error {
		return p.StopSystem(ctx, cleaned(report))
	})
}

// EnsureImage makes an image available.
func (r *remote) EnsureImage(ctx context.Context, reference string, policy driver.PullPolicy, report func(driver.Progress)) (driver.Image, error) {
	return r.image(ctx, "EnsureImage", func(ctx context.Context, p *launch.Process) (driver.Image, error) {
		return p.EnsureImage(ctx, reference, policy, cleaned(report))
	})
}

// BuildImage builds an image.
func (r *remote) BuildImage(ctx context.Context, spec driver.BuildSpec, report func(driver.Progress)) (driver.Image, error) {
	return r.image(ctx, "BuildImage", func(ctx context.Context, p *launch.Process) (driver.Image, error) {
		return p.BuildImage(ctx, spec, cleaned(report))
	})
}

func (r *remote) image(ctx context.Context, call string, f func(context.Context, *launch.Process) (driver.Image, error)) (driver.Image, error) {
	return do(ctx, r, call, 0, func(ctx context.Context, p *launch.Process) (driver.Image, error) {
		image, err := f(ctx, p)
		if err == nil {
			err = checkImage(call, image)
		}
		return image, err
	})
}

func cleaned(report func(driver.Progress)) func(driver.Progress) {
	return func(p driver.Progress) {
		if report != nil {
			report(cleanProgress(p))
		}
	}
}

// RemoveImage removes an image.
func (r *remote) RemoveImage(ctx context.Context, reference string, force bool) error {
	return doErr(ctx, r, "RemoveImage", 0, func(ctx context.Context, p *launch.Process) error {
		return p.RemoveImage(ctx, reference, force)
	})
}

// ListImages lists images.
func (r *remote) ListImages(ctx context.Context, labels map[string]string) ([]driver.Image, error) {
	return do(ctx, r, "ListImages", 0, func(ctx context.Context, p *launch.Process) ([]driver.Image, error) {
		images, err := p.ListImages(ctx, labels)
		for _, image := range images {
			if err == nil {
				err = checkImage("ListImages", image)
			}
		}
		return images, err
	})
}

// CopyIn unpacks a tar stream.
func (r *remote) CopyIn(ctx context.Context, id, directory string, tar io.Reader) error {
	return doErr(ctx, r, "CopyIn", 0, func(ctx context.Context, p *launch.Process) error {
		return p.CopyIn(ctx, id, directory, tar)
	})
}

// CopyOut packs a path.
func (r *remote) CopyOut(ctx context.Context, id, path string, tar io.Writer) error {
	return doErr(ctx, r, "CopyOut", 0, func(ctx context.Context, p *launch.Process) error {
		return p.CopyOut(ctx, id, path, tar)
	})
}

// Stats measures a sandbox.
func (r *remote) Stats(ctx context.Context, id string, interval time.Duration, report func(driver.Stats) error) error {
	return doErr(ctx, r, "Stats", 0, func(ctx context.Context, p *launch.Process) error {
		return p.Stats(ctx, id, interval, func(s driver.Stats) error { return report(cleanStats(s)) })
	})
}

// Logs reads a sandbox's output.
func (r *remote) Logs(ctx context.Context, id string, follow bool, tailLines int, out io.Writer) error {
	return doErr(ctx, r, "Logs", 0, func(ctx context.Context, p *launch.Process) error {
		return p.Logs(ctx, id, follow, tailLines, out)
	})
}

// Events tells of changes.
func (r *remote) Events(ctx context.Context, report func(driver.Event) error) error {
	return doErr(ctx, r, "Events", 0, func(ctx context.Context, p *launch.Process) error {
		return p.Events(ctx, func(e driver.Event) error {
			if err := checkEvent(e); err != nil {
				return err
			}
			return report(e)
		})
	})
}

// Listeners tells what listens.
func (r *remote) Listeners(ctx context.Context, id string, report func([]driver.Listener) error) error {
	return doErr(ctx, r, "Listeners", 0, func(ctx context.Context, p *launch.Process) error {
		return p.Listeners(ctx, id, func(listeners []driver.Listener) error {
			if err := checkListeners(listeners); err != nil {
				return err
			}
			for i := range listeners { // a command line is whatever its process says
				listeners[i].Command = printable(listeners[i].Command)
			}
			return report(listeners)
		})
	})
}

var (
	_ driver.Remote          = (*remote)(nil)
	_ driver.SystemStarter   = (*remote)(nil)
	_ driver.SystemStopper   = (*remote)(nil)
	_ driver.ImageEnsurer    = (*remote)(nil)
	_ driver.ImageBuilder    = (*remote)(nil)
	_ driver.ImageRemover    = (*remote)(nil)
	_ driver.ImageLister     = (*remote)(nil)
	_ driver.Copier          = (*remote)(nil)
	_ driver.StatsReader     = (*remote)(nil)
	_ driver.LogReader       = (*remote)(nil)
	_ driver.EventWatcher    = (*remote)(nil)
	_ driver.ListenerWatcher = (*remote)(nil)
)
