package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/egress/policy"
)

// only is a resolver for which every name but the allowed one is this machine,
// and a dialler, both of which fail the test when they are asked for more than
// the policy allows.
type only struct{ t *testing.T }

func (o only) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if host != "good.example." {
		o.t.Errorf("%q was looked up", host)
	}
	return []netip.Addr{netip.MustParseAddr("1.2.3.4")}, nil
}

func (o only) dial(_ context.Context, to netip.AddrPort) (net.Conn, error) {
	if to.String() != "1.2.3.4:80" {
		o.t.Errorf("%s was dialled", to)
	}
	return nil, errors.New("nobody is there")
}

// oneConn is a listener of one connection.
type oneConn struct {
	conns chan net.Conn
	over  chan struct{}
	once  sync.Once
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.over:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.over) })
	return nil
}

func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// script is a connection whose other side says something and hangs up.
type script struct {
	io.Reader
	over chan struct{}
	once sync.Once
}

func (s *script) Write(p []byte) (int, error) { return len(p), nil }

func (s *script) Close() error {
	s.once.Do(func() { close(s.over) })
	return nil
}

func (s *script) LocalAddr() net.Addr { return &net.TCPAddr{} }

func (s *script) RemoteAddr() net.Addr { return &net.TCPAddr{} }

func (s *script) SetDeadline(time.Time) error { return nil }

func (s *script) SetReadDeadline(time.Time) error { return nil }

func (s *script) SetWriteDeadline(time.Time) error { return nil }

// FuzzRequest sends bytes that claim to be requests, with the right credential
// where they say {auth}: whatever they are, nothing is looked up or dialled but
// the one target that is allowed.
func FuzzRequest(f *testing.F) {
	for _, line := range lines(f, "authorities.txt") {
		if authority, err := strconv.Unquote(line); err == nil {
			f.Add("CONNECT " + authority + " HTTP/1.1\r\n{auth}\r\n\r\n")
			f.Add("GET http://" + authority + "/ HTTP/1.1\r\nHost: hidden.example\r\n{auth}\r\n\r\n")
		}
	}
	f.Add("GET http://good.example/ HTTP/1.1\r\nHost: x\r\n{auth}\r\n\r\nGET http://hidden.example/ HTTP/1.1\r\nHost: x\r\n{auth}\r\n\r\n")
	f.Add("POST http://good.example/ HTTP/1.1\r\n{auth}\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\nGET http://x/ HTTP/1.1\r\n\r\n")
	allow, err := policy.ParseRules([]string{"good.example:80"})
	if err != nil {
		f.Fatal(err)
	}
	rules := policy.Policy{
		Workspace: policy.List{Mode: policy.Allowlist, Allow: allow},
		Own:       func(netip.Addr) bool { return false },
	}
	f.Fuzz(func(t *testing.T, text string) {
		credential := newCredential("demo")
		p := NewProxy(ProxyOptions{
			WorkspaceID: "demo", Credential: credential, Policy: func() policy.Policy { return rules },
			Resolver: only{t}, Dial: only{t}.dial,
		})
		header := (&world{credential: credential}).header()
		conn := &script{Reader: strings.NewReader(strings.ReplaceAll(text, "{auth}", header)), over: make(chan struct{})}
		l := &oneConn{conns: make(chan net.Conn, 1), over: make(chan struct{})}
		l.conns <- conn
		served := make(chan error, 1)
		go func() { served <- p.Serve(l) }()
		<-conn.over
		p.Close()
		<-served
	})
}
