package devserver

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Origin is how a port of a workspace came to be known.
type Origin string

// The origins.
const (
	OriginStarted  Origin = "started"  // a dev server that sero started
	OriginDetected Origin = "detected" // one that was found
	OriginOther    Origin = "other"    // no dev server: a database, a debugger, a test
)

// Port is a port that something in a workspace listens on.
type Port struct {
	Port      uint16
	Addresses []string // that it is bound to, best first
	PID       int64    // 0 if not known
	Command   string   // of that process, shortened
	Origin    Origin
	Server    Server // unless Origin is OriginOther
}

// Ports lists what listens in a workspace, ordered by port: in a container
// everything, in host mode what the workspace's commands opened. A workspace
// that does not run has none.
func (s *Supervisor) Ports(ctx context.Context, workspaceID string) ([]Port, error) {
	listeners, err := s.listeners(ctx, workspaceID)
	switch driver.ReasonOf(err) {
	case "":
	case driver.NotRunning:
		return nil, nil
	default:
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var ports []Port
	for _, l := range listeners {
		if slices.ContainsFunc(ports, func(p Port) bool { return p.Port == l.Port }) {
			continue
		}
		p := Port{Port: l.Port, PID: l.PID, Command: l.Command, Origin: OriginOther}
		for _, same := range listenersAt(listeners, l.Port) {
			if !slices.Contains(p.Addresses, same.Address) {
				p.Addresses = append(p.Addresses, same.Address)
			}
		}
		if v := s.serverAt(workspaceID, l); v != nil {
			p.Origin, p.Server = OriginStarted, v.snapshot()
			if v.detected() {
				p.Origin = OriginDetected
			}
		}
		ports = append(ports, p)
	}
	slices.SortFunc(ports, func(a, b Port) int { return cmp.Compare(a.Port, b.Port) })
	return ports, nil
}

// serverAt is the live server that a listener is of: the one with its port, else the
// one whose command it is of. mu must be held.
func (s *Supervisor) serverAt(workspaceID string, l driver.Listener) (of *server) {
	for _, v := range s.servers {
		switch {
		case v.workspaceID != workspaceID || !v.live():
		case v.port == l.Port:
			return v
		case v.run != nil && v.found == nil && l.ExecID == v.run.execID:
			of = v
		}
	}
	return of
}

// listeners are those of a workspace now.
func (s *Supervisor) listeners(ctx context.Context, workspaceID string) ([]driver.Listener, error) {
	s.mu.Lock()
	if w := s.watches[workspaceID]; w != nil && w.known {
		defer s.mu.Unlock()
		return slices.Clone(w.listeners), nil
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, lookLimit, errors.New("the driver does not tell"))
	defer cancel()
	var listeners []driver.Listener
	err := s.runner.Listeners(ctx, workspaceID, func(now []driver.Listener) error {
		listeners = now
		return errSeen
	})
	if errors.Is(err, errSeen) {
		err = nil
	}
	return listeners, err
}

// configured completes a spec whose command is the name of an entry of
// devServers in the workspace's sero.json. What the spec itself says comes
// before the entry. It reports whether there is such an entry.
func (s *Spec) configured(ctx context.Context, runner Runner, workspaceID string) (found bool, err error) {
	if !s.ByName || len(s.Command) != 1 {
		return false, nil
	}
	entries, err := runner.DevServerEntries(ctx, workspaceID)
	if err != nil {
		return false, err
	}
	name := s.Command[0]
	entry, found := entries[name]
	if !found {
		return false, nil
	}
	from := specFor(name, entry)
	s.Command = from.Command
	s.Name, s.Port = cmp.Or(s.Name, name), cmp.Or(s.Port, from.Port)
	if s.Dir == "." {
		s.Dir = ""
	}
	s.Dir = cmp.Or(s.Dir, from.Dir)
	s.Env = append(from.Env, s.Env...)
	s.ByName = false
	return true, s.check()
}
