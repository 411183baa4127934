package workspace

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// flight is one attempt to make a workspace ready, shared by all who wait for
// it. It runs apart from them: one that gives up is not felt by the others.
// When the last has given up, it ends.
type flight struct {
	wish wish
	done chan struct{} // closed when result and err are set
	end  context.CancelCauseFunc

	result *sandbox
	err    error

	mu        sync.Mutex // guards what follows
	waiting   map[*waiter]struct{}
	abandoned bool
	latest    driver.Progress
	reported  bool
}

// wish is which driver a caller asks for.
type wish struct {
	driver string // empty: the workspace's own; "auto", "host" or a driver's name
	keep   bool   // it is the workspace's from now on
}

// waiter gets the flight's progress. Its buffer holds the newest steps; one who
// is slow misses some.
type waiter struct {
	progress chan driver.Progress
}

// errAbandoned ends a flight that nobody waits for any more.
var errAbandoned = driver.Errorf(driver.Canceled, "nobody waits for the workspace any more")

// errRemoved tells that the workspace was removed before its turn came.
var errRemoved = errors.New("the workspace was removed")

func newFlight(wish wish, end context.CancelCauseFunc) *flight {
	return &flight{wish: wish, done: make(chan struct{}), end: end, waiting: map[*waiter]struct{}{}}
}

// board joins the flight, unless it is ending because nobody was left.
func (f *flight) board() (*waiter, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.abandoned {
		return nil, false
	}
	w := &waiter{progress: make(chan driver.Progress, 16)}
	if f.reported {
		w.progress <- f.latest
	}
	f.waiting[w] = struct{}{}
	return w, true
}

func (f *flight) leave(w *waiter) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.waiting, w)
	if len(f.waiting) == 0 {
		f.abandoned = true
		f.end(errAbandoned)
	}
}

func (f *flight) report(p driver.Progress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.latest, f.reported = p, true
	for w := range f.waiting {
		for sent := false; !sent; {
			select {
			case w.progress <- p:
				sent = true
			default:
				select { // room for the newer step
				case <-w.progress:
				default:
				}
			}
		}
	}
}

// wait passes progress on until the flight is over or ctx ends.
func (f *flight) wait(ctx context.Context, w *waiter, report func(driver.Progress)) (*sandbox, error) {
	defer f.leave(w)
	for {
		select {
		case p := <-w.progress:
			report(p)
		case <-f.done:
			for {
				select {
				case p := <-w.progress:
					report(p)
				default:
					return f.result, f.err
				}
			}
		case <-ctx.Done():
			return nil, driver.AsError(context.Cause(ctx))
		}
	}
}

// ensure makes a workspace ready and gives its sandbox. With verify, the driver
// is asked even if the sandbox was ready when last looked at; without, only
// what is known to be gone or to show a directory that was replaced is looked at.
// Concurrent calls share one attempt.
func (m *Manager) ensure(ctx context.Context, e *entry, wish wish, verify bool, report func(driver.Progress)) (*sandbox, error) {
	if report == nil {
		report = func(driver.Progress) {}
	}
	if !verify {
		var err error
		if verify, err = e.toVerify(); err != nil {
			return nil, err
		}
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, driver.AsError(context.Cause(ctx))
		}
		e.mu.Lock()
		switch current := e.current; {
		case e.removed:
			e.mu.Unlock()
			return nil, errRemoved
		case current != nil && conflicts(wish.driver, current.choice):
			e.mu.Unlock()
			return nil, errOtherDriver(e.id, wish.driver, current.choice.Actual)
		case current != nil && e.staysIsolated(wish.driver):
			livesIn := e.livesIn()
			e.mu.Unlock()
			return nil, errOnHost(e.id, livesIn)
		case current != nil && !verify && e.phase == StateUnknown:
			e.mu.Unlock()
			return current, nil
		}
		f := e.flight
		if f == nil {
			f = m.launch(e, wish)
		}
		e.mu.Unlock()
		if f.wish == wish || m.life.Err() != nil {
			if w, ok := f.board(); ok {
				result, err := f.wait(ctx, w, report)
				return result, err
			}
		}
		select { // another's attempt with another wish: its result decides first
		case <-f.done:
		case <-ctx.Done():
		}
	}
}

// launch starts a flight. e.mu must be held.
func (m *Manager) launch(e *entry, wish wish) *flight {
	ctx, end := context.WithCancelCause(m.life)
	f := newFlight(wish, end)
	begun := m.begin(func() {
		defer end(nil)
		timed, stop := context.WithTimeoutCause(ctx, m.options.EnsureTimeout, errEnsureTimeout(e.id, m.options.EnsureTimeout))
		defer stop()
		result, err := m.makeReady(timed, e, f)
		if err != nil {
			if cause := context.Cause(timed); cause != nil {
				err = cause // whatever the driver made of it
			}
			if !errors.Is(err, errRemoved) {
				err = driver.AsError(err)
			}
		}
		e.mu.Lock()
		f.result, f.err = result, err
		e.flight = nil
		e.mu.Unlock()
		close(f.done)
	})
	if begun {
		e.flight = f
	} else {
		f.err = errClosed
		end(errClosed)
		close(f.done)
	}
	return f
}

func errEnsureTimeout(id string, after time.Duration) error {
	err := driver.Errorf(driver.Timeout, "workspace %s was not ready after %s", id, after).About(id).
		Remedy("see what the driver says", "sero", "doctor")
	err.Retryable = true
	return err
}

// makeReady takes the workspace's turn and makes it ready, with its events.
func (m *Manager) makeReady(ctx context.Context, e *entry, f *flight) (*sandbox, error) {
	if err := e.take(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	e.mu.Lock()
	if e.removed {
		e.mu.Unlock()
		return nil, errRemoved
	}
	before := e.current
	e.phase = StateStarting
	e.mu.Unlock()

	attempt := &attempt{m: m, e: e, wish: f.wish.driver, keepWish: f.wish.keep, report: f.report}
	unused := e.unused()
	result, err := attempt.run(ctx, before)
	if unused && m.givesWay(e, attempt.seen, err) {
		return nil, errRemoved
	}
	if e.neverWas(err) {
		m.forgetUnused(e)
	}

	e.mu.Lock()
	e.phase = StateUnknown
	if cause := context.Cause(ctx); err != nil && (cause == errAbandoned || cause == errClosed) && !attempt.announced { //nolint:errorlint // it is this very value
		e.mu.Unlock() // nothing was learnt, and nothing has changed
		return nil, err
	}
	e.failure, e.current = err, result
	e.warnings, e.drift = attempt.warnings, attempt.drift
	if attempt.choice.Actual != "" {
		e.choice = attempt.choice
	}
	e.mu.Unlock()
	switch {
	case err != nil && attempt.announced:
		m.publish(event.WorkspaceFailed, e.id, "%s", driver.AsError(err).Error())
	case err == nil && attempt.announced:
		m.publish(event.WorkspaceRunning, e.id, "ready in driver %s", result.choice.Actual)
	}
	return result, err
}
