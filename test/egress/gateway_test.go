package egress_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
)

// withoutHelper makes a person's sero unable to write the guest helper, so that
// sandboxes get none.
func (p *person) withoutHelper() {
	p.t.Helper()
	p.write(filepath.Join(p.home, "guest"), "a file where a directory has to be")
}

// proxy is where a workspace's programs find their proxy, and with what.
func (p *person) proxy(id string) (credential string, address netip.AddrPort) {
	p.t.Helper()
	credential, at, ok := strings.Cut(strings.TrimPrefix(p.ok(id, "exec", "--", "sh", "-c", "echo $HTTP_PROXY"), "http://"), "@")
	address, err := netip.ParseAddrPort(strings.TrimSuffix(at, "/"))
	if !ok || err != nil {
		p.t.Fatalf("the proxy is at %q: %v", at, err)
	}
	return credential, address
}

// ask makes requests from inside a workspace and gives what each came to, 0 for
// a connection that was just closed.
func (p *person) ask(id string, requests ...string) []int {
	p.t.Helper()
	var text bytes.Buffer
	for _, r := range requests {
		text.WriteString(hex.EncodeToString([]byte(r)) + "\n")
	}
	if err := os.WriteFile(filepath.Join(p.root, id, "requests"), text.Bytes(), 0o600); err != nil {
		p.t.Fatal(err)
	}
	lines := strings.Fields(p.ok(id, "exec", "--", "python3", "probe.py", "requests"))
	if len(lines) != len(requests) {
		p.t.Fatalf("%d requests, and %d answers: %v", len(requests), len(lines), lines)
	}
	statuses := make([]int, len(lines))
	for i, line := range lines {
		var err error
		if statuses[i], err = strconv.Atoi(line); err != nil {
			p.t.Fatal(err)
		}
	}
	return statuses
}

// forms are the two ways to ask a proxy for an authority.
func forms(authority, header string) []string {
	const end = "\r\nConnection: close\r\n\r\n"
	return []string{
		"CONNECT " + authority + " HTTP/1.1\r\nHost: " + authority + "\r\n" + header + end,
		"GET http://" + authority + "/ HTTP/1.1\r\nHost: " + authority + "\r\n" + header + end,
	}
}

// all asks for authorities in both forms and compares each answer.
func (p *person) all(id string, want []int, authorities ...string) {
	p.t.Helper()
	var requests []string
	for _, a := range authorities {
		requests = append(requests, forms(a, "{auth}")...)
	}
	for i, got := range p.ask(id, requests...) {
		if !slices.Contains(want, got) {
			p.t.Errorf("%q: %d, want one of %v", strings.SplitN(requests[i], "\r", 2)[0], got, want)
		}
	}
}

// TestB30Gateway: in a sandbox without the guest helper the proxy is on the
// engine's gateway, there alone, and holds what it holds elsewhere: its own
// credential, no address that is not public, and deny rules.
func TestB30Gateway(t *testing.T) {
	p := newPerson(t, map[string]any{})
	p.withoutHelper()
	twin := p.publicServer("11.0.0.1")
	mine := p.workspace(map[string]any{"mode": "open", "deny": []string{"good.example", "11.0.0.2"}})
	theirs := p.workspace(map[string]any{"mode": "open"})
	credential, address := p.proxy(mine)
	other, _ := p.proxy(theirs)
	gateway := dockertest.Docker(t, p.host, "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", "sero-"+mine)
	if address.Addr().String() != gateway || credential == "" || credential == other {
		t.Fatalf("the proxies are at %s with %q and %q; the gateway is %s", address, credential, other, gateway)
	}
	if out := p.ok(mine, "egress", "ls"); !strings.Contains(out, "running") || strings.Contains(out, "only way out") {
		t.Errorf("sero egress ls: %s", out)
	}

	p.onlyOn(mine, address)
	header := func(at string) string {
		return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(at))
	}
	for what, h := range map[string]string{"no": "X-Nothing: x", "another workspace's": header(other), "a wrong": header(credential + "x")} {
		if got := p.ask(mine, forms(twin, h)...); !slices.Equal(got, []int{http.StatusProxyAuthRequired, http.StatusProxyAuthRequired}) {
			t.Errorf("with %s credential: %v", what, got)
		}
	}
	p.all(mine, []int{http.StatusOK}, twin)

	port, count := counting(t)
	refused := []string{"11.0.0.2:80", "good.example:443", "GOOD.example.:443"}
	for _, line := range data(t, "addresses.txt") {
		refused = append(refused, netip.AddrPortFrom(netip.MustParseAddr(strings.Fields(line)[0]), 80).String())
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range own {
		refused = append(refused, net.JoinHostPort(netip.MustParsePrefix(n.String()).Addr().String(), port))
	}
	p.all(mine, []int{http.StatusForbidden, http.StatusBadRequest}, refused...)
	p.all(mine, []int{http.StatusForbidden, http.StatusBadGateway}, "localhost:"+port) // a resolver need not know it
	var odd []string
	for _, line := range data(t, "authorities.txt") {
		authority, err := strconv.Unquote(line)
		if err != nil {
			t.Fatal(err)
		}
		odd = append(odd, authority)
	}
	p.all(mine, []int{0, http.StatusForbidden, http.StatusBadRequest}, odd...)
	if count.Load() > 0 {
		t.Errorf("a server on this machine saw %d connections", count.Load())
	}
	p.granted(mine)
}

