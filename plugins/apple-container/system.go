package applecontainer

import (
	"context"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// systemLimit is how long starting the system may take. The first time, it
// downloads a kernel of some hundred megabytes.
const systemLimit = 15 * time.Minute

// StartSystem starts the system if it is installed and stopped. It asks nothing:
// the CLI would want to know whether to install a kernel, and is told to.
func (d *Driver) StartSystem(ctx context.Context, report func(driver.Progress)) error {
	return d.starts.join(ctx, d.cli.alive, report, d.startSystem)
}

func (d *Driver) startSystem(ctx context.Context, report func(driver.Progress)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, systemLimit, driver.Errorf(driver.Timeout, "starting Apple's container system took more than %s", systemLimit))
	defer cancel()
	done, err := d.systemTurn(ctx)
	if err != nil {
		return err
	}
	defer done()
	h := d.look(ctx)
	switch h.State {
	case driver.HealthReady:
		return nil
	case driver.HealthStopped:
	default:
		return &driver.Error{Reason: h.Reason, Message: h.Message, Remedies: h.Remedies}
	}
	e, err := d.cli.engine(ctx)
	if err != nil {
		return err
	}
	report(driver.Progress{Phase: "start", Message: "starting Apple's container system; the first time, it fetches a kernel"})
	args := []string{"system", "start", "--enable-kernel-install"}
	if e.startTimeout {
		args = append(args, "--timeout", "60")
	}
	r, err := d.cli.call(ctx, command{
		limit: systemLimit, args: args, free: true, probe: true,
		output: func(line string) { report(driver.Progress{Phase: "start", Message: oneLine(line, maxWords)}) },
	})
	if err != nil {
		return err
	}
	defer d.health.poke()
	return d.whenReady(ctx, r)
}

// readyLimit is how long a system that was started may take to answer.
const readyLimit = 15 * time.Second

// whenReady waits until the system that was started answers. A start that the
// CLI calls failed may have succeeded all the same: another one may have started
// it, or only the kernel is missing.
func (d *Driver) whenReady(ctx context.Context, started result) error {
	for deadline := time.Now().Add(readyLimit); ; {
		h := d.look(ctx)
		switch {
		case h.State == driver.HealthReady && started.code == 0:
			return nil
		case ctx.Err() != nil:
			return ctxError(ctx)
		case started.code != 0 && h.State == driver.HealthReady, time.Now().After(deadline), started.code != 0 && h.State == driver.HealthStopped:
			e := driver.Errorf(driver.EngineNotRunning, "Apple's container system does not start: %s", words(started))
			if started.code == 0 {
				e.Message = "Apple's container system was started and does not answer: " + h.Message
			}
			return e.Remedy("start it by hand and see what it says", "container", "system", "start", "--enable-kernel-install")
		}
		if err := d.wait(ctx, nil, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// stopLimit is how long stopping the system may take. It gives its containers
// twenty seconds.
const stopLimit = time.Minute

// StopSystem stops the system and everybody's containers with it. Nothing in the
// driver calls it: a person has to ask for it (B17).
func (d *Driver) StopSystem(ctx context.Context, report func(driver.Progress)) error {
	return d.stops.join(ctx, d.cli.alive, report, d.stopSystem)
}

func (d *Driver) stopSystem(ctx context.Context, report func(driver.Progress)) error {
	done, err := d.systemTurn(ctx)
	if err != nil {
		return err
	}
	defer done()
	report(driver.Progress{Phase: "stop", Message: "stopping Apple's container system and all that runs in it"})
	defer d.health.poke()
	r, err := d.cli.call(ctx, command{
		limit: stopLimit, args: []string{"system", "stop"}, free: true, probe: true,
		output: func(line string) { report(driver.Progress{Phase: "stop", Message: oneLine(line, maxWords)}) },
	})
	switch {
	case driver.ReasonOf(err) == driver.EngineWedged: // a restart is what does not work
		e := driver.AsError(err)
		e.Remedies = nil
		return e.Remedy("restart this Mac: its container system cannot even be stopped")
	case err != nil:
		return err
	case r.code != 0:
		return failure(r, "").Remedy("stop it by hand and see what it says", "container", "system", "stop")
	}
	if h := d.look(ctx); h.State != driver.HealthStopped {
		return driver.Errorf(driver.EngineWedged, "Apple's container system was stopped and is %s: %s", h.State, h.Message).
			Remedy("see what it says", "container", "system", "status")
	}
	return nil
}

// systemTurn waits until no start and no stop of the system is under way.
func (d *Driver) systemTurn(ctx context.Context) (done func(), err error) {
	select {
	case d.system <- struct{}{}:
		return func() { <-d.system }, nil
	case <-ctx.Done():
		return nil, ctxError(ctx)
	}
}

// flight is something that is done once for all who ask for it meanwhile.
type flight struct {
	mu  sync.Mutex
	now *run
}

type run struct {
	done   chan struct{}
	err    error
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	joined  int
	reports map[chan driver.Progress]bool
}

// join waits for the end of what do does, begun now or before. It goes on as
// long as one of those who joined is left.
func (f *flight) join(ctx, alive context.Context, report func(driver.Progress), do func(context.Context, func(driver.Progress)) error) error {
	progress := make(chan driver.Progress, 64)
	r := f.board(alive, progress, do)
	defer f.leave(r, progress)
	for {
		select {
		case p := <-progress:
			report(p)
			continue
		case <-ctx.Done():
			return ctxError(ctx)
		case <-r.done:
		}
		for len(progress) > 0 {
			report(<-progress)
		}
		return r.err
	}
}

func (f *flight) board(alive context.Context, progress chan driver.Progress, do func(context.Context, func(driver.Progress)) error) *run {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.now
	if r == nil {
		ctx, cancel := context.WithCancelCause(alive)
		r = &run{done: make(chan struct{}), cancel: cancel, reports: map[chan driver.Progress]bool{}}
		f.now = r
		go func() { // ends with do, which ctx ends
			r.err = do(ctx, r.report)
			f.mu.Lock()
			if f.now == r {
				f.now = nil
			}
			f.mu.Unlock()
			close(r.done)
			cancel(nil)
		}()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joined++
	r.reports[progress] = true
	return r
}

func (f *flight) leave(r *run, progress chan driver.Progress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.reports, progress)
	if r.joined--; r.joined == 0 {
		if f.now == r {
			f.now = nil // who comes now begins anew
		}
		r.cancel(driver.Errorf(driver.Canceled, "nobody waits for it any more"))
	}
}

// report tells all who joined; those who are slow miss some of it.
func (r *run) report(p driver.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for progress := range r.reports {
		select {
		case progress <- p:
		default:
		}
	}
}
