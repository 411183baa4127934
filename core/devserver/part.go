package devserver

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// A command may listen on several ports. One is its server's. Each other one that
// speaks HTTP is a part of that server: an entry with a name, a URL and a preview of
// its own for as long as the port is listened on. To stop, restart, remove or read a
// part is to do so to its server.

// maxParts is how many parts a server has; what else it listens on is in Ports.
const maxParts = 16

// Whether a port is a web server's is asked so often: it may compile first.
const (
	partTries = 3
	partPause = 5 * time.Second // after the first time, and twice as long after the next
)

// extra is a port that the command of a server listens on beside the server's own. It
// is guarded by the Supervisor's mu.
type extra struct {
	since  time.Time // when it was first seen
	gone   time.Time // since when it is not there; zero: it is
	asking bool      // it is being found out whether it speaks HTTP
	asked  int       // how often it was
	next   time.Time // not before this again
	part   *server   // nil: none
}

// mayChange reports whether time alone may change something.
func (e *extra) mayChange() bool { return !e.gone.IsZero() || e.part == nil && e.asked < partTries }

func (v *server) extrasMayChange() bool {
	if v.run == nil || v.found != nil {
		return false
	}
	for _, e := range v.run.extras {
		if e.mayChange() {
			return true
		}
	}
	return false
}

// judgeParts works out which parts a server has. mu must be held.
func (s *Supervisor) judgeParts(v *server) {
	r, w := v.run, s.watches[v.workspaceID]
	if v.parent != nil || v.found != nil || r == nil || !v.live() || w == nil || w.blind {
		return
	}
	own := s.own(v)
	for _, port := range portsOf(own) {
		e := r.extras[port]
		switch {
		case !s.mayBePart(v, port):
			continue
		case e == nil:
			e = r.addExtra(port)
			w.stir()
		}
		e.gone = time.Time{}
		switch {
		case e.part != nil:
			s.listens(e.part, port, own)
		case v.status == StatusRunning && !r.stopping && !e.asking && e.asked < partTries && time.Since(e.since) >= settleAfter && !time.Now().Before(e.next):
			s.askExtra(v, port, e, dialsFor(listenersAt(own, port), port))
		}
	}
	for port, e := range r.extras {
		switch {
		case s.mayBePart(v, port) && len(listenersAt(own, port)) > 0:
		case e.part == nil:
			delete(r.extras, port)
		case port == v.port:
			delete(r.extras, port)
			s.drop(e.part, v.name+" has its port now")
		case e.gone.IsZero():
			e.gone = time.Now()
			w.stir()
		case time.Since(e.gone) >= changeAfter:
			delete(r.extras, port)
			s.drop(e.part, fmt.Sprintf("nothing listens on port %d any more", port))
		}
	}
}

// addExtra begins to look at a port. What an earlier core left running had its time.
func (r *run) addExtra(port uint16) *extra {
	e := &extra{}
	if !r.takenUp {
		e.since = time.Now()
	}
	if r.extras == nil {
		r.extras = map[uint16]*extra{}
	}
	r.extras[port] = e
	return e
}

// mayBePart reports whether a port of a server's command may be a part: it is no other
// server's, and not one of those at which debuggers and databases are. mu must be held.
func (s *Supervisor) mayBePart(v *server, port uint16) bool {
	if port == 0 || port == v.port || slices.Contains(notWeb, port) || isDebugger(port) {
		return false
	}
	return !slices.ContainsFunc(s.servers, func(other *server) bool {
		return other != v && other.parent != v && other.workspaceID == v.workspaceID && other.live() && other.port == port
	})
}

// hasPart reports whether a port is a part's. mu must be held.
func (v *server) hasPart(port uint16) bool {
	return v.run != nil && v.run.extras[port] != nil && v.run.extras[port].part != nil
}

// askExtra finds out whether a port speaks HTTP, and makes it a part then. mu must be
// held.
func (s *Supervisor) askExtra(v *server, port uint16, e *extra, dials []string) {
	if s.life.Err() != nil {
		return
	}
	e.asking = true
	r, id, hostMode := v.run, v.workspaceID, v.place.Choice.HostMode
	s.work.Go(func() {
		ctx, cancel := context.WithTimeoutCause(s.life, 2*webLimit, errNoAnswer)
		defer cancel()
		at, answers := s.answerAt(ctx, id, dials)
		isWeb := answers && at.takesRequests(ctx)
		literal := isWeb && hostMode && s.othersAt(ctx, id, dials, port)
		s.mu.Lock()
		defer s.mu.Unlock()
		e.asking = false
		e.next = time.Now().Add(partPause << e.asked)
		e.asked++
		if isWeb && v.run == r && r.extras[port] == e && e.gone.IsZero() && v.live() && !r.stopping && s.mayBePart(v, port) {
			s.addPart(v, port, e, at.protocol, literal)
		}
	})
}

// addPart adds a part to the registry. mu must be held.
func (s *Supervisor) addPart(v *server, port uint16, e *extra, protocol Protocol, literal bool) {
	count := 0
	for _, other := range v.run.extras {
		if other.part != nil {
			count++
		}
	}
	if count >= maxParts || s.life.Err() != nil {
		return
	}
	number := strconv.Itoa(int(port))
	spec := Spec{Command: v.command, Scope: v.scope, CardID: v.card, Dir: v.dir, uid: v.uid + "-" + number}
	p := s.entry(v.place, &spec, partName(v.name, number))
	p.parent, p.port, p.started, p.protocol, p.literal = v, port, v.started, protocol, literal
	p.probed = probed{nil, port}
	e.part = p
	s.listens(p, port, s.own(v))
}

// partName is the name of a server followed by a port, shortened to what a name may
// have.
func partName(name, port string) string {
	return strings.TrimRight(name[:min(len(name), maxName-len(port)-1)], "-") + "-" + port
}

// dropParts takes the parts of a server out of the registry. mu must be held.
func (s *Supervisor) dropParts(v *server, why string) {
	if v.run == nil {
		return
	}
	for port, e := range v.run.extras {
		if e.part != nil {
			s.drop(e.part, why)
		}
		delete(v.run.extras, port)
	}
}

// whole is the server that a part belongs to, and any other server itself.
func (v *server) whole() *server {
	if v.parent != nil {
		return v.parent
	}
	return v
}

// elsewhere are the listeners among which a server's own port is chosen: a part stays
// one unless its port is better than the server's.
func (v *server) elsewhere(own []driver.Listener) []driver.Listener {
	return slices.DeleteFunc(slices.Clone(own), func(l driver.Listener) bool {
		return v.hasPart(l.Port) && classOf(l.Port, v.requested) >= classOf(v.port, v.requested)
	})
}
