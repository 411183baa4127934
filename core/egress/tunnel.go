package egress

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/core/egress/policy"
)

// connect opens a tunnel for CONNECT.
func (p *Proxy) connect(w http.ResponseWriter, r *http.Request, t policy.Target, addresses []netip.AddrPort) {
	upstream, err := p.dial(r.Context(), addresses)
	if err != nil {
		p.reply(w, unreachable(t, err))
		return
	}
	defer upstream.Close()
	raw, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		p.log.Error("a connection cannot be taken over", "error", err)
		return
	}
	defer raw.Close()
	client := &idleConn{Conn: raw, limit: p.options.IdleTimeout}
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	cut := context.AfterFunc(p.life, func() { _ = raw.Close(); _ = upstream.Close() })
	defer cut()
	early := io.LimitReader(buffered, int64(buffered.Reader.Buffered())) // sent before our answer
	carry(client, io.MultiReader(early, client), upstream)
}

// carry copies both ways until both are done. The end of one direction is passed
// on as such; a failure of one ends the other.
func carry(client net.Conn, fromClient io.Reader, upstream net.Conn) {
	var both sync.WaitGroup
	one := func(to net.Conn, from io.Reader) {
		_, err := io.Copy(to, from)
		if err == nil {
			err = closeWrite(to)
		}
		if err != nil {
			_ = client.Close()
			_ = upstream.Close()
		}
	}
	both.Go(func() { one(upstream, fromClient) })
	both.Go(func() { one(client, upstream) })
	both.Wait()
}

// closeWrite tells the other side that nothing more comes, or closes the
// connection where that is the only way to say it.
func closeWrite(c net.Conn) error {
	if idle, ok := c.(*idleConn); ok {
		c = idle.Conn
	}
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return net.ErrClosed
}

// limited gives at most n connections at once; the next waits for the end of
// one of them. A connection whose other side takes nothing for patience fails.
func limited(l net.Listener, n int, patience time.Duration) net.Listener {
	return &limitedListener{Listener: l, slots: make(chan struct{}, n), over: make(chan struct{}), patience: patience}
}

type limitedListener struct {
	net.Listener
	slots    chan struct{}
	over     chan struct{}
	once     sync.Once
	patience time.Duration
}

// Accept waits for a free place, then for a connection.
func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.over:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: conn, patience: l.patience, free: sync.OnceFunc(func() { <-l.slots })}, nil
}

// Close ends the listener and those who wait for a place.
func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.over) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	patience time.Duration
	free     func()
}

// Write fails when the other side takes nothing. Reads are the server's to time.
func (c *limitedConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Close gives the place to another.
func (c *limitedConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}

// CloseWrite passes on the end of what is written.
func (c *limitedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return net.ErrClosed
}
