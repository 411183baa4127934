package devserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// finding is how a server that was not started by this core was found.
type finding struct {
	sure     bool      // its name is its own, not guessed from its process
	gone     time.Time // when it was seen to listen no more
	changing time.Time // since when it has been seen to be up or down against its status; zero: it is not
}

// Bounds of what is found.
const (
	maxFound    = 32               // servers of one workspace; what else listens is in Ports
	forgetAfter = 10 * time.Minute // a found server that has gone
	lookLimit   = 10 * time.Second // to describe a workspace
	changeAfter = tick             // that a found server is up or down before it is said to be: some flap
)

// notWeb are the usual ports of what is no web server: ssh, mail, DNS, databases
// and queues.
var notWeb = []uint16{
	22, 25, 53, 110, 143, 389, 445, 465, 587, 993, 995, 1433, 1521, 2181, 2375, 2376, 2379, 2380, 3306, 4222, 5432, 5433, 5672,
	6379, 6380, 9042, 9092, 11211, 26257, 27017, 27018, 50051,
}

// announced tells whether a listener that nobody registered may be a dev server
// that somebody wants to see. Debuggers, databases and the ports that a system
// hands out by itself, as tests use them, are not.
func announced(port uint16) bool {
	return port != 0 && classOf(port, 0) == classOrdinary
}

// attend follows workspaces as they come and go, so that what listens in a
// container is found for as long as it runs.
func (s *Supervisor) attend() {
	_ = s.events.Watch(s.life, 0, true, func(e event.Event) error {
		switch e.Type {
		case event.WorkspaceRunning:
			s.work.Go(func() { s.Attend(s.life, e.WorkspaceID) }) // a sandbox may be slow to answer
		case event.WorkspaceStopped, event.WorkspaceRemoved:
			s.mu.Lock()
			s.unattend(e.WorkspaceID)
			s.mu.Unlock()
		default:
		}
		return nil
	})
}

// Attend takes up the servers that an earlier core left in a workspace that is
// ready, if it is a container, and looks for others until it is stopped. It does
// nothing in host mode, where what listens may be anybody's.
func (s *Supervisor) Attend(ctx context.Context, workspaceID string) {
	ctx, cancel := context.WithTimeoutCause(ctx, lookLimit, errors.New("the workspace cannot be described"))
	defer cancel()
	ws, err := s.runner.Get(ctx, workspace.Ref{ID: workspaceID})
	if err != nil || ws.Choice.HostMode {
		return
	}
	s.takeUp(ctx, ws)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life.Err() == nil {
		w := s.observe(workspaceID)
		w.place = &ws
		w.reopen(errAnother)
	}
}

// unattend ends the search in a workspace. mu must be held.
func (s *Supervisor) unattend(workspaceID string) {
	if w := s.watches[workspaceID]; w != nil {
		w.place = nil
		w.reopen(errAnother)
		clear(w.pending)
		for _, v := range s.servers {
			if v.workspaceID == workspaceID && v.found != nil && v.live() {
				v.pid, v.found.gone = 0, time.Now()
				s.set(v, StatusStopped, "the workspace was stopped")
			}
		}
		s.release(workspaceID)
	}
}

// detect looks for listeners of a container that belong to no known server. It
// waits a moment first: what listens for less is not to be looked at. What is there
// for long enough is added once sero.json was read. mu must be held.
func (s *Supervisor) detect(w *watch) {
	if settled := s.settled(w); len(settled) == 0 || w.reading || s.life.Err() != nil {
		return
	}
	w.reading = true
	id := w.place.ID
	s.work.Go(func() {
		entries := s.entries(s.life, id)
		s.mu.Lock()
		defer s.mu.Unlock()
		w.reading = false
		if s.watches[id] != w || w.place == nil || s.life.Err() != nil {
			return
		}
		for _, l := range s.settled(w) {
			delete(w.pending, l.Port)
			s.addFound(w, l, entries)
		}
	})
}

