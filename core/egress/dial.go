package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/sero-labs/sero-runtime/core/egress/policy"
)

// judge decides on a target and gives the addresses to dial. A name is looked up
// once; if it has one address that may not be reached, it is refused as a whole,
// for whoever gave that answer meant no good, or did not know what it serves.
func (p *Proxy) judge(ctx context.Context, t policy.Target) ([]netip.AddrPort, *answer) {
	rules := p.options.Policy()
	if refusal := rules.CheckTarget(t); refusal != nil {
		return nil, p.refusal("http_request_denied", refusal)
	}
	found := []netip.Addr{t.Addr}
	if !t.Addr.IsValid() {
		var failure *answer
		if found, failure = p.lookup(ctx, t); failure != nil {
			return nil, failure
		}
	}
	var addresses []netip.AddrPort
	for _, a := range found {
		if refusal := rules.CheckAddr(t, a); refusal != nil {
			return nil, p.refusal("destination_ip_prohibited", refusal)
		}
		if to := netip.AddrPortFrom(a, t.Port); !slices.Contains(addresses, to) {
			addresses = append(addresses, to)
		}
	}
	return addresses[:min(len(addresses), maxDialled)], nil
}

// lookup resolves a name, as an absolute one: no search domain is tried. What
// the resolver says of itself in an error is not for the sandbox.
func (p *Proxy) lookup(ctx context.Context, t policy.Target) ([]netip.Addr, *answer) {
	bounded, cancel := context.WithTimeoutCause(ctx, lookupTimeout, errors.New("the lookup took too long"))
	defer cancel()
	found, err := p.options.Resolver.LookupNetIP(bounded, "ip", t.Host+".")
	if err != nil || len(found) == 0 {
		p.log.Debug("a lookup failed", "host", t.Host, "error", err)
		why := t.Host + " cannot be looked up"
		if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
			why = t.Host + " does not exist"
		}
		return nil, &answer{status: http.StatusBadGateway, kind: "dns_error", why: why}
	}
	for i, a := range found {
		found[i] = a.Unmap() // a resolver may spell IPv4 as IPv6
	}
	return found, nil
}

// dial connects to the first of the addresses that answers, and to nothing else.
func (p *Proxy) dial(ctx context.Context, addresses []netip.AddrPort) (net.Conn, error) {
	var last error
	for _, to := range addresses {
		bounded, cancel := context.WithTimeoutCause(ctx, dialTimeout, errLate)
		conn, err := p.options.Dial(bounded, to)
		cancel()
		if err == nil {
			return &idleConn{Conn: conn, limit: p.options.IdleTimeout}, nil
		}
		if last = err; ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

var errLate = errors.New("the server did not answer in time")

func dialTCP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", to.String())
}

// unreachable is the answer for a server that cannot be connected to.
func unreachable(t policy.Target, err error) answer {
	a := answer{status: http.StatusBadGateway, kind: "destination_unavailable", why: t.String() + " cannot be reached"}
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		a.kind, a.why = "connection_refused", t.String()+" refuses connections"
	case errors.Is(err, context.DeadlineExceeded), ok && timeout.Timeout():
		a.status, a.kind, a.why = http.StatusGatewayTimeout, "connection_timeout", fmt.Sprintf("%s does not answer", t)
	}
	return a
}

// ownAddress tells whether an address is one of the host's. When they cannot be
// told, all are.
func ownAddress(a netip.Addr) bool {
	own, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(own, func(n net.Addr) bool {
		p, err := netip.ParsePrefix(n.String())
		return err != nil || p.Addr().Unmap().WithZone("") == a
	})
}

// idleConn is a connection that ends when nothing has gone through it for a
// while, in either direction.
type idleConn struct {
	net.Conn
	limit time.Duration
}

// Read reads, and keeps the connection alive.
func (c *idleConn) Read(p []byte) (int, error) {
	_ = c.SetDeadline(time.Now().Add(c.limit)) // one that has no deadlines is bounded by its peer's
	n, err := c.Conn.Read(p)
	return n, err
}

// Write writes, and keeps the connection alive.
func (c *idleConn) Write(p []byte) (int, error) {
	_ = c.SetDeadline(time.Now().Add(c.limit)) // as in Read
	return c.Conn.Write(p)
}
