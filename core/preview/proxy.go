package preview

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"time"

	"github.com/sero-labs/sero-runtime/core/devserver"
	"github.com/sero-labs/sero-runtime/internal/unsniffed"
)

// hopsHeader counts how often a request went through a preview: a server that
// sends requests on to its own preview would never end.
const hopsHeader = "Sero-Preview-Hops"

// maxHops is more than any chain of servers that is meant.
const maxHops = 8

// targetKey is the context key of the server that a request goes to.
type targetKey struct{}

// ServeHTTP answers a request for one dev server, or says why it cannot.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !g.begin() {
		http.Error(w, "sero is shutting down", http.StatusServiceUnavailable)
		return
	}
	defer g.requests.Done()
	where, ok, local := parseHost(r.Host)
	switch {
	case !local: // a foreign name that leads here: DNS rebinding, or a mistake
		page{Status: http.StatusMisdirectedRequest, Title: "Not a preview", Message: "This port serves previews of dev servers by name."}.write(w, r)
		return
	case !ok:
		noServer.write(w, r)
		return
	}
	if hops(r) >= maxHops {
		page{Status: http.StatusLoopDetected, Title: "A loop", Message: "This request went through previews again and again: a dev server sends it on to itself."}.write(w, r)
		return
	}
	server, found := g.options.Servers.Named(where.workspaceID, where.name)
	if !found {
		noServer.write(w, r)
		return
	}
	if server.Status != devserver.StatusRunning || len(server.Addresses) == 0 {
		pageFor(server).write(w, r)
		return
	}
	done, ok := g.crowd.begin(where.workspaceID)
	if !ok {
		w.Header().Set("Retry-After", retryAfter)
		page{Status: http.StatusServiceUnavailable, Title: "Too many requests", Message: "This workspace's previews have as many requests as they take at a time."}.write(w, r)
		return
	}
	defer done()
	r = r.WithContext(context.WithValue(r.Context(), targetKey{}, server))
	control := http.NewResponseController(w)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = movingBody{r.Body, control}
	}
	g.proxy.ServeHTTP(unsniffed.Writer{ResponseWriter: movingWriter{w, control}}, r)
}

// begin counts a request, unless the Gateway is closing.
func (g *Gateway) begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.requests.Add(1)
	}
	return !g.closed
}

func hops(r *http.Request) int {
	n, err := strconv.Atoi(cmp.Or(r.Header.Get(hopsHeader), "0"))
	if err != nil || n < 0 {
		return maxHops
	}
	return n
}

// newProxy carries requests to the server in their context. The Host header
// stays what the browser sent: servers compare it with what they accept, and
// build links and WebSocket addresses from it.
func (g *Gateway) newProxy() http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			server := target(r.In.Context())
			r.Out.URL = upstream(r.In.URL, server)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
			r.Out.Header.Set("X-Forwarded-Port", strconv.Itoa(int(g.port)))
			r.Out.Header.Set(hopsHeader, strconv.Itoa(hops(r.In)+1))
		},
		ModifyResponse: staysHere,
		Transport:      transports(g.transports),
		FlushInterval:  -1, // at once: events and streamed pages are read as they come
		ErrorLog:       slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
		ErrorHandler:   g.failed,
	}
}

func target(ctx context.Context) devserver.Server {
	server, _ := ctx.Value(targetKey{}).(devserver.Server)
	return server
}

// upstream is the URL that a request goes to. Its host is not a name that is
// resolved: it keeps the connections of different servers, and of different
// runs of one, apart.
func upstream(in *url.URL, server devserver.Server) *url.URL {
	out := *in
	out.Scheme = "http"
	if server.Protocol == devserver.ProtocolHTTPS || server.Protocol == devserver.ProtocolH2 {
		out.Scheme = "https"
	}
	out.Host = fmt.Sprintf("%s.%s.%d:%d", server.Name, server.WorkspaceID, server.Started.UnixNano(), server.Port)
	out.User = nil
	return &out
}

