package devserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Protocol is what a dev server speaks on its port.
type Protocol string

// The protocols.
const (
	ProtocolHTTP  Protocol = "http"
	ProtocolHTTPS Protocol = "https" // HTTP/1.1 over TLS
	ProtocolH2    Protocol = "h2"    // HTTP/2 over TLS, and nothing older
	ProtocolH2C   Protocol = "h2c"   // HTTP/2 without TLS, and nothing older
)

// scheme is that of the server's URL.
func (p Protocol) scheme() string {
	if p == ProtocolHTTPS || p == ProtocolH2 {
		return "https"
	}
	return "http"
}

// Limits of finding a protocol out. A server that takes longer to say something is
// taken for one of HTTP, which waits for its client.
const (
	silence     = 300 * time.Millisecond // after empty lines
	answerLimit = 1500 * time.Millisecond
	probesLimit = 4 * time.Second // of all attempts
)

// probed says of which run of a server, and of which of its ports, the protocol is
// known.
type probed struct {
	run  *run
	port uint16
}

// findProtocol finds out what a server speaks, and then judges it again. mu must be
// held.
func (s *Supervisor) findProtocol(v *server, of probed, dials []string) {
	if v.probing != nil || s.life.Err() != nil {
		return
	}
	done := make(chan struct{})
	v.probing = done
	id, hostMode := v.workspaceID, v.place.Choice.HostMode
	s.work.Go(func() {
		defer close(done)
		ctx, cancel := context.WithTimeoutCause(s.life, probesLimit, errNoAnswer)
		defer cancel()
		at, _ := s.answerAt(ctx, id, dials)
		literal := hostMode && s.othersAt(ctx, id, dials, of.port)
		s.mu.Lock()
		defer s.mu.Unlock()
		v.probing = nil
		if v.removed {
			return
		}
		v.probed, v.protocol, v.literal = of, at.protocol, literal
		s.judge(v)
	})
}

// othersAt reports whether localhost leads to another program than the server: one
// that listens on the same port of the other family.
func (s *Supervisor) othersAt(ctx context.Context, workspaceID string, dials []string, port uint16) bool {
	for _, host := range []string{"127.0.0.1", "::1"} {
		address := net.JoinHostPort(host, strconv.Itoa(int(port)))
		if !slices.Contains(dials, address) && s.probe(ctx, workspaceID, address) == nil {
			return true
		}
	}
	return false
}

// answering is a server that answers at an address, and what it speaks there.
type answering struct {
	address  string
	dial     func() (net.Conn, error)
	protocol Protocol
}

// answerAt finds the first of the addresses at which a server answers.
func (s *Supervisor) answerAt(ctx context.Context, workspaceID string, dials []string) (answering, bool) {
	for _, address := range dials {
		dial := func() (net.Conn, error) {
			bounded, cancel := context.WithTimeoutCause(ctx, answerLimit, errNoAnswer)
			defer cancel()
			return s.runner.Dial(bounded, workspaceID, address)
		}
		if protocol, err := protocolOf(ctx, dial); err == nil {
			return answering{address, dial, protocol}, true
		}
	}
	return answering{protocol: ProtocolHTTP}, false
}

// protocolOf finds out what a server speaks. It begins with what leaves no trace in
// the log of a server of HTTP: empty lines, which that ignores (RFC 9112, 2.2) and
// TLS answers with an alert.
func protocolOf(ctx context.Context, dial func() (net.Conn, error)) (Protocol, error) {
	said, err := ask(ctx, dial, "\r\n\r\n\r\n\r\n\r\n\r\n", silence)
	switch {
	case errors.Is(err, errNoDial):
		return "", err
	case isH2(said):
		return ProtocolH2C, nil
	case isHTTP(said):
		return ProtocolHTTP, nil
	case len(said) == 0 && errors.Is(err, errSilent):
		return protocolOfSilent(ctx, dial), nil
	}
	if !isTLS(said) { // it closed the connection, or said something else
		said, err = ask(ctx, dial, "HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", answerLimit)
		refused := bytes.HasPrefix(said, []byte("HTTP/1.1 400")) || bytes.HasPrefix(said, []byte("HTTP/1.0 400"))
		if isHTTP(said) && !refused || len(said) == 0 && errors.Is(err, errSilent) {
			return ProtocolHTTP, nil
		}
	}
	if protocol, err := handshake(ctx, dial); err == nil {
		return protocol, nil
	}
	if said, _ = ask(ctx, dial, preface, answerLimit); isH2(said) {
		return ProtocolH2C, nil
	}
	return ProtocolHTTP, nil
}

