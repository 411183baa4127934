package egress

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"

	"github.com/sero-labs/sero-runtime/core/egress/policy"
	"github.com/sero-labs/sero-runtime/internal/unsniffed"
)

// pinned is what was decided for one request; it travels in its context.
type pinned struct {
	target    policy.Target
	addresses []netip.AddrPort
}

type pinnedKey struct{}

// newForward carries plain HTTP. net/http reads each request and writes it anew,
// so that the server sees one framing, one Host and no header of a single hop,
// whatever the sandbox sent. Upgrades are not passed on: CONNECT is for those.
func (p *Proxy) newForward() *httputil.ReverseProxy {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			pin, _ := r.In.Context().Value(pinnedKey{}).(pinned)
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.URL.User = "http", pin.target.String(), nil
			r.Out.URL.RawQuery = r.In.URL.RawQuery // as it came, odd or not
			r.Out.Host = hostHeader(pin.target)
			r.Out.Header.Del("Connection")
			r.Out.Header.Del("Upgrade")
			r.Out.Header.Del("HTTP2-Settings")
			r.Out.Header.Add("Via", "1.1 sero")
		},
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				pin, ok := ctx.Value(pinnedKey{}).(pinned)
				if !ok {
					return nil, errors.New("nothing was decided for this request")
				}
				return p.dial(ctx, pin.addresses)
			},
			Protocols:              protocols,
			DisableKeepAlives:      true, // what was decided holds for one request
			DisableCompression:     true, // bodies pass as they are
			MaxResponseHeaderBytes: maxHeader,
			ResponseHeaderTimeout:  answerTimeout,
		},
		FlushInterval: -1,
		ErrorLog:      slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				return // nobody is there to be told
			}
			pin, _ := r.Context().Value(pinnedKey{}).(pinned)
			p.log.Debug("a request failed", "target", pin.target.String(), "error", err)
			p.reply(w, unreachable(pin.target, err))
		},
	}
}

// hostHeader is the target as a Host header has it: without the usual port.
func hostHeader(t policy.Target) string {
	if t.Port != 80 {
		return t.String()
	}
	if t.Addr.Is6() {
		return "[" + t.Host + "]"
	}
	return t.Host
}

// forwardTo carries one plain request.
func (p *Proxy) forwardTo(w http.ResponseWriter, r *http.Request, t policy.Target, addresses []netip.AddrPort) {
	ctx := context.WithValue(r.Context(), pinnedKey{}, pinned{target: t, addresses: addresses})
	p.forward.ServeHTTP(unsniffed.Writer{ResponseWriter: w}, r.WithContext(ctx))
}
