package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/launch"
)

// State is where a driver is in its life.
type State string

// The states.
const (
	StateIdle     State = "idle"      // nobody has needed it yet
	StateStarting State = "starting"  // its process is being started
	StateRunning  State = "running"   // it runs; its health says whether it works
	StateCrashed  State = "crashed"   // it is about to be started again
	StateSetAside State = "set-aside" // it crashed or hung too often and is left alone
	StateUnusable State = "unusable"  // it could not be started; it may be tried again
)

// supervisor runs one driver: it starts the process when somebody needs it,
// keeps its health, and starts it again after a crash.
type supervisor struct {
	name     string
	registry *Registry
	log      *slog.Logger

	mu        sync.Mutex
	binary    binary
	process   *launch.Process // nil unless it runs
	started   time.Time
	attempt   *attempt // to start it, if one is under way
	handshake *launch.Handshake
	health    driver.Health
	reported  chan struct{} // closed when the process has told its health
	problem   *driver.Error // why it does not run
	retryAt   time.Time     // after a failed start
	failures  int           // failed starts in a row
	record    record
	restarts  int
	late      bool // it did not answer within its time when it was last asked
	asking    bool // it is asked in the background
	closed    bool
	pending   []notice // events to send once mu is free
}

// attempt is one start, after a delay that a caller in need can cut short.
type attempt struct {
	restart bool
	since   time.Time // the process was launched; zero before
	hurry   chan struct{}
	hurried bool
	done    chan struct{}
	err     *driver.Error
}

type notice struct {
	kind    event.Type
	message string
}

func newSupervisor(r *Registry, b binary) *supervisor {
	return &supervisor{
		name: b.name, registry: r, log: r.config.Log.With("driver", b.name),
		binary: b, record: newRecord(r.config.Policy),
	}
}

// unlock frees mu and then sends the events that came up.
func (s *supervisor) unlock() {
	pending := s.pending
	s.pending = nil
	s.mu.Unlock()
	for _, n := range pending {
		s.log.Info("driver event", "event", string(n.kind), "message", n.message)
		if s.registry.config.OnEvent != nil {
			s.registry.config.OnEvent(n.kind, s.name, n.message)
		}
	}
}

func (s *supervisor) notify(kind event.Type, message string) {
	s.pending = append(s.pending, notice{kind, message})
}

// acquire is the running process, started if need be. A driver that could not
// be started just now fails with the same error at once; one that crashed is
// started again.
func (s *supervisor) acquire(ctx context.Context) (*launch.Process, error) {
	for {
		p, a, err := s.next()
		if p != nil || err != nil {
			return p, err
		}
		select {
		case <-a.done:
			if a.err != nil {
				return nil, a.err
			}
		case <-ctx.Done():
			return nil, driver.AsError(context.Cause(ctx))
		}
	}
}

// next is the process, or the attempt to wait for, or why there is none.
func (s *supervisor) next() (*launch.Process, *attempt, error) {
	found := identify(s.path()) // whether it was changed since it failed
	s.mu.Lock()
	defer s.unlock()
	now := time.Now()
	if s.process != nil && exited(s.process) {
		s.bury(s.process)
	}
	if s.closed {
		return nil, nil, errClosed()
	}
	if why := s.record.aside(now, s.name); why != nil {
		return nil, nil, why
	}
	if s.process != nil {
		return s.process, nil, nil
	}
	if s.attempt == nil {
		if s.problem != nil && now.Before(s.retryAt) && found == s.binary.identity {
			return nil, nil, s.problem
		}
		s.begin(0, false)
	} else if !s.attempt.hurried && s.record.few(now) {
		s.attempt.hurried = true
		close(s.attempt.hurry)
	}
	return nil, s.attempt, nil
}

// begin starts an attempt; mu is held.
func (s *supervisor) begin(delay time.Duration, restart bool) {
	a := &attempt{restart: restart, hurry: make(chan struct{}), done: make(chan struct{})}
	s.attempt = a
	s.registry.running.Go(func() { s.run(a, delay) })
}

func (s *supervisor) run(a *attempt, delay time.Duration) {
	ctx := s.registry.ctx
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-a.hurry:
		case <-ctx.Done():
		}
	}
	var p *launch.Process
	err := errClosed()
	if ctx.Err() == nil {
		s.mu.Lock()
		a.since = time.Now()
		s.mu.Unlock()
		p, err = s.launch(ctx)
	}
	if late := s.finish(a, p, err); late != nil {
		_ = late.Close(context.WithoutCancel(ctx)) // the registry closed meanwhile
	}
}

// finish records what became of an attempt. It returns a process that nobody
// wants any more.
func (s *supervisor) finish(a *attempt, p *launch.Process, err *driver.Error) (late *launch.Process) {
	s.mu.Lock()
	defer s.unlock()
	defer close(a.done)
	s.attempt = nil
	now := time.Now()
	switch {
	case s.closed:
		a.err = errClosed()
		return p
	case err != nil:
		a.err = err
		s.failed(a, now)
		return nil
	}
	s.process, s.started, s.problem, s.failures = p, now, nil, 0
	s.health, s.reported = unreported, make(chan struct{})
	if a.restart {
		s.restarts++
	}
	s.notify(event.DriverStarted, fmt.Sprintf("version %s, process %d", s.handshake.Info.Version, p.PID()))
	s.registry.running.Go(func() { s.watch(p) })
	return nil
}

