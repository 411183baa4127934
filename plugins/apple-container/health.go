package applecontainer

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

const (
	// firstVerdict is how long a report waits for the system's answer before it
	// says that there is none. A later answer corrects it.
	firstVerdict = 1200 * time.Millisecond
	// tripAfter is how long the system may keep silent before calls fail at once
	// instead of queueing up behind it.
	tripAfter = 3 * time.Second

	lookReady  = 5 * time.Second // between two looks
	lookBroken = 2 * time.Second
)

// monitor knows the system's state, for those who follow it and for calls that
// should not be made while it does not answer.
type monitor struct {
	d *Driver

	mu      sync.Mutex
	asking  chan struct{} // closed when the look that is under way has ended
	since   time.Time     // it began
	last    driver.Health
	changed chan struct{} // closed when somebody should look again
}

func newMonitor(d *Driver) *monitor {
	m := &monitor{d: d, changed: make(chan struct{})}
	d.cli.suspect, d.cli.wedged = m.poke, m.wedged
	return m
}

// poke makes those who follow look again at once.
func (m *monitor) poke() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.changed)
	m.changed = make(chan struct{})
}

// wedged is why a call should not even be made now, or nil.
func (m *monitor) wedged() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	silent := m.asking != nil && time.Since(m.since) > tripAfter
	if silent || m.last.State == driver.HealthWedged {
		return errWedged([]string{"system", "status"}, max(time.Since(m.since), tripAfter))
	}
	return nil
}

// ask looks at the system, with whoever is looking already.
func (m *monitor) ask() (done <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.asking != nil {
		return m.asking
	}
	ended := make(chan struct{})
	m.asking, m.since = ended, time.Now()
	m.d.work.Go(func() { // ends with statusLimit or at Shutdown
		h := m.d.look(m.d.cli.alive)
		m.mu.Lock()
		m.last, m.asking = h, nil
		m.mu.Unlock()
		close(ended)
	})
	return ended
}

func (m *monitor) state() (driver.Health, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last, m.changed
}

// Health reports the system's state until ctx ends.
func (d *Driver) Health(ctx context.Context, report func(driver.Health) error) error {
	var told driver.Health
	tell := func(h driver.Health) error {
		if reflect.DeepEqual(h, told) {
			return nil
		}
		told = h
		return report(h)
	}
	for {
		_, changed := d.health.state()
		done := d.health.ask()
		err := d.wait(ctx, done, firstVerdict)
		if err == nil && !isClosed(done) {
			if err = tell(silence(firstVerdict)); err == nil {
				err = d.wait(ctx, done, statusLimit+versionLimit+5*time.Second)
			}
		}
		if err != nil {
			return err
		}
		h, _ := d.health.state()
		if err := tell(h); err != nil {
			return err
		}
		pause := lookBroken
		if h.State == driver.HealthReady || h.State == driver.HealthNotInstalled {
			pause = lookReady
		}
		if h.State == driver.HealthUnsupported {
			changed, pause = nil, 24*time.Hour // it stays so
		}
		if err := d.wait(ctx, changed, pause); err != nil {
			return err
		}
	}
}

// wait waits for done, but not longer than limit. Its error is the end of ctx or
// of the driver.
func (d *Driver) wait(ctx context.Context, done <-chan struct{}, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctxError(ctx)
	case <-d.closed:
		return errClosed()
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func silence(limit time.Duration) driver.Health {
	return unhealthy(driver.HealthWedged, errWedged([]string{"system", "status"}, limit))
}

func unhealthy(state driver.HealthState, err error) driver.Health {
	e := driver.AsError(err)
	return driver.Health{State: state, Reason: e.Reason, Message: e.Message, Remedies: e.Remedies}
}

// look asks for the system's state once.
func (d *Driver) look(ctx context.Context) driver.Health {
	e, err := d.cli.engine(ctx)
	if err == nil {
		var h driver.Health
		if h, err = d.status(ctx, e); err == nil {
			return h
		}
	}
	state := driver.HealthUnhealthy
	switch driver.ReasonOf(err) {
	case driver.Unsupported:
		state = driver.HealthUnsupported
	case driver.EngineNotInstalled:
		state = driver.HealthNotInstalled
	case driver.EngineWedged:
		state = driver.HealthWedged
	default:
	}
	h := unhealthy(state, err)
	if len(h.Remedies) == 0 {
		h.Remedies = []driver.Remedy{{Text: "see what it says", Command: []string{"container", "system", "status"}}}
	}
	return h
}

// status reads system status. Its exit code says whether the system runs; of
// what it prints nothing is needed for that, and a later release may print
// something else.
func (d *Driver) status(ctx context.Context, e engine) (driver.Health, error) {
	args := []string{"system", "status"}
	if e.statusJSON {
		args = append(args, "--format", "json")
	}
	r, err := d.cli.call(ctx, command{limit: statusLimit, args: args, free: true, probe: true})
	if err != nil {
		return driver.Health{}, err
	}
	h := driver.Health{
		State:      driver.HealthReady,
		Message:    fmt.Sprintf("Apple's container %s is running", e.version),
		Attributes: map[string]string{"engine.name": "container", "engine.version": e.version.String(), "engine.dialect": e.since.String()},
	}
	switch r.code {
	case 0:
	case usageCode:
		return h, driver.Errorf(driver.Internal, "%s", words(r)).Remedy("report it, with the output of: container --version")
	default:
		h.State, h.Reason = driver.HealthStopped, driver.EngineNotRunning
		h.Message = fmt.Sprintf("Apple's container %s is installed and its system is not running", e.version)
		h.Remedies = slices.Clone(meanings[classDown].remedies)
		return h, nil
	}
	if e.newer {
		h.Message += fmt.Sprintf("; it is newer than %s, the newest release that is known, and spoken to like that one", newest)
	}
	var said struct {
		Server string `json:"apiServerVersion"`
	}
	if json.Unmarshal([]byte(r.stdout), &said) == nil {
		if v, err := parseVersion(said.Server); err == nil && !v.Equal(e.version) {
			h.Message += fmt.Sprintf("; its system is still release %s, from before an upgrade: restart it when nobody needs it (sero driver restart apple-container)", v)
			h.Attributes = maps.Clone(h.Attributes)
			h.Attributes["engine.server"] = v.String()
		}
	}
	return h, nil
}
