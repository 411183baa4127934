package daemon

import (
	"context"
	"sync"
	"time"
)

// activity knows how long a daemon has had nothing to do.
type activity struct {
	limit time.Duration // not above zero: never idle
	busy  func() bool

	mu    sync.Mutex
	calls int
	since time.Time // of the last call's end
}

func newActivity(limit time.Duration, busy func() bool) *activity {
	return &activity{limit: limit, busy: busy, since: time.Now()}
}

// add counts a call's begin (1) or end (-1).
func (a *activity) add(delta int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls += delta
	a.since = time.Now()
}

// idle is how long nothing was done. time.Now's monotonic clock makes it immune
// to a changed wall clock.
func (a *activity) idle() time.Duration {
	busy := a.busy() // it takes the mutexes of others, so never with this one held
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.calls > 0 || busy {
		a.since = time.Now()
	}
	return time.Since(a.since)
}

// watch ends the daemon once it has been idle for the limit.
func (a *activity) watch(ctx context.Context, end context.CancelCauseFunc) {
	if a.limit <= 0 {
		return
	}
	ticker := time.NewTicker(min(a.limit/4+time.Millisecond, time.Minute))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if a.idle() >= a.limit {
				end(errIdle)
				return
			}
		}
	}
}

// defaultCheck is the time between two looks at the socket and at the home.
const defaultCheck = 5 * time.Second

// watch ends a daemon whose socket or home was removed or replaced, or what they
// are in: clients cannot reach it any more, and the next one starts another daemon.
func watch(ctx context.Context, there func() bool, every time.Duration, why error, end context.CancelCauseFunc) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if !there() {
				end(why)
				return
			}
		}
	}
}