// settled are the listeners that belong to no known server and have been there for
// long enough, as many as may be added. mu must be held.
func (s *Supervisor) settled(w *watch) []driver.Listener {
	now := time.Now()
	var settled []driver.Listener
	unclaimed := map[uint16]driver.Listener{}
	for _, l := range w.listeners {
		if announced(l.Port) && !s.claimed(w.place.ID, l) {
			if before, seen := unclaimed[l.Port]; !seen || before.ExecID == "" {
				unclaimed[l.Port] = l
			}
		}
	}
	maps.DeleteFunc(w.pending, func(port uint16, _ time.Time) bool { _, still := unclaimed[port]; return !still })
	count := 0
	for _, v := range s.servers {
		if v.workspaceID == w.place.ID && v.found != nil {
			count++
		}
	}
	for _, port := range slices.Sorted(maps.Keys(unclaimed)) {
		since, waits := w.pending[port]
		switch {
		case !waits:
			w.pending[port] = now
			w.stir()
		case now.Sub(since) >= settleAfter && count < maxFound:
			settled = append(settled, unclaimed[port])
			count++
		case now.Sub(since) >= settleAfter: // there are enough; it stays in Ports
			w.pending[port] = now.Add(time.Hour)
		}
	}
	return settled
}

// claimed tells whether a listener belongs to a server that is known. mu must be
// held.
func (s *Supervisor) claimed(workspaceID string, l driver.Listener) bool {
	return slices.ContainsFunc(s.servers, func(v *server) bool {
		if v.workspaceID != workspaceID {
			return false
		}
		if v.found != nil || v.parent != nil {
			return v.port == l.Port
		}
		return v.live() && (v.port == l.Port || l.ExecID != "" && l.ExecID == v.run.execID || l.ExecID == "" && v.status == StatusStarting)
	})
}

// mayOwn tells whether a listener of nobody known is that of a server's command
// that lost the tie to it: it came after the command began, and its port is the
// server's or nobody's. It is asked only in containers. mu must be held.
func (s *Supervisor) mayOwn(v *server, l driver.Listener) bool {
	if v.place.Choice.HostMode || slices.Contains(v.run.before, l.Port) {
		return false
	}
	if v.port != 0 || v.requested != 0 {
		return l.Port == cmp.Or(v.port, v.requested)
	}
	return !slices.ContainsFunc(s.servers, func(other *server) bool {
		return other != v && other.workspaceID == v.workspaceID && other.live() && (other.port == l.Port || other.requested == l.Port)
	})
}

// adopt gives a server whose command is not known what somebody asks to start:
// it is that.
// mu must be held.
func (v *server) adopt(spec *Spec) {
	v.command, v.dir, v.scope, v.card = slices.Clone(spec.Command), spec.Dir, spec.Scope, spec.CardID
	v.env, v.caller, v.driver, v.hearsay = slices.Clone(spec.Env), slices.Clone(spec.Caller), spec.Driver, false
	if v.found != nil {
		v.found.sure = true
	}
}

// addFound makes a listener a server; entries are those of sero.json. mu must be
// held.
func (s *Supervisor) addFound(w *watch, l driver.Listener, entries map[string]config.DevServer) {
	spec, sure := recognise(l, entries)
	spec.uid = uidInExecID(l.ExecID)
	if down := s.downAt(l.Port, w.place.ID); down != nil && (!sure || spec.Name == down.name) {
		s.findAgain(w, down)
		return
	}
	for _, other := range slices.Clone(s.servers) {
		if other.workspaceID == w.place.ID && !other.live() && other.status != StatusStarting && (other.port == l.Port || other.name == spec.Name) && other.found != nil {
			s.drop(other, "another one listens in its place")
		}
	}
	for _, first := range s.servers { // another port of the same command
		if first.uid == spec.uid && first.workspaceID == w.place.ID && first.name == spec.Name && first.live() {
			number := strconv.Itoa(int(l.Port))
			spec.Name, spec.uid = partName(spec.Name, number), spec.uid+"-"+number
			break
		}
	}
	v := s.entry(*w.place, &spec, spec.Name)
	v.port, v.started, v.found, v.ran = l.Port, time.Now(), &finding{sure: sure}, true
	s.judgeFound(v)
}

