package devserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// watch looks after the servers of one workspace while any of them is live, and
// in a container for as long as that runs. Its fields are guarded by the
// Supervisor's mu.
type watch struct {
	place     *workspace.Workspace // a container to find servers in; nil: none
	restless  chan struct{}        // holds a token when there is something to look at soon
	pending   map[uint16]time.Time // ports that may become servers, since when
	end       context.CancelCauseFunc
	reopen    context.CancelCauseFunc // of the stream of reports that is open
	reading   bool                    // sero.json is being read for what was found
	known     bool                    // listeners is what the driver last reported
	blind     bool                    // the driver cannot tell listeners: only probing is left
	listeners []driver.Listener
	changed   chan struct{} // closed at the next report
}

var (
	errNothingToWatch = errors.New("no dev server is live")
	errAnother        = errors.New("it may be another sandbox now")
)

// observe makes sure that a workspace is watched. mu must be held.
func (s *Supervisor) observe(workspaceID string) *watch {
	if w := s.watches[workspaceID]; w != nil {
		return w
	}
	ctx, end := context.WithCancelCause(s.life)
	w := &watch{end: end, reopen: func(error) {}, changed: make(chan struct{}), restless: make(chan struct{}, 1), pending: map[uint16]time.Time{}}
	s.watches[workspaceID] = w
	s.work.Go(func() { s.follow(ctx, workspaceID, w) })
	s.work.Go(func() { s.tickle(ctx, workspaceID, w) })
	return w
}

// release ends a workspace's watch when nothing in it is live. mu must be held.
func (s *Supervisor) release(workspaceID string) {
	w := s.watches[workspaceID]
	if w == nil || w.place != nil || slices.ContainsFunc(s.servers, func(v *server) bool { return v.workspaceID == workspaceID && v.live() }) {
		return
	}
	delete(s.watches, workspaceID)
	w.end(errNothingToWatch)
}

// follow takes the driver's reports, and opens the stream anew when it breaks.
func (s *Supervisor) follow(ctx context.Context, workspaceID string, w *watch) {
	pause := tick
	for {
		stream, reopen := context.WithCancelCause(ctx)
		s.mu.Lock()
		w.reopen = reopen
		s.mu.Unlock()
		err := s.runner.Listeners(stream, workspaceID, func(listeners []driver.Listener) error {
			pause = tick
			s.report(workspaceID, w, listeners)
			return nil
		})
		reopened := stream.Err() != nil
		reopen(nil)
		if ctx.Err() != nil {
			return
		}
		if reopened {
			continue
		}
		switch driver.ReasonOf(err) {
		case driver.Unsupported:
			s.mu.Lock()
			w.blind = true
			s.mu.Unlock()
			return
		case driver.NotRunning, driver.NotFound: // what listened is gone with the sandbox
			s.report(workspaceID, w, nil)
			s.mu.Lock()
			s.unattend(workspaceID)
			s.mu.Unlock()
		case driver.DriverCrashed:
			if !s.isContainer(w) { // a container goes on without its driver
				s.report(workspaceID, w, nil)
			}
		default:
			s.log.Debug("the watch of listeners broke", "workspace", workspaceID, "error", err)
		}
		if !sleep(ctx, pause) {
			return
		}
		pause = min(2*pause, 5*time.Second)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (s *Supervisor) report(workspaceID string, w *watch, listeners []driver.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.known, w.listeners = true, slices.Clone(listeners)
	close(w.changed)
	w.changed = make(chan struct{})
	s.judgeAll(workspaceID)
}

func (s *Supervisor) judgeAll(workspaceID string) {
	for _, v := range slices.Clone(s.servers) {
		if v.workspaceID == workspaceID {
			s.judge(v)
			s.judgeParts(v)
		}
	}
	if w := s.watches[workspaceID]; w != nil && w.place != nil {
		s.detect(w)
	}
	s.release(workspaceID)
}

// tickle judges servers as time goes by: often while something may change by
// time alone, else seldom. It probes them now and then.
func (s *Supervisor) tickle(ctx context.Context, workspaceID string, w *watch) {
	for n := 1; ; n++ {
		if n%probeEvery == 0 || s.isBlind(w) {
			s.probeAll(ctx, workspaceID)
		}
		s.mu.Lock()
		s.judgeAll(workspaceID)
		calm := s.calm(workspaceID, w)
		s.mu.Unlock()
		if !calm {
			if !sleep(ctx, tick) {
				return
			}
			continue
		}
		n = probeEvery - 1
		select {
		case <-ctx.Done():
			return
		case <-w.restless:
			n = 0
		case <-time.After(probeEvery * tick):
		}
	}
}

// calm tells whether only a report can change anything. mu must be held.
func (s *Supervisor) calm(workspaceID string, w *watch) bool {
	return !w.blind && len(w.pending) == 0 && !slices.ContainsFunc(s.servers, func(v *server) bool {
		changing := v.found != nil && !v.found.changing.IsZero()
		return v.workspaceID == workspaceID && (changing || v.extrasMayChange() || v.live() && v.status != StatusRunning)
	})
}

// stir makes the watch look at what changes by time alone. mu must be held.
func (w *watch) stir() {
	select {
	case w.restless <- struct{}{}:
	default:
	}
}

func (s *Supervisor) isContainer(w *watch) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return w.place != nil
}

func (s *Supervisor) isBlind(w *watch) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return w.blind
}

