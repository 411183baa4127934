package preview

import (
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/internal/loopback"
)

// Bounds of what a Gateway carries at a time.
const (
	mostRequests = 256              // of one workspace
	stillLimit   = 30 * time.Second // for the next bytes of a request's body, or for the client to take those of an answer
	retryAfter   = "1"              // seconds
)

// crowd bounds the connections and requests of a Gateway. Every user of this machine
// can connect to its loopback, as often as they like.
type crowd struct {
	most int // connections, and requests

	mu        sync.Mutex
	open      int
	idle      []net.Conn // that carry no request, the longest idle first
	requests  int
	workspace map[string]int // requests, by workspace
}

func newCrowd() *crowd { return &crowd{most: loopback.Share(), workspace: map[string]int{}} }

// limited makes a listener's connections count.
func (c *crowd) limited(l net.Listener) net.Listener { return crowdListener{l, c} }

type crowdListener struct {
	net.Listener
	crowd *crowd
}

// Accept returns the next connection that there is room for. One that carries no
// request makes room for a new one; else the new one is closed.
func (l crowdListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		counted := &countedConn{Conn: conn, crowd: l.crowd}
		ok, leaves := l.crowd.enter()
		if leaves != nil {
			_ = leaves.Close()
		}
		if ok {
			return counted, nil
		}
		_ = conn.Close()
	}
}

// enter counts a connection. When there are too many, it is refused, or another one
// has to leave for it.
func (c *crowd) enter() (ok bool, leaves net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open < c.most {
		c.open++
		return true, nil
	}
	if len(c.idle) == 0 {
		return false, nil
	}
	leaves = c.idle[0]
	c.idle = c.idle[1:]
	c.open++
	return true, leaves
}

// countedConn is counted until it is closed.
type countedConn struct {
	net.Conn
	crowd *crowd
	once  sync.Once
}

// Close closes the connection.
func (c *countedConn) Close() error {
	c.once.Do(func() {
		c.crowd.mu.Lock()
		defer c.crowd.mu.Unlock()
		c.crowd.open--
	})
	return c.Conn.Close()
}

// CloseWrite ends what is written, for upgraded connections.
func (c *countedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// state follows which connections are idle.
func (c *crowd) state(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = slices.DeleteFunc(c.idle, func(other net.Conn) bool { return other == conn })
	if state == http.StateIdle {
		c.idle = append(c.idle, conn)
	}
}

// begin counts a request for a workspace, unless there are too many.
func (c *crowd) begin(workspaceID string) (done func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.requests >= c.most || c.workspace[workspaceID] >= mostRequests {
		return nil, false
	}
	c.requests++
	c.workspace[workspaceID]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.requests--
		if c.workspace[workspaceID]--; c.workspace[workspaceID] == 0 {
			delete(c.workspace, workspaceID)
		}
	}, true
}

// movingBody is a request's body that fails when its client sends nothing for long.
type movingBody struct {
	io.ReadCloser
	control *http.ResponseController
}

// Read reads what comes next.
func (b movingBody) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(stillLimit)) // where that is not possible, the connection's own limits hold
	n, err := b.ReadCloser.Read(p)
	_ = b.control.SetReadDeadline(time.Time{}) // the wait for the answer has no limit of the client's
	return n, err
}

// movingWriter is an answer whose client has to take it.
type movingWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

// Write writes a part of the answer.
func (w movingWriter) Write(p []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(stillLimit))
	n, err := w.ResponseWriter.Write(p)
	_ = w.control.SetWriteDeadline(time.Time{})
	return n, err
}

// Unwrap is for http.ResponseController.
func (w movingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
