//go:build linux

package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sero-labs/sero-runtime/core/guest/frame"
	"github.com/sero-labs/sero-runtime/core/guest/mux"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// conn is the connection with one core. What it runs ends with it, but for
// detached commands.
type conn struct {
	agent   *agent
	channel *life
	in, out *os.File
	socket  atomic.Pointer[net.UnixConn] // takes their place; nil: none does
	mux     *mux.Conn
	ctx     context.Context // of the connection, shared by its streams
	end     context.CancelCauseFunc
	streams sync.WaitGroup
	heard   atomic.Bool // something came since the last look
	ports   ports

	beginnings *beginnings

	writing sync.Mutex

	mu    sync.Mutex
	owner string
}

func newConn(a *agent, channel *net.UnixConn, in, out *os.File) *conn {
	c := &conn{agent: a, channel: newLife(channel), in: in, out: out, beginnings: newBeginnings(rand.Text())}
	c.ctx, c.end = context.WithCancelCause(context.Background())
	c.mux = mux.New(c.send, c.control, c.opened)
	return c
}

func (c *conn) send(_ context.Context, b []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	var to io.Writer = c.out
	if socket := c.socket.Load(); socket != nil {
		to = socket
	}
	_, err := to.Write(b)
	if err != nil {
		c.close(err)
	}
	return err
}

// close ends the connection; serve returns once its commands have ended.
func (c *conn) close(err error) {
	c.mux.Close(err) // first: no answer to a command that cannot begin any more
	c.beginnings.close()
	c.end(err)
	_ = c.channel.channel.SetWriteDeadline(time.Now())
	_ = c.in.SetReadDeadline(time.Now()) // in and out may be one that cannot be polled
	_ = c.out.SetWriteDeadline(time.Now())
	if socket := c.socket.Load(); socket != nil {
		_ = socket.Close()
	}
}

// serve answers the core until the connection is over.
func (c *conn) serve() {
	go c.listenForLife(lifeLimit) // ends with ctx
	err := c.mux.Send(c.ctx, &frame.Frame{Hello: &frame.Hello{
		Version: frame.Version, Build: c.agent.build, UID: uint32(os.Geteuid()), Instance: c.agent.instance, Sockets: true,
		Connection: c.beginnings.name,
	}})
	if err == nil {
		err = c.read(c.in, func() bool { return c.socket.Load() != nil })
	}
	if socket := c.socket.Load(); err == nil && socket != nil {
		c.streams.Go(c.holdOn) // ends with the connection
		err = c.read(socket, func() bool { return false })
	}
	c.close(err)
	c.streams.Wait()
}