// transports carry requests to servers, by what those speak.
type transports map[devserver.Protocol]*http.Transport

// RoundTrip carries a request to the server in its context.
func (t transports) RoundTrip(r *http.Request) (*http.Response, error) {
	transport := t[target(r.Context()).Protocol]
	if transport == nil {
		transport = t[devserver.ProtocolHTTP]
	}
	return transport.RoundTrip(r)
}

// newTransports makes one transport for each protocol.
func (g *Gateway) newTransports() transports {
	all := transports{}
	for _, p := range []devserver.Protocol{devserver.ProtocolHTTP, devserver.ProtocolHTTPS, devserver.ProtocolH2, devserver.ProtocolH2C} {
		t := &http.Transport{
			DialContext:            g.dial,
			DisableCompression:     true, // bodies pass as they are
			MaxIdleConnsPerHost:    keptToServer,
			IdleConnTimeout:        idleServers,
			ResponseHeaderTimeout:  answerLimit,
			ExpectContinueTimeout:  time.Second,
			MaxResponseHeaderBytes: maxAnswer,
			Protocols:              new(http.Protocols),
			// Dev servers make their certificates themselves. That it is the right
			// server is known: it was dialled where it listens.
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}, //nolint:gosec // see above
		}
		t.Protocols.SetHTTP1(p == devserver.ProtocolHTTP || p == devserver.ProtocolHTTPS)
		t.Protocols.SetHTTP2(p == devserver.ProtocolH2)
		t.Protocols.SetUnencryptedHTTP2(p == devserver.ProtocolH2C)
		all[p] = t
	}
	return all
}

func (t transports) closeIdle() {
	for _, transport := range t {
		transport.CloseIdleConnections()
	}
}

// staysHere keeps a redirection of a server that speaks TLS to its own name at the
// preview, which does not.
func staysHere(r *http.Response) error {
	location, err := url.Parse(r.Header.Get("Location"))
	if err == nil && location.Scheme == "https" && location.Host == r.Request.Host && r.Request.URL.Scheme == "https" {
		location.Scheme = "http"
		r.Header.Set("Location", location.String())
	}
	return nil
}

// dial connects to the server in the context, at the first of its addresses that
// answers.
func (g *Gateway) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	server := target(ctx)
	var errs []error
	for _, address := range loopbackFirst(server.Addresses) {
		bounded, cancel := context.WithTimeoutCause(ctx, dialLimit, errNoAnswer)
		connection, err := g.options.Dial(bounded, server.WorkspaceID, address)
		cancel()
		if err == nil {
			return connection, nil
		}
		errs = append(errs, err)
	}
	return nil, &dialError{errors.Join(errs...)}
}

var errNoAnswer = errors.New("the server does not answer")

// dialError tells that no connection to a server could be had.
type dialError struct{ err error }

// Error is the cause's.
func (e *dialError) Error() string { return "no connection: " + fmt.Sprint(e.err) }

// Unwrap is the cause.
func (e *dialError) Unwrap() error { return e.err }

// failed answers a request that could not be carried.
func (g *Gateway) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil { // the client has gone, or sero is ending
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	server := target(r.Context())
	g.log.Debug("a preview could not be served", "workspace", server.WorkspaceID, "server", server.Name, "error", err)
	var unreachable *dialError
	var timeout net.Error
	switch {
	case errors.As(err, &unreachable): // it runs by all that is known: it is being restarted
		waiting(server, "It does not accept connections right now.").write(w, r)
	case errors.As(err, &timeout) && timeout.Timeout():
		page{Status: http.StatusGatewayTimeout, Title: server.Name + " does not answer", Message: "The dev server took the request and did not answer it."}.write(w, r)
	default:
		page{Status: http.StatusBadGateway, Title: server.Name + " broke off", Message: "The dev server ended the connection before it answered."}.write(w, r)
	}
}