// failed decides what follows a start that failed; mu is held.
func (s *supervisor) failed(a *attempt, now time.Time) {
	s.problem = a.err
	if a.restart {
		delay := s.record.crash(now, 0, a.err)
		s.again(now, delay)
		return
	}
	s.failures++
	delay := s.registry.config.Policy.MinDelay << min(s.failures-1, 16)
	s.retryAt = now.Add(min(delay, s.registry.config.Policy.MaxDelay))
	s.log.Warn("driver does not start", "reason", string(a.err.Reason), "error", a.err.Message)
}

// again plans the restart after a crash; mu is held.
func (s *supervisor) again(now time.Time, delay time.Duration) {
	if why := s.record.aside(now, s.name); why != nil {
		s.problem = nil
		s.notify(event.DriverSetAside, why.Message)
		return
	}
	s.begin(delay, true)
}

// bury records the end of the process that ran; mu is held.
func (s *supervisor) bury(p *launch.Process) {
	if s.process != p {
		return
	}
	s.process = nil
	s.health = driver.Health{}
	if s.closed {
		return
	}
	why := *driver.AsError(p.Err())
	why.Driver = s.name
	s.problem = &why
	s.notify(event.DriverCrashed, why.Message)
	now := time.Now()
	s.again(now, s.record.crash(now, now.Sub(s.started), &why))
}

// watch follows a process until its end.
func (s *supervisor) watch(p *launch.Process) {
	ctx, cancel := context.WithCancelCause(s.registry.ctx)
	var health sync.WaitGroup
	health.Go(func() { s.watchHealth(ctx, p) })
	<-p.Exited()
	cancel(errors.New("the driver's process ended"))
	s.mu.Lock()
	s.bury(p)
	s.unlock()
	health.Wait()
	_ = p.Close(context.WithoutCancel(ctx)) // there is only its connection left
}

// binaryChanged takes what discovery found now.
func (s *supervisor) binaryChanged(b binary) {
	s.mu.Lock()
	defer s.unlock()
	if !s.binary.same(b) {
		s.retryAt, s.failures, s.record = time.Time{}, 0, newRecord(s.registry.config.Policy)
		s.late = false
		if s.process == nil && s.attempt == nil {
			s.problem = nil // it was the other file's
		}
	}
	s.binary = b
}

// abandoned tells whether nothing runs, so that a driver whose file is gone can
// be forgotten.
func (s *supervisor) abandoned() bool {
	s.mu.Lock()
	defer s.unlock()
	return s.process == nil && s.attempt == nil
}

// observe counts a control call that was answered or missed its deadline.
func (s *supervisor) observe(p *launch.Process, call string, missed bool) {
	s.mu.Lock()
	defer s.unlock()
	switch {
	case s.process != p:
	case !missed:
		s.record.answer()
	default:
		now := time.Now()
		aside, again := s.record.miss(now, call)
		if aside {
			s.notify(event.DriverSetAside, s.record.aside(now, s.name).Message)
		}
		if again {
			p.Kill()
		}
	}
}

// close takes no more calls and gives the process, for the registry to end.
func (s *supervisor) close() *launch.Process {
	s.mu.Lock()
	defer s.unlock()
	s.closed = true
	return s.process
}

// current is the process if it runs now.
func (s *supervisor) current() (*launch.Process, bool) {
	s.mu.Lock()
	defer s.unlock()
	return s.process, s.process != nil && !exited(s.process)
}

// declared is what the driver said of itself when it last started.
func (s *supervisor) declared() (driver.Info, []driver.Capability) {
	s.mu.Lock()
	defer s.unlock()
	if s.handshake == nil {
		return driver.Info{Name: s.name}, nil
	}
	return s.handshake.Info, s.handshake.Capabilities
}

// entry is what is known now.
func (s *supervisor) entry() Entry {
	s.mu.Lock()
	defer s.unlock()
	e := Entry{
		Name: s.name, Origin: s.binary.origin, Overrides: s.binary.overrides, State: StateIdle,
		Problem: s.problem, Handshake: s.handshake, Health: s.health, Restarts: s.restarts,
	}
	if s.binary.origin != OriginBundled {
		e.Path = s.binary.path
	}
	if s.process != nil {
		e.PID = s.process.PID()
	}
	aside := s.record.aside(time.Now(), s.name)
	switch {
	case aside != nil:
		e.State, e.Problem = StateSetAside, aside
	case s.process != nil:
		e.State = StateRunning
	case s.attempt != nil && s.attempt.restart:
		e.State = StateCrashed
	case s.problem != nil: // also while it is tried again
		e.State = StateUnusable
	case s.attempt != nil:
		e.State = StateStarting
		if waited := time.Since(s.attempt.since); !s.attempt.since.IsZero() && waited >= s.registry.config.HealthWait/2 {
			e.Problem = s.slowStart(waited)
		}
	default:
		if e.Problem = s.binary.check(); e.Problem != nil {
			e.Problem.Driver, e.State = s.name, StateUnusable
		}
	}
	return e
}

// unreported is the health of a driver that has not told it yet.
var unreported = driver.Health{
	State: driver.HealthUnknown, Reason: driver.Timeout, Message: "it has not told its health yet",
	Remedies: []driver.Remedy{{Text: "try again in a moment"}},
}

// slowStart is the problem of a driver that takes long to start.
func (s *supervisor) slowStart(waited time.Duration) *driver.Error {
	e := driver.Errorf(driver.Timeout, "it was started %s ago and has not answered yet", waited.Round(time.Second))
	e.Driver, e.Retryable = s.name, true
	return e.Remedy("try again in a moment").Remedy("run it by hand to see what it waits for", append([]string{s.binary.path}, s.binary.args...)...)
}

func exited(p *launch.Process) bool {
	select {
	case <-p.Exited():
		return true
	default:
		return false
	}
}

func errClosed() *driver.Error {
	return driver.Errorf(driver.Canceled, "sero is ending")
}