// read takes frames until the connection is over, or no more are to come.
func (c *conn) read(from io.Reader, over func() bool) error {
	buf := make([]byte, 64<<10)
	for !over() {
		n, err := from.Read(buf)
		if n > 0 {
			c.heard.Store(true)
			err = errors.Join(c.mux.Feed(buf[:n]), err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// holdOn ends the connection with the channel's input, over which nothing comes
// any more.
func (c *conn) holdOn() {
	_, _ = c.in.Read(make([]byte, 1))
	c.close(errChannel)
}

// meetLimit is how long the core's socket has to answer.
const meetLimit = 2 * time.Second

// meet goes on over the core's socket.
func (c *conn) meet(path, token string) error {
	dialed, err := (&net.Dialer{Timeout: meetLimit}).DialContext(c.ctx, "unix", path)
	if err != nil {
		return err
	}
	_ = dialed.SetDeadline(time.Now().Add(meetLimit))
	if _, err = io.WriteString(dialed, token); err == nil {
		_, err = io.ReadFull(dialed, make([]byte, 1)) // the core goes on here, too
	}
	socket, _ := dialed.(*net.UnixConn)
	if err != nil || socket == nil {
		_ = dialed.Close()
		return errors.Join(errors.New("the core's socket does not answer"), err)
	}
	_ = socket.SetDeadline(time.Time{})
	c.socket.Store(socket)
	return nil
}

// lifeLimit is how long the core may be silent where only a channel leads to it.
// It sends a ping every 5 s, but a core that stands still for minutes, as on a
// machine that swaps, finds its commands as they were. The limit is for a channel
// that was lost without an end of input.
const lifeLimit = 15 * time.Minute

// listenForLife ends the connection when the core is silent for longer than the
// limit. Time in which this process was stopped does not count. On a socket silence
// is no death, since the kernel closes that of a core that has died.
func (c *conn) listenForLife(limit time.Duration) {
	ticker := time.NewTicker(limit / 2)
	defer ticker.Stop()
	for silent := 0; silent < 2; silent++ {
		select {
		case <-c.ctx.Done():
			return
		case <-ticker.C:
		}
		if c.socket.Load() != nil {
			return
		}
		if c.heard.Swap(false) {
			silent = -1
		}
	}
	c.close(errors.New("the core is silent"))
}

func (c *conn) control(f *frame.Frame) {
	if f.Hello == nil {
		return
	}
	c.mu.Lock()
	c.owner = f.Hello.Owner
	c.mu.Unlock()
	c.agent.dropOwner(f.Hello.Owner, c)
	if f.Hello.Socket == "" || c.socket.Load() != nil {
		return
	}
	if err := c.meet(f.Hello.Socket, f.Hello.Token); err != nil {
		_ = c.mux.Send(c.ctx, &frame.Frame{Error: errorFrame(err)})
	}
}

func (c *conn) ownedBy() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owner
}

func (c *conn) opened(s *mux.Stream, open *frame.Open) {
	if open.Exec != nil {
		c.beginnings.opened(s.ID())
	}
	c.streams.Go(func() {
		defer s.Forget()
		if err := c.handle(s, open); err != nil {
			_ = s.Send(c.ctx, &frame.Frame{Error: errorFrame(err)})
		}
	})
}

// handle does what a stream was opened for. It gives an error for the core, or
// nil when the stream has its last frame.
func (c *conn) handle(s *mux.Stream, open *frame.Open) error {
	switch {
	case open.Exec != nil && open.Exec.Detach:
		return c.agent.sessions.start(c, s, open.Exec)
	case open.Exec != nil:
		return c.exec(s, open.Exec)
	case open.Attach != "":
		return c.agent.sessions.attach(c.ctx, s, open.Attach)
	case open.Kill != nil:
		return c.done(s, c.agent.sessions.kill(c.ctx, open.Kill.ExecID))
	case open.Sessions:
		return c.done(s, s.Send(c.ctx, &frame.Frame{Sessions: c.agent.sessions.list()}))
	case open.Watch:
		return c.watch(s)
	case open.Stop != nil:
		return c.stop(s, open.Stop)
	case open.Dial != "":
		return c.dial(s, open.Dial)
	case open.Listen != nil:
		return c.listen(s, open.Listen)
	case open.Accept != 0:
		return c.accept(s, open.Accept)
	case open.Claim != nil:
		return c.done(s, c.agent.claim(open.Claim))
	case open.Clock: // from here to the core, and the channel
		if err := c.channel.await(c.ctx); err != nil {
			return err
		}
		return c.done(s, s.Send(c.ctx, &frame.Frame{Clock: time.Now().UnixNano()}))
	default:
		return driver.Errorf(driver.Unsupported, "this helper does not know what is asked of it")
	}
}

// done ends a stream that was answered.
func (c *conn) done(s *mux.Stream, err error) error {
	if err != nil {
		return err
	}
	return s.Send(c.ctx, &frame.Frame{Exit: &frame.Exit{}})
}

func (c *conn) watch(s *mux.Stream) error {
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	go func() { cancel(awaitReset(ctx, s)) }() // ends with ctx
	return c.agent.inside.Listeners(ctx, func(set []driver.Listener) error {
		return s.Send(ctx, &frame.Frame{Listeners: listenersFrame(set)})
	})
}

var errReset = errors.New("the core has ended it")

// awaitReset waits until a stream is reset or ctx ends.
func awaitReset(ctx context.Context, s *mux.Stream) error {
	for {
		f, err := s.Next(ctx)
		if err != nil {
			return err
		}
		if f.Reset {
			return errReset
		}
	}
}

func (c *conn) stop(s *mux.Stream, stop *frame.Stop) error {
	set, err := c.agent.inside.StopListeners(c.ctx, uint16(stop.Port), time.Duration(stop.GraceMS)*time.Millisecond)
	if err != nil {
		return err
	}
	return c.done(s, s.Send(c.ctx, &frame.Frame{Listeners: listenersFrame(set)}))
}

func listenersFrame(set []driver.Listener) *frame.Listeners {
	set = set[:min(len(set), frame.MaxItems)]
	out := &frame.Listeners{Listeners: make([]frame.Listener, len(set))}
	for i, l := range set {
		out.Listeners[i] = frame.Listener{
			Address: l.Address, Port: uint32(l.Port), PID: uint64(l.PID), Command: l.Command, ExecID: l.ExecID,
		}
	}
	return out
}

func errorFrame(err error) *frame.Error {
	e := driver.AsError(err)
	reason := string(e.Reason)
	if errors.Is(err, unix.ECONNREFUSED) {
		reason = frame.Refused
	}
	return &frame.Error{Reason: reason, Message: e.Message, Resource: e.Resource, Field: e.Field}
}
