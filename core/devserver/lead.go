package devserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/sero-labs/sero-runtime/core/forward"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// lead makes a server in a container reachable at a port of this machine, its
// own number if that is free, and makes that its URL. It was there before: it
// gets the port that it had. mu must be held.
func (s *Supervisor) lead(v *server) {
	if s.options.Forward == nil || v.place.Choice.HostMode || !slices.Contains(v.place.Capabilities, driver.CapNetContainer) {
		return // it listens on this machine itself
	}
	if v.forward != nil && v.leadsTo != v.port {
		s.unlead(v)
		v.hostPort = 0
	}
	if v.forward == nil {
		f, err := s.options.Forward(cmp.Or(v.hostPort, v.port), func(ctx context.Context) (net.Conn, error) { return s.dial(ctx, v) })
		if err != nil {
			s.log.Warn("a dev server gets no port on this machine", "workspace", v.workspaceID, "server", v.name, "error", err)
			return
		}
		v.forward, v.leadsTo, v.hostPort = f, v.port, f.Port()
		v.holder = s.leaderAt(f.Conflict())
		v.asksHolder = f.Conflict() != 0 && v.holder == ""
		if v.asksHolder {
			s.work.Go(func() { s.findHolder(v, f) })
		}
	}
	v.address = "localhost" // a Forward listens on both families
	v.url = v.urlAt(v.hostPort)
}

// leaderAt names the dev server that has a port of this machine, empty for none.
// mu must be held.
func (s *Supervisor) leaderAt(port uint16) string {
	for _, v := range s.servers {
		if v.live() && port != 0 && (v.forward.Port() == port || v.place.Choice.HostMode && v.port == port) {
			return fmt.Sprintf("dev server %s of workspace %s", v.name, v.workspaceID)
		}
	}
	return ""
}

// unlead frees the port on this machine. mu must be held.
func (s *Supervisor) unlead(v *server) {
	f := v.forward
	if f == nil {
		return
	}
	v.forward, v.asksHolder = nil, false
	s.work.Go(f.Close) // what it carries may wait for mu
}

// findHolder finds out who holds the port that a server was to have on this
// machine, which may take a while.
func (s *Supervisor) findHolder(v *server, f *forward.Forward) {
	holder := s.portOwner(s.life, f.Conflict())
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.forward == f {
		v.holder, v.asksHolder = holder, false
		s.set(v, v.status, v.remark())
	}
}

// conflict says in one line who holds the port of this machine that was wanted;
// empty when it was had. mu must be held.
func (v *server) conflict() string {
	wanted := v.forward.Conflict()
	if wanted == 0 {
		return ""
	}
	return fmt.Sprintf("port %d of this machine is held by %s; it is on %d here", wanted, cmp.Or(v.holder, "another program"), v.forward.Port())
}

// dialLimit is for one of a server's addresses.
const dialLimit = 5 * time.Second

// dial connects to a server at the first of its addresses that answers.
func (s *Supervisor) dial(ctx context.Context, v *server) (net.Conn, error) {
	s.mu.Lock()
	workspaceID, addresses := v.workspaceID, v.dials
	s.mu.Unlock()
	errs := []error{driver.Errorf(driver.NotRunning, "%s does not answer", v.name)}
	for _, address := range addresses {
		bounded, cancel := context.WithTimeoutCause(ctx, dialLimit, errNoAnswer)
		connection, err := s.runner.Dial(bounded, workspaceID, address)
		cancel()
		if err == nil {
			return connection, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

var errNoAnswer = errors.New("no answer")
