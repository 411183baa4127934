package devserver

import (
	"cmp"
	"context"
	"errors"
	"net"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// lead makes a server in a container reachable at a port of this machine, its
// own number if that is free, and makes that its URL. It was there before: it
// gets the port that it had. mu must be held.
func (s *Supervisor) lead(v *server) {
	if s.options.Forward == nil || v.place.Choice.HostMode {
		return
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
	}
	v.address = "127.0.0.1"
	v.url = urlFor(v.address, v.hostPort)
}

// unlead frees the port on this machine. mu must be held.
func (s *Supervisor) unlead(v *server) {
	f := v.forward
	if f == nil {
		return
	}
	v.forward = nil
	s.work.Go(f.Close) // what it carries may wait for mu
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
