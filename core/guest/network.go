package guest

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/sero-labs/sero-runtime/core/guest/frame"
	"github.com/sero-labs/sero-runtime/core/guest/mux"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// ask opens a stream and gives its frames to take, until take has had enough
// (false) or the stream ends. It resets the stream when it is not at its end.
func (l *link) ask(ctx context.Context, open *frame.Open, take func(*frame.Frame) (more bool, err error)) error {
	s, err := l.open(ctx, open)
	if err != nil {
		return errGone(err)
	}
	defer s.Forget()
	for {
		f, err := s.Next(ctx)
		switch {
		case ctx.Err() != nil:
			_ = s.Send(context.WithoutCancel(ctx), &frame.Frame{Reset: true})
			return driver.AsError(context.Cause(ctx))
		case err != nil:
			return errGone(err)
		case f.Error != nil:
			return asError(f.Error)
		case f.Exit != nil:
			return nil
		}
		if more, err := take(f); !more || err != nil {
			_ = s.Send(ctx, &frame.Frame{Reset: true})
			return err
		}
	}
}

func (l *link) listeners(ctx context.Context, report func([]driver.Listener) error) error {
	return l.ask(ctx, &frame.Open{Watch: true}, func(f *frame.Frame) (bool, error) {
		if f.Listeners == nil {
			return true, nil
		}
		return true, report(listeners(f.Listeners))
	})
}

// listeners are those of a frame that make sense.
func listeners(f *frame.Listeners) []driver.Listener {
	set := make([]driver.Listener, 0, min(len(f.Listeners), maxListeners))
	for _, l := range f.Listeners {
		address, err := netip.ParseAddr(l.Address)
		if err != nil || l.Port == 0 || l.Port > 65535 || len(set) == maxListeners {
			continue
		}
		set = append(set, driver.Listener{
			Address: address.WithZone("").String(), Port: uint16(l.Port), PID: int64(min(l.PID, 1<<31)),
			Command: line(l.Command, maxComm), ExecID: line(l.ExecID, maxExecID),
		})
	}
	return set
}

func (l *link) stopListeners(ctx context.Context, port uint16, grace time.Duration) ([]driver.Listener, error) {
	var set []driver.Listener
	ctx, cancel := context.WithTimeoutCause(ctx, grace+openLimit, driver.Errorf(driver.Timeout, "what listens on port %d did not end", port))
	defer cancel()
	stop := &frame.Stop{Port: uint32(port), GraceMS: uint64(max(0, grace.Milliseconds()))}
	err := l.ask(ctx, &frame.Open{Stop: stop}, func(f *frame.Frame) (bool, error) {
		if f.Listeners != nil {
			set = slices.DeleteFunc(listeners(f.Listeners), func(l driver.Listener) bool { return l.Port != port })
		}
		return true, nil
	})
	return set, err
}

func (l *link) clock(ctx context.Context) (time.Time, error) {
	var at time.Time
	err := l.ask(ctx, &frame.Open{Clock: true}, func(f *frame.Frame) (bool, error) {
		if f.Clock != 0 {
			at = time.Unix(0, f.Clock)
		}
		return true, nil
	})
	return at, err
}

func (l *link) dial(ctx context.Context, address string) (net.Conn, error) {
	s, err := l.open(ctx, &frame.Open{Dial: address})
	if err != nil {
		return nil, errGone(err)
	}
	return connect(ctx, s, address)
}

// connect waits until a stream is connected, and gives the near end of it.
func connect(ctx context.Context, s *mux.Stream, address string) (net.Conn, error) {
	bounded, cancel := context.WithTimeoutCause(ctx, openLimit, driver.Errorf(driver.Timeout, "connecting to %s took too long", address))
	defer cancel()
	f, err := s.Next(bounded)
	switch {
	case bounded.Err() != nil:
		err = driver.AsError(context.Cause(bounded))
	case err != nil:
		err = errGone(err)
	case f.Error != nil && f.Error.Reason == frame.Refused:
		err = errRefused(address)
	case f.Error != nil:
		err = asError(f.Error)
	case f.Started == nil:
		err = driver.Errorf(driver.Internal, "the guest helper's answer makes no sense")
	}
	var near, far *net.UnixConn
	if err == nil {
		near, far, err = socketPair()
	}
	if err != nil {
		reset(s)
		return nil, err
	}
	carrying, end := context.WithCancelCause(context.Background())
	go func() { // ends with either end of the connection
		defer end(nil)
		if s.Carry(carrying, far) != nil {
			reset(s)
		}
		s.Forget()
	}()
	return &conn{UnixConn: near, end: end}, nil
}

