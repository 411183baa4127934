package devserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil"
)

// TestC2ProtocolIsFound asks real servers of each kind, over connections as a
// preview makes them.
func TestC2ProtocolIsFound(t *testing.T) {
	served := func(t *testing.T, secure bool, set func(*http.Protocols)) string {
		t.Helper()
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }))
		s.Config.Protocols = new(http.Protocols)
		set(s.Config.Protocols)
		if secure {
			s.TLS = &tls.Config{NextProtos: []string{"http/1.1"}}
			if s.Config.Protocols.HTTP2() {
				s.TLS.NextProtos = []string{"h2"}
			}
			s.StartTLS()
		} else {
			s.Start()
		}
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	// raw is a server of the test's own words.
	raw := func(t *testing.T, talk func(net.Conn)) string {
		t.Helper()
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { defer c.Close(); talk(c) }()
			}
		}()
		return l.Addr().String()
	}
	for name, test := range map[string]struct {
		address func(t *testing.T) string
		want    Protocol
	}{
		"http": {func(t *testing.T) string {
			return served(t, false, func(p *http.Protocols) { p.SetHTTP1(true) })
		}, ProtocolHTTP},
		"https": {func(t *testing.T) string {
			return served(t, true, func(p *http.Protocols) { p.SetHTTP1(true) })
		}, ProtocolHTTPS},
		"h2": {func(t *testing.T) string {
			return served(t, true, func(p *http.Protocols) { p.SetHTTP2(true) })
		}, ProtocolH2},
		"h2c": {func(t *testing.T) string {
			return served(t, false, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) })
		}, ProtocolH2C},
		"one that waits for its client": {func(t *testing.T) string {
			return raw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
		}, ProtocolHTTP},
		"one that ends at an empty line": {func(t *testing.T) string {
			return raw(t, func(c net.Conn) {
				b := make([]byte, 4)
				if _, err := io.ReadFull(c, b); err == nil && string(b) == "HEAD" {
					_, _ = io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\n")
				}
			})
		}, ProtocolHTTP},
		"one that ends at once": {func(t *testing.T) string { return raw(t, func(net.Conn) {}) }, ProtocolHTTP},
		"one that greets, as mail": {func(t *testing.T) string {
			return raw(t, func(c net.Conn) {
				_, _ = io.WriteString(c, "220 mail.example ready\r\n")
				_, _ = io.Copy(io.Discard, c)
			})
		}, ProtocolHTTP},
		"python": {func(t *testing.T) string { return programme(t, "python3", "-m", "http.server", "--bind", "127.0.0.1") }, ProtocolHTTP},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := test.address(t)
			got, err := protocolOf(t.Context(), func() (net.Conn, error) { return (&net.Dialer{}).DialContext(t.Context(), "tcp", address) })
			if err != nil || got != test.want {
				t.Errorf("%s, %v, want %s", got, err, test.want)
			}
		})
	}
}

// programme runs a server that takes a port as its last argument.
func programme(t *testing.T, argv ...string) string {
	t.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil {
		testutil.Missing(t, argv[0], err.Error())
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.CommandContext(t.Context(), argv[0], append(argv[1:], port)...)
	cmd.Dir = t.TempDir()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errNoAnswer)
	defer cancel()
	for ctx.Err() == nil {
		if c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address); err == nil {
			c.Close()
			return address
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal(argv, "does not listen")
	return ""
}
