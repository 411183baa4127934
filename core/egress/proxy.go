// Package egress is the way out of a workspace: an HTTP proxy for each, which
// decides on the address that is dialled. It reaches into sandboxes that have no
// network of their own through a listener that somebody else gives it.
package egress

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/core/egress/policy"
)

// Limits of one proxy.
const (
	maxHeader     = 64 << 10 // bytes of a request's or an answer's header
	maxConns      = 512      // connections from the sandbox at once; more wait
	maxDialled    = 8        // addresses of one name that are tried
	headerTimeout = 10 * time.Second
	keepAlive     = 90 * time.Second // of a connection without a request
	lookupTimeout = 10 * time.Second
	dialTimeout   = 10 * time.Second // of one address
	answerTimeout = 5 * time.Minute  // until a server's first byte
	idleTimeout   = 15 * time.Minute // of a connection that carries nothing
)

// Resolver looks names up; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// ProxyOptions are what a Proxy works with. Credential and Policy are required.
type ProxyOptions struct {
	WorkspaceID string
	Credential  Credential
	Policy      func() policy.Policy                                    // asked for each request
	Refused     func(Refusal)                                           // told of each refusal; may be nil
	Reached     func(policy.Target)                                     // told of each target that was let through; may be nil
	Log         *slog.Logger                                            // nil: slog.Default
	Resolver    Resolver                                                // nil: the system's
	Dial        func(context.Context, netip.AddrPort) (net.Conn, error) // nil: TCP
	IdleTimeout time.Duration                                           // 0: 15 minutes
}

// Proxy is the egress proxy of one workspace. It takes CONNECT, and plain HTTP
// with the target in the request line, both with the workspace's credential.
// Each request is judged by itself: nothing that was decided for one holds for
// the next, and no connection to a server is used twice.
type Proxy struct {
	options ProxyOptions
	log     *slog.Logger
	server  *http.Server
	forward *httputil.ReverseProxy

	life context.Context // ends with Close
	end  context.CancelCauseFunc
	door sync.Mutex // orders the begin of requests and Close
	work sync.WaitGroup
}

var errClosed = errors.New("the proxy is closed")

// NewProxy makes a proxy that does not serve yet.
func NewProxy(o ProxyOptions) *Proxy {
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Dial == nil {
		o.Dial = dialTCP
	}
	if o.Refused == nil {
		o.Refused = func(Refusal) {}
	}
	if o.Reached == nil {
		o.Reached = func(policy.Target) {}
	}
	o.IdleTimeout = cmp.Or(o.IdleTimeout, idleTimeout)
	p := &Proxy{options: o, log: cmp.Or(o.Log, slog.Default()).With("workspace", o.WorkspaceID)}
	p.life, p.end = context.WithCancelCause(context.Background())
	p.forward = p.newForward()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	p.server = &http.Server{
		Handler:                      http.HandlerFunc(p.serve),
		Protocols:                    protocols,
		MaxHeaderBytes:               maxHeader,
		ReadHeaderTimeout:            headerTimeout,
		IdleTimeout:                  keepAlive,
		DisableGeneralOptionsHandler: true,
		BaseContext:                  func(net.Listener) context.Context { return p.life },
		ErrorLog:                     slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	return p
}

// Serve answers on a listener until it fails or the proxy is closed, and closes
// it. After Close it returns nil.
func (p *Proxy) Serve(l net.Listener) error {
	err := p.server.Serve(limited(l, maxConns, p.options.IdleTimeout))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close ends the proxy with everything that goes through it, and waits.
func (p *Proxy) Close() {
	p.door.Lock()
	p.end(errClosed)
	p.door.Unlock()
	_ = p.server.Close()
	p.work.Wait()
}

// enter lets a request in, unless the proxy is closed. Tunnels are waited for
// too, which the server does not know any more.
func (p *Proxy) enter() bool {
	p.door.Lock()
	defer p.door.Unlock()
	if p.life.Err() != nil {
		return false
	}
	p.work.Add(1)
	return true
}

// serve judges one request and carries it out.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	if !p.enter() {
		return
	}
	defer p.work.Done()
	if !p.options.Credential.presented(r) {
		p.refuse(w, r, answer{
			status: http.StatusProxyAuthRequired, kind: "http_request_denied",
			why: "the credential of this workspace's proxy is missing or wrong",
		})
		return
	}
	target, err := targetOf(r)
	if err != nil {
		p.refuse(w, r, answer{status: http.StatusBadRequest, kind: "http_request_error", why: err.Error()})
		return
	}
	addresses, failure := p.judge(r.Context(), target)
	if failure != nil {
		p.refuse(w, r, *failure)
		return
	}
	p.options.Reached(target)
	if r.Method == http.MethodConnect {
		p.connect(w, r, target, addresses)
		return
	}
	p.forwardTo(w, r, target, addresses)
}