// granted: what was refused is told of with the command that allows it, and that
// command works.
func (p *person) granted(id string) {
	p.t.Helper()
	service := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "mine") }))
	_, address := p.proxy(id)
	l, err := net.Listen("tcp", net.JoinHostPort(address.Addr().String(), "0"))
	if err != nil {
		p.t.Fatal(err)
	}
	_ = service.Listener.Close()
	service.Listener = l
	service.Start()
	defer service.Close()
	at := l.Addr().String()
	p.all(id, []int{http.StatusForbidden}, at)
	allow := []string{"egress", "allow", "-w", id, at}
	if log := p.ok(id, "egress", "log"); !strings.Contains(log, "to allow it: sero "+strings.Join(allow, " ")) {
		p.t.Errorf("sero egress log does not tell how to allow %s: %s", at, log)
	}
	p.ok(id, allow...)
	p.all(id, []int{http.StatusOK}, at)
}

// onlyOn shows that the proxy's port is on one address of this machine, for who
// asks on it and for the sandbox.
func (p *person) onlyOn(id string, address netip.AddrPort) {
	p.t.Helper()
	own, err := net.InterfaceAddrs()
	if err != nil {
		p.t.Fatal(err)
	}
	var elsewhere []string
	for _, n := range own {
		a := netip.MustParsePrefix(n.String()).Addr()
		if a == address.Addr() || a.IsLinkLocalUnicast() {
			continue
		}
		elsewhere = append(elsewhere, a.String())
		conn, err := net.DialTimeout("tcp", netip.AddrPortFrom(a, address.Port()).String(), 5*time.Second)
		if err == nil {
			_ = conn.Close()
			p.t.Errorf("the proxy is reached at %s, too", a)
		}
	}
	script := `import socket, sys
for host in sys.argv[2:]:
    try:
        socket.create_connection((host, int(sys.argv[1])), 3).close()
        print(host)
    except OSError:
        pass`
	port := strconv.Itoa(int(address.Port()))
	args := append([]string{"exec", "--", "python3", "-c", script, port, address.Addr().String()}, elsewhere...)
	if got := p.ok(id, args...); got != address.Addr().String() {
		p.t.Errorf("from inside, the proxy is reached at %q", got)
	}
}

// serve answers each connection; the image's Python has no more than sockets.
const serve = `import socket
s = socket.create_server(("0.0.0.0", 8080))
while True:
    c, _ = s.accept()
    c.recv(4096)
    c.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello\n")
    c.close()`

// publicServer is a web server at an address that is public, for a while on a
// network of this machine, and gives its authority.
func (p *person) publicServer(address string) string {
	p.t.Helper()
	name := "sero-test-" + filepath.Base(p.root) + strconv.Itoa(os.Getpid())
	dockertest.Docker(p.t, p.host, "network", "create", "--subnet", address+"/29", "--gateway", "11.0.0.6", name)
	p.t.Cleanup(func() { dockertest.Docker(p.t, p.host, "network", "rm", name) })
	dockertest.Docker(p.t, p.host, "run", "--detach", "--name", name, "--network", name, "--ip", address, dockertest.BaseImage(p.t),
		"python3", "-c", serve)
	p.t.Cleanup(func() { dockertest.Docker(p.t, p.host, "rm", "--force", name) })
	authority := net.JoinHostPort(address, "8080")
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", authority, time.Second)
		if err == nil {
			_ = conn.Close()
			return authority
		}
		if time.Now().After(deadline) {
			p.t.Fatal(err)
		}
	}
}
