package registry

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Offers starts the named drivers, or all that are not hidden, at once and returns what
// each can do now, best first. One that does not start or tell its health within
// HealthWait is offered with that as its problem; it never delays the others
// further. Names that are not known are left out.
func (r *Registry) Offers(ctx context.Context, names ...string) []negotiate.Offer {
	r.Rescan()
	if len(names) == 0 {
		names = r.shown()
	}
	return r.gather(ctx, names, nil)
}

// Survey is Offers for lists and hints: a driver that was waited for in vain is not
// waited for once more. It is asked meanwhile, and offered as what is known of it.
func (r *Registry) Survey(ctx context.Context, names ...string) []negotiate.Offer {
	r.Rescan()
	if len(names) == 0 {
		names = r.shown()
	}
	var late []negotiate.Offer
	names = slices.DeleteFunc(names, func(name string) bool {
		s, ok := r.find(name)
		if !ok || !s.askLater() {
			return false
		}
		late = append(late, s.unanswered())
		return true
	})
	offers := append(r.gather(ctx, names, nil), late...)
	slices.SortFunc(offers, negotiate.Compare)
	return offers
}

// Choose picks the driver for a workspace, starting only those that may be
// picked. It waits for none that could not be picked any more. See
// negotiate.Choose for its errors.
func (r *Registry) Choose(ctx context.Context, request negotiate.Request) (negotiate.Choice, error) {
	r.Rescan()
	if named := request.Driver; named != "" && named != negotiate.FakeDriver && Hidden(negotiate.FakeDriver) {
		request.HideFake = true // what was meant is another one
	}
	asked := r.candidates(request)
	var offers []negotiate.Offer
	if len(asked) > 0 {
		offers = r.gather(ctx, asked, func(answered []negotiate.Offer, open []string) bool {
			choice, err := negotiate.Choose(request, answered)
			return err == nil && !choice.HostMode && !slices.ContainsFunc(open, func(name string) bool {
				return negotiate.MayPrecede(name, choice.Actual)
			})
		})
	}
	for _, e := range r.Entries() {
		if !slices.Contains(asked, e.Name) {
			offers = append(offers, e.Offer())
		}
	}
	choice, err := negotiate.Choose(request, offers)
	if ctx.Err() != nil {
		return negotiate.Choice{}, driver.AsError(context.Cause(ctx))
	}
	return choice, err
}

// candidates are the drivers that a request may lead to.
func (r *Registry) candidates(request negotiate.Request) []string {
	names := r.names()
	return slices.DeleteFunc(names, func(name string) bool {
		switch {
		case request.Mode == negotiate.ModeHost:
			return name != negotiate.HostDriver
		case request.Driver != "":
			return name != request.Driver && (name != negotiate.HostDriver || !request.FallbackHost)
		default:
			return name == negotiate.FakeDriver
		}
	})
}