// downAt is the server that was started, ran on a port last and is down, nil for
// none. mu must be held.
func (s *Supervisor) downAt(port uint16, workspaceID string) (down *server) {
	for _, v := range s.servers {
		if v.workspaceID == workspaceID && v.port == port && v.found == nil && v.status == StatusStopped && !v.live() &&
			(down == nil || v.started.After(down.started)) {
			down = v
		}
	}
	return down
}

// findAgain takes what somebody started on the port of a server that is down for
// that server: its names, its command and its output stay. mu must be held.
func (s *Supervisor) findAgain(w *watch, v *server) {
	if len(v.turn) > 0 {
		return // it is being started
	}
	v.found, v.place = &finding{sure: true}, *w.place // its sandbox may be another one by now
	v.log.mark("what listens now was not started by this sero; what it writes is not seen")
	s.judgeFound(v)
}

// entries reads the dev servers of a workspace's sero.json; there are none when it
// cannot be read. It may take as long as a directory may take to answer, so no mutex
// may be held.
func (s *Supervisor) entries(ctx context.Context, workspaceID string) map[string]config.DevServer {
	entries, err := s.runner.DevServerEntries(ctx, workspaceID)
	if err != nil {
		s.log.Debug("the dev servers of sero.json are not known", "workspace", workspaceID, "error", err)
	}
	return entries
}

// recognise says what a listener is: the server that sero.json has for its port,
// else the one that an earlier core started, else what its process looks like.
func recognise(l driver.Listener, entries map[string]config.DevServer) (spec Spec, sure bool) {
	name := nameInExecID(l.ExecID)
	for _, entry := range slices.Sorted(maps.Keys(entries)) {
		if d := entries[entry]; d.Port == l.Port || entry == name {
			return specFor(entry, d), true
		}
	}
	if name != "" {
		return Spec{Name: name}, true
	}
	return Spec{Name: guessName([]string{l.Command})}, false
}

// specFor is what sero.json says of a server.
func specFor(name string, d config.DevServer) Spec {
	spec := Spec{Name: name, Command: slices.Clone(d.Command), Dir: d.Dir, Port: d.Port}
	for _, variable := range slices.Sorted(maps.Keys(d.Env)) {
		spec.Env = append(spec.Env, driver.EnvVar{Name: variable, Value: d.Env[variable]})
	}
	return spec
}

// judgeFound works out the status of a server that was found. mu must be held.
func (s *Supervisor) judgeFound(v *server) {
	w := s.watches[v.workspaceID]
	own := s.own(v)
	up, down := len(own) > 0, len(own) == 0 && (w == nil || w.known)
	switch {
	case up && v.status == StatusRunning, up && s.hasChanged(v, w):
		v.found.changing, v.found.gone = time.Time{}, time.Time{}
		s.listens(v, v.port, own)
	case down && v.status == StatusRunning && s.hasChanged(v, w):
		v.pid, v.found.changing, v.found.gone = 0, time.Time{}, time.Now()
		s.set(v, StatusStopped, fmt.Sprintf("nothing listens on port %d any more", v.port))
	case down && v.status == StatusStopped && v.run != nil: // a server that was started stays known
		v.found = nil
	case down && v.status == StatusStopped:
		v.found.changing = time.Time{}
		if time.Since(v.found.gone) > forgetAfter {
			s.drop(v, "it was found and has gone")
		}
	}
}

// hasChanged tells whether a found server is what it is seen to be, up or down, for
// long enough to be said so. mu must be held.
func (s *Supervisor) hasChanged(v *server, w *watch) bool {
	if v.status == 0 || w == nil {
		return true
	}
	if v.found.changing.IsZero() {
		v.found.changing = time.Now()
		w.stir()
	}
	return time.Since(v.found.changing) >= changeAfter
}

// execID names a run of a server's command. The processes of a container tell it
// to a later core, which so knows their servers' names and uids.
func execID(v *server, born int64, run uint64) string {
	return fmt.Sprintf("dev-%s-%s-%d", v.name, strings.TrimPrefix(v.uid, uidPrefix), uint64(born)+run)
}

func nameInExecID(id string) string {
	m := execIDPattern().FindStringSubmatch(id)
	if m == nil || !validName().MatchString(m[1]) || onlyDigit().MatchString(m[1]) {
		return ""
	}
	return strings.Clone(m[1])
}
