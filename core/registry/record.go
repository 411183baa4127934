package registry

import (
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Policy says when a driver is restarted and when it is left alone. A zero field
// has the default given with it.
type Policy struct {
	Crashes      int           // so many crashes (5)
	Window       time.Duration // within this time (2 min)
	CoolDown     time.Duration // set the driver aside for this long (5 min)
	Misses       int           // so many control calls in a row without an answer in time (5)
	MissCoolDown time.Duration // set it aside for this long (1 min)
	MinDelay     time.Duration // before the first restart (0.5 s)
	MaxDelay     time.Duration // before later ones, growing, with jitter (30 s)
}

func (p Policy) withDefaults() Policy {
	set := func(d *time.Duration, to time.Duration) {
		if *d <= 0 {
			*d = to
		}
	}
	set(&p.Window, 2*time.Minute)
	set(&p.CoolDown, 5*time.Minute)
	set(&p.MissCoolDown, time.Minute)
	set(&p.MinDelay, 500*time.Millisecond)
	set(&p.MaxDelay, 30*time.Second)
	if p.Crashes <= 0 {
		p.Crashes = 5
	}
	if p.Misses <= 0 {
		p.Misses = 5
	}
	return p
}

func (p Policy) backoff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = p.MinDelay, p.MaxDelay, 2
	b.Reset()
	return b
}

// record is how one driver has behaved. It knows no clock: every method is told
// the time.
type record struct {
	policy  Policy
	delays  *backoff.ExponentialBackOff
	crashes []time.Time
	misses  int
	asides  int // for misses, with no answer in between
	until   time.Time
	why     *driver.Error
}

func newRecord(p Policy) record {
	return record{policy: p, delays: p.backoff()}
}

// crash notes a crash after some time of running, and tells how long to wait
// before a restart.
func (r *record) crash(now time.Time, ran time.Duration, last *driver.Error) time.Duration {
	if ran >= r.policy.Window {
		r.delays.Reset()
	}
	r.misses = 0
	r.crashes = append(slices.DeleteFunc(r.crashes, func(t time.Time) bool { return now.Sub(t) > r.policy.Window }), now)
	if len(r.crashes) >= r.policy.Crashes {
		r.until = now.Add(r.policy.CoolDown)
		r.why = driver.Errorf(driver.DriverSetAside, "it crashed %d times within %s; the last time: %s",
			len(r.crashes), r.policy.Window, last.Message)
		r.crashes = nil
		r.delays.Reset()
	}
	return r.delays.NextBackOff()
}

// few tells whether the driver has crashed so seldom that a caller need not wait
// for the delay.
func (r *record) few(now time.Time) bool {
	recent := 0
	for _, t := range r.crashes {
		if now.Sub(t) <= r.policy.Window {
			recent++
		}
	}
	return recent <= r.policy.Crashes/2
}

// miss notes a call without an answer in time. It tells whether the driver is
// set aside for it, and whether that happens again, so that it should be ended.
func (r *record) miss(now time.Time, call string) (aside, again bool) {
	r.misses++
	if r.misses < r.policy.Misses {
		return false, false
	}
	r.misses = r.policy.Misses - 1 // after the cool-down, one more is enough
	r.asides++
	r.until = now.Add(r.policy.MissCoolDown)
	r.why = driver.Errorf(driver.DriverSetAside, "it did not answer %d calls in a row in time; the last was %s", r.policy.Misses, call)
	return true, r.asides > 1
}

// answer notes a call that was answered.
func (r *record) answer() { r.misses, r.asides = 0, 0 }

// aside is why the driver is left alone now, or nil.
func (r *record) aside(now time.Time, name string) *driver.Error {
	if !now.Before(r.until) {
		return nil
	}
	e := *r.why
	e.Driver, e.Retryable = name, true
	e.Message += "; it is left alone until " + r.until.Format(time.TimeOnly)
	return e.Remedy("see what it said", "sero", "daemon", "logs").
		Remedy("test it", "sero", "driver", "test", name)
}
