// Package preview gives every dev server a stable address on this machine,
//
//	http://<name>.<workspace>.localhost:<port>
//
// and carries its traffic from there into the workspace, wherever the server
// listens in it: pages, streams, uploads, WebSockets.
//
// Names under .localhost are loopback by definition (RFC 6761), browsers resolve
// them without any set-up, and development servers accept them. Workspaces are
// sites of their own to a browser: they share no cookies.
package preview

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/core/devserver"
)

// Servers knows the dev servers; *devserver.Supervisor does.
type Servers interface {
	// Named is the server with that name in a workspace.
	Named(workspaceID, name string) (devserver.Server, bool)
}

// Options are what a Gateway works with. Servers and Dial are required.
type Options struct {
	Servers Servers
	// Dial connects to an address as the workspace sees it, such as
	// "127.0.0.1:5173".
	Dial     func(ctx context.Context, workspaceID, address string) (net.Conn, error)
	Port     uint16 // tried first; 0: the one that was used last, else DefaultPort
	StateDir string // where the port is remembered; empty: nowhere
	Log      *slog.Logger
}

// Limits of time.
const (
	dialLimit    = 5 * time.Second  // of one attempt to connect to a server
	headerLimit  = 10 * time.Second // for a client to send its request's header
	answerLimit  = 10 * time.Minute // for a server to begin its answer: it may compile first
	idleClients  = 2 * time.Minute  // a client's connection without a request
	idleServers  = 30 * time.Second // a kept connection to a server
	maxHeader    = 256 << 10        // bytes of a request's header
	maxAnswer    = 1 << 20          // bytes of an answer's header
	keptToServer = 16               // idle connections to one server
)

// Gateway serves the previews of all dev servers on one loopback port. Make one
// with Open; it ends with Close.
type Gateway struct {
	options    Options
	log        *slog.Logger
	port       uint16
	conflict   string
	server     *http.Server
	proxy      http.Handler
	transports transports
	crowd      *crowd

	end      context.CancelCauseFunc
	work     sync.WaitGroup // the listeners' loops
	requests sync.WaitGroup
	mu       sync.Mutex // orders the begin of a request and Close
	closed   bool
}

var errClosing = errors.New("sero is shutting down")

// Open listens on the loopback addresses and serves. A port that is taken is not
// an error: the next free one is used, and Conflict says why. It fails when no
// port can be had at all.
func Open(options Options) (*Gateway, error) {
	g := &Gateway{options: options, log: cmp.Or(options.Log, slog.Default()), crowd: newCrowd()}
	listeners, err := g.listen()
	if err != nil {
		return nil, err
	}
	g.transports = g.newTransports()
	g.proxy = g.newProxy()
	life, end := context.WithCancelCause(context.Background())
	g.end = end
	g.server = &http.Server{
		Handler:           g,
		ReadHeaderTimeout: headerLimit,
		IdleTimeout:       idleClients,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return life },
		ConnState:         g.crowd.state,
		ErrorLog:          slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	for _, l := range listeners {
		g.work.Go(func() {
			if err := g.server.Serve(g.crowd.limited(l)); !errors.Is(err, http.ErrServerClosed) {
				g.log.Error("previews are not served any more", "address", l.Addr().String(), "error", err)
			}
		})
	}
	return g, nil
}

// Close ends every connection and waits until all is over.
func (g *Gateway) Close() {
	if g == nil {
		return
	}
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.end(errClosing) // upgraded connections end with their requests
	_ = g.server.Close()
	g.work.Wait()
	g.requests.Wait()
	g.transports.closeIdle()
}

// Port is the port that previews are served on; 0 without a Gateway.
func (g *Gateway) Port() uint16 {
	if g == nil {
		return 0
	}
	return g.port
}

// Conflict says in one line who holds the port that was wanted, and which one
// was taken instead; empty when there was no conflict.
func (g *Gateway) Conflict() string {
	if g == nil {
		return ""
	}
	return g.conflict
}

// URL is where a dev server can be reached by name; empty without a Gateway.
// Names and workspace ids are single labels of at most 40 and 58 characters, a
// name is unique in its workspace and an id on this machine, so no two servers
// share a URL, and it never changes while a server keeps its name.
func (g *Gateway) URL(workspaceID, name string) string {
	if g == nil || workspaceID == "" || name == "" {
		return ""
	}
	return "http://" + name + "." + workspaceID + suffix + ":" + strconv.Itoa(int(g.port))
}

const suffix = ".localhost"

// place is what a Host header names.
type place struct{ workspaceID, name string }

// parseHost reads a Host header strictly: two labels below localhost and
// nothing else. local tells whether it is at least a name that no foreign DNS
// server can have an answer for.
func parseHost(host string) (p place, ok, local bool) {
	if h, port, err := net.SplitHostPort(host); err == nil {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return place{}, false, false
		}
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	labels, local := strings.CutSuffix(host, suffix)
	name, id, found := strings.Cut(labels, ".")
	if !local || !found || !label(name) || !label(id) {
		return place{}, false, local
	}
	return place{workspaceID: id, name: name}, true, true
}

// maxLabel is DNS's limit.
const maxLabel = 63

// label tells whether a text is one label of a host name.
func label(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
	})
}