// gather asks the named drivers, all at the same time, and returns their offers,
// best first. It waits for each until HealthWait is over. Once enough holds of
// those that have answered and the names of those that have not, it waits for the
// others no longer than a moment; nil never holds.
func (r *Registry) gather(ctx context.Context, names []string, enough func(answered []negotiate.Offer, open []string) bool) []negotiate.Offer {
	open := map[string]*supervisor{}
	for _, name := range names {
		if s, ok := r.find(name); ok {
			open[name] = s
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.config.HealthWait, errNotStarted(r.config.HealthWait))
	answers := make(chan negotiate.Offer, len(open))
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	for _, s := range open {
		group.Go(func() { answers <- s.offer(ctx) })
	}
	var offers []negotiate.Offer
	var moment <-chan time.Time
	for len(open) > 0 {
		select {
		case o := <-answers:
			delete(open, o.Name)
			offers = append(offers, o)
			if moment == nil && len(open) > 0 && enough != nil && enough(offers, slices.Collect(maps.Keys(open))) {
				timer := time.NewTimer(r.moment(open))
				defer timer.Stop()
				moment = timer.C
			}
		case <-moment:
			for name, s := range open {
				delete(open, name)
				offers = append(offers, s.unanswered())
			}
		}
	}
	slices.SortFunc(offers, negotiate.Compare)
	return offers
}

const choiceMoment = 500 * time.Millisecond

// moment is how long a choice that is made waits for those that it does not depend
// on, to say of each why it was not chosen: not at all for those that were late
// before.
func (r *Registry) moment(open map[string]*supervisor) time.Duration {
	for _, s := range open {
		if !s.isLate() {
			return min(r.config.HealthWait, choiceMoment)
		}
	}
	return 0
}

// errLate is the cause of the end of the wait for a driver.
var errLate = errors.New("the driver had its time")

func errNotStarted(within time.Duration) *driver.Error {
	e := driver.Errorf(driver.Timeout, "it has not started within %s; it may be starting still", within)
	e.Err = errLate
	return e.Remedy("try again in a moment")
}

// offer starts the driver and waits for its health, both until ctx ends.
func (s *supervisor) offer(ctx context.Context) negotiate.Offer {
	err := s.ask(ctx)
	s.mu.Lock()
	defer s.unlock()
	o := s.known()
	if err != nil {
		o.Problem = driver.AsError(err)
		if o.Problem.Reason == driver.Timeout && s.process == nil && s.problem != nil {
			o.Problem = s.problem // what it failed with the last time says more
		}
	}
	return o
}

// ask starts the driver and waits until it has told its health, both until ctx
// ends, and notes whether it answered in time.
func (s *supervisor) ask(ctx context.Context) error {
	_, err := s.acquire(ctx)
	answered := err == nil || ctx.Err() == nil
	if err == nil {
		s.mu.Lock()
		reported := s.reported
		s.mu.Unlock()
		select {
		case <-reported:
			answered = s.lookAgain(ctx)
		case <-ctx.Done():
			answered = false
			err = driver.Errorf(unreported.Reason, "%s", unreported.Message).Remedy("try again in a moment")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if answered {
		s.late = false
	} else if errors.Is(context.Cause(ctx), errLate) {
		s.late = true
	}
	return err
}

// lookAgain asks a driver whose runtime did not work when it last told: an engine
// that came back a moment ago is not refused for what it was. It reports whether
// the driver answered, if it was asked.
func (s *supervisor) lookAgain(ctx context.Context) bool {
	s.mu.Lock()
	p, state := s.process, s.health.State
	s.unlock()
	switch state {
	case driver.HealthStopped, driver.HealthWedged, driver.HealthUnhealthy:
	default:
		return true
	}
	if p == nil {
		return true
	}
	err := p.Health(ctx, func(h driver.Health) error {
		s.healthReported(p, cleanHealth(h))
		return errLooked
	})
	return errors.Is(err, errLooked) || ctx.Err() == nil
}

// askLater has the driver asked in the background if it did not answer in time when
// it was last asked. It reports whether that is so.
func (s *supervisor) askLater() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.late || s.closed {
		return false
	}
	if s.asking {
		return true
	}
	s.asking = true
	within := s.registry.config.HealthWait
	s.registry.running.Go(func() {
		ctx, cancel := context.WithTimeoutCause(s.registry.ctx, within, errNotStarted(within))
		defer cancel()
		_ = s.ask(ctx) // what it comes to is kept
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asking = false
	})
	return true
}

func (s *supervisor) isLate() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.late
}

// unanswered is the offer of a driver that is not waited for.
func (s *supervisor) unanswered() negotiate.Offer {
	e := s.entry()
	o := e.Offer()
	if o.Problem == nil && e.State != StateRunning {
		o.Problem = driver.Errorf(driver.Timeout, "it is starting still").Remedy("try again in a moment")
	}
	return o
}

// known is the offer without a look; mu is held.
func (s *supervisor) known() negotiate.Offer {
	o := negotiate.Offer{Name: s.name, Info: driver.Info{Name: s.name}, Health: s.health}
	if s.handshake != nil {
		o.Info, o.Capabilities = s.handshake.Info, s.handshake.Capabilities
	}
	return o
}
