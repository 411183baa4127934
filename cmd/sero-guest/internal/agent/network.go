//go:build linux

package agent

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sero-labs/sero-runtime/core/guest/frame"
	"github.com/sero-labs/sero-runtime/core/guest/mux"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

const (
	dialLimit   = 10 * time.Second
	acceptLimit = 30 * time.Second // for the core to take a connection
	maxWaiting  = 128              // connections that it has not taken
)

// dial connects to an address for the core.
func (c *conn) dial(s *mux.Stream, address string) error {
	socket, err := (&net.Dialer{Timeout: dialLimit}).DialContext(c.ctx, "tcp", address)
	if err != nil {
		return driver.Errorf(driver.NotFound, "%w", err).About(address)
	}
	return c.carry(s, socket)
}

func (c *conn) carry(s *mux.Stream, socket net.Conn) error {
	tcp, ok := socket.(*net.TCPConn)
	if !ok {
		return driver.Errorf(driver.Internal, "the connection is not TCP")
	}
	if err := s.Send(c.ctx, &frame.Frame{Started: &frame.Started{}}); err != nil {
		_ = tcp.Close()
		return err
	}
	return s.Carry(c.ctx, tcp)
}

// ports are the connections that wait to be taken by the core.
type ports struct {
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]net.Conn
}

func (p *ports) add(socket net.Conn) (uint64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) >= maxWaiting {
		return 0, false
	}
	if p.waiting == nil {
		p.waiting = map[uint64]net.Conn{}
	}
	p.last++
	n := p.last
	p.waiting[n] = socket
	time.AfterFunc(acceptLimit, func() {
		if socket := p.take(n); socket != nil {
			socket.Close()
		}
	})
	return n, true
}

func (p *ports) take(n uint64) net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	socket := p.waiting[n]
	delete(p.waiting, n)
	return socket
}

// listen accepts connections on a loopback port for the core.
func (c *conn) listen(s *mux.Stream, listen *frame.Listen) error {
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(listen.Port))))
	if errors.Is(err, unix.EADDRINUSE) {
		return driver.Errorf(driver.PortInUse, "port %d is in use in the sandbox", listen.Port).About(strconv.Itoa(int(listen.Port)))
	}
	if err != nil {
		return err
	}
	go func() { cancel(awaitReset(ctx, s)) }() // ends with ctx
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()
	at, _ := l.Addr().(*net.TCPAddr)
	if err := s.Send(ctx, &frame.Frame{Started: &frame.Started{Port: uint32(at.Port)}}); err != nil {
		return err
	}
	for {
		socket, err := l.Accept()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // too many open files, for one
			continue
		}
		n, ok := c.ports.add(socket)
		if !ok {
			socket.Close()
			continue
		}
		if err := s.Send(ctx, &frame.Frame{Accepted: n}); err != nil {
			return err
		}
	}
}

// accept gives the core a connection that was accepted.
func (c *conn) accept(s *mux.Stream, n uint64) error {
	socket := c.ports.take(n)
	if socket == nil {
		return driver.Errorf(driver.NotFound, "the connection waits no more")
	}
	return c.carry(s, socket)
}