// conn is the core's end of a connection into the sandbox.
type conn struct {
	*net.UnixConn
	end context.CancelCauseFunc
}

// flushLimit is how long what was written before Close has to get through.
const flushLimit = 30 * time.Second

// Close closes both directions; what was written is still delivered.
func (c *conn) Close() error {
	time.AfterFunc(flushLimit, func() { c.end(net.ErrClosed) })
	return c.UnixConn.Close()
}

func reset(s *mux.Stream) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Second, errStuck)
	defer cancel()
	_ = s.Send(ctx, &frame.Frame{Reset: true}) // a broken connection resets it too
	s.Forget()
}

// errRefused is for an address in the sandbox where nobody answers.
func errRefused(address string) error {
	err := driver.Errorf(driver.NotFound, "nothing in the sandbox accepts connections on %s", address).About(address)
	err.Err = syscall.ECONNREFUSED
	return err
}

// listener accepts connections that are made in the sandbox.
type listener struct {
	link   *link
	stream *mux.Stream
	port   uint16
	ctx    context.Context // ends with Close, which Accept has no other way to know
	end    context.CancelCauseFunc
	close  sync.Once
}

func (l *link) listen(ctx context.Context, port uint16) (net.Listener, error) {
	s, err := l.open(ctx, &frame.Open{Listen: &frame.Listen{Port: uint32(port)}})
	if err != nil {
		return nil, errGone(err)
	}
	bounded, cancel := context.WithTimeoutCause(ctx, openLimit, driver.Errorf(driver.Timeout, "the guest helper did not listen in %s", openLimit))
	defer cancel()
	f, err := s.Next(bounded)
	switch {
	case bounded.Err() != nil:
		err = driver.AsError(context.Cause(bounded))
	case err != nil:
		err = errGone(err)
	case f.Error != nil:
		err = asError(f.Error)
	case f.Started == nil || f.Started.Port == 0 || f.Started.Port > 65535 || port != 0 && f.Started.Port != uint32(port):
		err = driver.Errorf(driver.Internal, "the guest helper's answer makes no sense")
	}
	if err != nil {
		reset(s)
		return nil, err
	}
	in := &listener{link: l, stream: s, port: uint16(f.Started.Port)}
	in.ctx, in.end = context.WithCancelCause(context.Background())
	return in, nil
}

// Accept waits for a connection.
func (l *listener) Accept() (net.Conn, error) {
	for {
		f, err := l.stream.Next(l.ctx)
		switch {
		case l.ctx.Err() != nil:
			return nil, net.ErrClosed
		case err != nil:
			return nil, errGone(err)
		case f.Error != nil:
			return nil, asError(f.Error)
		case f.Accepted == 0:
			continue
		}
		s, err := l.link.open(l.ctx, &frame.Open{Accept: f.Accepted})
		if err != nil {
			return nil, errGone(err)
		}
		c, err := connect(l.ctx, s, l.Addr().String())
		if err != nil {
			continue // it did not wait
		}
		return c, nil
	}
}

// Close stops listening in the sandbox.
func (l *listener) Close() error {
	l.close.Do(func() {
		l.end(net.ErrClosed)
		reset(l.stream)
	})
	return nil
}

// Addr is the address in the sandbox.
func (l *listener) Addr() net.Addr {
	address, _ := netip.ParseAddrPort("127.0.0.1:" + strconv.Itoa(int(l.port)))
	return net.TCPAddrFromAddrPort(address)
}