// protocolOfSilent distinguishes a server of HTTP, which waits for a request, from one of
// HTTP/2 that waits for its preface, and from one that asks a client of HTTP for TLS.
func protocolOfSilent(ctx context.Context, dial func() (net.Conn, error)) Protocol {
	said, _ := ask(ctx, dial, preface, silence)
	switch {
	case isH2(said):
		return ProtocolH2C
	case isHTTP(said):
		if protocol, err := handshake(ctx, dial); err == nil {
			return protocol
		}
	}
	return ProtocolHTTP
}

// preface begins a connection of HTTP/2, with no settings: RFC 9113, 3.4.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

func isHTTP(said []byte) bool { return bytes.HasPrefix(said, []byte("HTTP/1.")) }

// isTLS reports whether a server said an alert or a handshake record.
func isTLS(said []byte) bool {
	return len(said) > 1 && (said[0] == 0x15 || said[0] == 0x16) && said[1] == 3
}

// isH2 reports whether a server said a SETTINGS frame of the connection.
func isH2(said []byte) bool {
	return len(said) >= 9 && said[0] == 0 && said[3] == 4 && bytes.Equal(said[5:9], make([]byte, 4))
}

var (
	errNoDial = errors.New("there is no connection")
	errSilent = errors.New("the server says nothing")
)

// ask sends a text and returns the first bytes of the answer.
func ask(ctx context.Context, dial func() (net.Conn, error), text string, limit time.Duration) ([]byte, error) {
	c, err := dial()
	if err != nil {
		return nil, errNoDial
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	_ = c.SetDeadline(time.Now().Add(limit))
	sent := make(chan struct{})
	go func() { // a connection without a buffer, as net.Pipe, takes it when it is read
		defer close(sent)
		_, _ = io.WriteString(c, text)
	}()
	said := make([]byte, 12)
	n, err := io.ReadAtLeast(c, said, 9)
	_ = c.Close()
	<-sent
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		err = errSilent
	}
	return said[:n], err
}

// webLimit is how long a server may take to answer a request, when that it does is
// what makes it one.
const webLimit = 10 * time.Second

// takesRequests reports whether a server answers a request in the protocol that it seems
// to speak. Node's debugger answers all but its own with HTTP/1.0 and 400.
func (a answering) takesRequests(ctx context.Context) bool {
	dial := a.dial
	switch a.protocol {
	case ProtocolH2, ProtocolH2C: // it has said so
		return true
	case ProtocolHTTPS:
		dial = func() (net.Conn, error) {
			raw, err := a.dial()
			if err != nil {
				return nil, err
			}
			return secured(raw, "http/1.1"), nil
		}
	case ProtocolHTTP:
	}
	_, port, _ := net.SplitHostPort(a.address)
	said, _ := ask(ctx, dial, "HEAD / HTTP/1.1\r\nHost: localhost:"+port+"\r\nConnection: close\r\n\r\n", webLimit)
	return isHTTP(said) && !bytes.HasPrefix(said, []byte("HTTP/1.0 400"))
}

// secured is a connection to a server of TLS. Whatever certificate that has is taken:
// who it is was decided by where it listens.
func secured(raw net.Conn, protocols ...string) *tls.Conn {
	return tls.Client(raw, &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // see above
		ServerName:         "localhost", NextProtos: protocols,
	})
}

// handshake finds out whether a server speaks TLS.
func handshake(ctx context.Context, dial func() (net.Conn, error)) (Protocol, error) {
	raw, err := dial()
	if err != nil {
		return "", err
	}
	c := secured(raw, "http/1.1", "h2")
	defer raw.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, answerLimit, errNoAnswer)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		return "", driver.Errorf(driver.Internal, "no handshake: %w", err)
	}
	if c.ConnectionState().NegotiatedProtocol == "h2" {
		return ProtocolH2, nil
	}
	return ProtocolHTTPS, nil
}