// probeAll connects to each live server, one after another, each bounded.
func (s *Supervisor) probeAll(ctx context.Context, workspaceID string) {
	type target struct {
		run     *run
		address string
	}
	var targets []target
	s.mu.Lock()
	blind := s.watches[workspaceID] != nil && s.watches[workspaceID].blind
	for _, v := range s.servers {
		if v.workspaceID != workspaceID || v.run == nil || !v.live() || v.run.stopping || !blind && !v.place.Choice.HostMode {
			continue
		}
		switch {
		case blind && v.requested != 0:
			address := "127.0.0.1" // inside a container
			if v.place.Choice.HostMode {
				address = addressFor(v.place, nil, false)
			}
			targets = append(targets, target{v.run, net.JoinHostPort(address, strconv.Itoa(int(v.requested)))})
		case !blind && len(v.dials) > 0:
			targets = append(targets, target{v.run, v.dials[0]})
		}
	}
	s.mu.Unlock()
	for _, t := range targets {
		err := s.probe(ctx, workspaceID, t.address)
		s.mu.Lock()
		t.run.answers = err == nil
		t.run.refusals++
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.run.refusals = 0
		}
		s.mu.Unlock()
	}
}

func (s *Supervisor) probe(ctx context.Context, workspaceID, address string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, probeLimit, errors.New("no answer"))
	defer cancel()
	connection, err := s.runner.Dial(ctx, workspaceID, address)
	if err != nil {
		return err
	}
	return connection.Close()
}

// own are the listeners of a server: those of its own command or, where it is
// known by its port alone, those of the port. mu must be held.
func (s *Supervisor) own(v *server) []driver.Listener {
	w := s.watches[v.workspaceID]
	switch {
	case w == nil:
		return nil
	case v.found != nil:
		return listenersAt(w.listeners, v.port)
	case v.run == nil:
		return nil
	}
	if w.blind {
		if v.run.answers && !v.run.ended {
			return []driver.Listener{{Port: v.requested, ExecID: v.run.execID}}
		}
		return nil
	}
	var own []driver.Listener
	for _, l := range w.listeners {
		if l.Port != 0 && (l.ExecID == v.run.execID || l.ExecID == "" && s.mayOwn(v, l)) {
			own = append(own, l)
		}
	}
	return own
}

// refusedProbes in a row mean that nobody accepts, whatever the list says.
const refusedProbes = 2

// judge works out a server's status from its command and its listeners. mu must
// be held.
func (s *Supervisor) judge(v *server) {
	switch {
	case v.parent != nil: // by judgeParts
		return
	case v.found != nil:
		s.judgeFound(v)
		return
	}
	r := v.run
	if !v.live() || r.stopping {
		return
	}
	own := s.own(v)
	port := s.accepted(v, own)
	refused := v.place.Choice.HostMode && r.refusals >= refusedProbes
	switch {
	case r.ended && r.err != nil && !r.detached:
		s.settle(v, r.outcome)
	case port != 0 && !refused:
		s.listens(v, port, own)
	case r.ended && v.status == StatusStarting && r.code == 0 && time.Since(r.endedAt) < daemonGrace:
		// It may have left a server behind that is about to listen.
	case r.ended:
		s.settle(v, r.outcome)
	case v.status == StatusRunning:
		v.pid = 0
		s.set(v, StatusStopped, fmt.Sprintf("nothing listens on port %d any more; the command still runs", v.port))
	}
}

// accepted is the port among a server's own listeners that is taken for the
// server's, 0 for none yet. mu must be held.
func (s *Supervisor) accepted(v *server, own []driver.Listener) uint16 {
	port, class := pick(v.elsewhere(own), v.requested, v.port)
	switch {
	case port == 0, class <= bestClass(v.requested):
		return port
	case v.port != 0: // a debugger that is left is not the server
		if class > classOf(v.port, v.requested) {
			return 0
		}
		return port
	}
	if v.run.firstSeen.IsZero() {
		v.run.firstSeen = time.Now()
	}
	if time.Since(v.run.firstSeen) < settleAfter {
		return 0
	}
	return port
}

// listens makes a server running. mu must be held.
func (s *Supervisor) listens(v *server, port uint16, own []driver.Listener) {
	at := listenersAt(own, port)
	pid := int64(0)
	if len(at) > 0 {
		pid = at[0].PID
	}
	dials := dialsFor(at, port)
	if of := (probed{v.run, port}); v.probed != of {
		s.findProtocol(v, of, dials)
		return
	}
	if v.status == StatusRunning && v.port == port && v.pid == pid && slices.Equal(v.dials, dials) && v.message == v.remark() {
		return
	}
	v.address = addressFor(v.place, at, v.literal)
	v.port, v.url, v.dials, v.pid = port, v.urlAt(port), dials, pid
	s.lead(v)
	for _, other := range slices.Clone(s.servers) {
		if other != v && other.id() == v.id() && !other.live() {
			s.drop(other, v.name+" has its port now")
		}
	}
	s.set(v, StatusRunning, v.remark())
}

// remark is what there is to say of a server that runs. mu must be held.
func (v *server) remark() string {
	switch r := v.run; {
	case v.found != nil || r == nil || !r.ended:
		return v.conflict()
	case r.err != nil:
		return "the connection with its command broke: what it writes is not seen any more"
	default:
		return "its command ended and left it running"
	}
}

// settle ends a server whose command has ended. mu must be held.
func (s *Supervisor) settle(v *server, outcome string) {
	v.run.settled = true
	v.pid = 0
	if v.status != StatusStarting {
		s.set(v, StatusStopped, outcome)
		s.release(v.workspaceID)
		return
	}
	status, when := StatusFailed, " before it listened"
	if v.run.takenUp {
		when = " before this sero saw it listen"
	}
	if v.run.err == nil && v.run.code == 0 { // a job that is done did not fail
		status = StatusStopped
	}
	s.set(v, status, outcome+when)
	v.tail = v.log.lastLines(failureLines, v.run.logStart)
	s.release(v.workspaceID)
}
