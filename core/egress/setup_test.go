package egress

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/egress/policy"
)

// lines reads a file of testdata without its comments.
func lines(t testing.TB, file string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

// world is what a proxy under test sees: names, and a server behind every
// address, which counts who connects.
type world struct {
	proxy      *Proxy
	address    string // of the proxy
	server     string // behind every address
	credential Credential

	mu       sync.Mutex
	names    map[string][][]netip.Addr // the answers to one lookup after another; the last one stays
	lookups  []string
	dialled  []netip.AddrPort
	refusals []Refusal
	policy   policy.Policy
}

// LookupNetIP answers from names.
func (w *world) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lookups = append(w.lookups, host)
	host = strings.TrimSuffix(host, ".")
	answers := w.names[host]
	if len(answers) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	if len(answers) > 1 {
		w.names[host] = answers[1:]
	}
	return slices.Clone(answers[0]), nil
}

func (w *world) name(host string, addresses ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var answer []netip.Addr
	for _, a := range addresses {
		answer = append(answer, netip.MustParseAddr(a))
	}
	if w.names == nil {
		w.names = map[string][][]netip.Addr{}
	}
	w.names[host] = append(w.names[host], answer)
}

// dials are what was dialled since the last call.
func (w *world) dials() []netip.AddrPort {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.dialled
	w.dialled = nil
	return out
}

func (w *world) set(p policy.Policy) {
	if p.Own == nil {
		p.Own = func(netip.Addr) bool { return false }
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.policy = p
}

func (w *world) refused() []Refusal {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.refusals)
}

// newWorld serves a proxy whose dials all end at server.
func newWorld(t *testing.T, server string) *world {
	t.Helper()
	w := &world{credential: newCredential("demo"), server: server}
	w.set(policy.Policy{})
	w.restart(t, 5*time.Second)
	return w
}

// restart serves a new proxy with another idle timeout.
func (w *world) restart(t *testing.T, idle time.Duration) {
	t.Helper()
	w.proxy = NewProxy(ProxyOptions{
		WorkspaceID: "demo", Credential: w.credential, Resolver: w, IdleTimeout: idle,
		Policy: func() policy.Policy {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.policy
		},
		Refused: func(r Refusal) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.refusals = append(w.refusals, r)
		},
		Dial: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
			w.mu.Lock()
			w.dialled = append(w.dialled, to)
			w.mu.Unlock()
			return (&net.Dialer{}).DialContext(ctx, "tcp", w.server)
		},
	})
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.address = l.Addr().String()
	served := make(chan error, 1)
	proxy := w.proxy
	go func() { served <- proxy.Serve(l) }()
	t.Cleanup(func() {
		proxy.Close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
}

// origin is a server that tells what it was asked.
func origin(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s host=%s auth=%q via=%s upgrade=%q body=%q",
			r.Method, r.RequestURI, r.Host, r.Header.Get("Proxy-Authorization"), r.Header.Get("Via"), r.Header.Get("Upgrade"), body)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// raw sends bytes on a new connection and gives the answers' statuses and the
// last body. {auth} stands for the workspace's credential.
func (w *world) raw(t *testing.T, text string) (statuses []int, body string) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	go func() { _, _ = io.WriteString(conn, strings.ReplaceAll(text, "{auth}", w.header())) }()
	reader := bufio.NewReader(conn)
	for {
		r, err := http.ReadResponse(reader, nil)
		if err != nil {
			return statuses, body
		}
		statuses = append(statuses, r.StatusCode)
		if r.StatusCode == http.StatusOK && r.ContentLength < 0 && len(r.TransferEncoding) == 0 {
			return statuses, body // a tunnel
		}
		all, _ := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if body = string(all); r.Close {
			return statuses, body
		}
	}
}

// header is the credential as a header.
func (w *world) header() string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(w.credential.user, w.credential.secret)
	return "Proxy-Authorization: " + r.Header.Get("Authorization")
}

// both asks for an authority by CONNECT and by absolute-form GET.
func (w *world) both(t *testing.T, authority string) (connect, get int, body string) {
	t.Helper()
	first, _ := w.raw(t, "CONNECT "+authority+" HTTP/1.1\r\nHost: "+authority+"\r\n{auth}\r\nConnection: close\r\n\r\n")
	second, body := w.raw(t, "GET http://"+authority+"/x HTTP/1.1\r\nHost: "+authority+"\r\n{auth}\r\nConnection: close\r\n\r\n")
	return status(first), status(second), body
}

// status is the first answer's, 0 for a connection that was just closed.
func status(all []int) int {
	if len(all) == 0 {
		return 0
	}
	return all[0]
}
