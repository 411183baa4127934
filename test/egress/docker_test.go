package egress_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/workspace"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(built)
		os.Exit(code) //nolint:forbidigo // it is the test binary's main function
	}))
}

// data reads a file that the proxy's own tests read too.
func data(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "core", "egress", "testdata", file))
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

// counting is a listener on every address of this machine that counts.
func counting(t *testing.T) (port string, count *atomic.Int64) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	count = new(atomic.Int64)
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			count.Add(1)
			_ = conn.Close()
		}
	}()
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port, count
}

// TestB30AddressesFromInside: no hostile address is dialled, as a literal, as
// what a name resolves to or as its second address; each twin works. A listener
// on this machine, asked for under every name it has, sees nobody.
func TestB30AddressesFromInside(t *testing.T) {
	s := newSite(t)
	id, dir := s.open(config.Egress{Mode: "open", Enforce: true})
	port, count := counting(t)
	var attempts []attempt
	for i, line := range data(t, "addresses.txt") {
		fields := strings.Fields(line)
		hostile, twin := netip.MustParseAddr(fields[0]), netip.MustParseAddr(fields[len(fields)-1])
		host := func(kind string) string { return fmt.Sprintf("%s-%d.example", kind, i) }
		s.twin(twin)
		s.name(host("twin"), twin)
		attempts = append(attempts, both("a literal", netip.AddrPortFrom(hostile, 80).String(), false)...)
		attempts = append(attempts, both("a twin", netip.AddrPortFrom(twin, 80).String(), true)...)
		attempts = append(attempts, both("a twin's name", host("twin")+":80", true)...)
		if hostile.Unmap() == twin { // a resolver may spell IPv4 so
			continue
		}
		s.name(host("plain"), hostile)
		s.name(host("second"), twin, hostile)
		attempts = append(attempts, both("a name", host("plain")+":80", false)...)
		attempts = append(attempts, both("a second address", host("second")+":80", false)...)
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range own {
		a := netip.MustParsePrefix(n.String()).Addr()
		name := fmt.Sprintf("own-%d.example", i)
		s.name(name, a)
		attempts = append(attempts, both("this machine", net.JoinHostPort(a.String(), port), false)...)
		attempts = append(attempts, both("this machine by name", name+":"+port, false)...)
	}
	s.try(id, dir, attempts)
	if strays := s.strays(); len(strays) > 0 || count.Load() > 0 {
		t.Errorf("dialled: %v; the listener saw %d", strays, count.Load())
	}
	t.Logf("%d attempts from inside", len(attempts))
}

// TestB30AuthoritiesFromInside: no odd spelling gets through, under an empty
// allow list nothing does, and an allowed host only on its port.
func TestB30AuthoritiesFromInside(t *testing.T) {
	s := newSite(t)
	good := netip.MustParseAddr("1.2.3.4")
	s.twin(good)
	s.name("good.example", good)
	s.name("hidden.example", good)
	s.name("a.good.example", good)
	empty, emptyDir := s.open(config.Egress{Allow: []string{}})
	listed, listedDir := s.open(config.Egress{Allow: []string{"good.example:443"}})
	var nothing, some []attempt
	for _, line := range data(t, "authorities.txt") {
		authority, err := strconv.Unquote(line)
		if err != nil {
			t.Fatal(err)
		}
		nothing = append(nothing, both("odd", authority, false)...)
		some = append(some, both("odd", authority, false)...)
	}
	for _, authority := range []string{"good.example:443", "good.example:80", "1.2.3.4:443", "hidden.example:443"} {
		nothing = append(nothing, both("an empty list", authority, false)...)
	}
	for authority, through := range map[string]bool{
		"good.example:443": true, "GOOD.example.:443": true, "good.example:80": false, "good.example:22": false,
		"a.good.example:443": false, "hidden.example:443": false, "1.2.3.4:443": false, "localhost:443": false,
	} {
		some = append(some, both("a list of one", authority, through)...)
	}
	s.try(empty, emptyDir, nothing)
	if len(s.dialled) > 0 {
		t.Errorf("under an empty list %v was dialled", s.dialled)
	}
	s.try(listed, listedDir, some)
	if slices.ContainsFunc(s.dialled, func(a netip.AddrPort) bool { return a.String() != "1.2.3.4:443" }) {
		t.Errorf("%v was dialled", s.dialled)
	}
}

// TestB30CredentialFromInside: one workspace's credential opens no other's
// proxy, and what one workspace's proxy listens on is not there in another.
func TestB30CredentialFromInside(t *testing.T) {
	s := newSite(t)
	s.twin(netip.MustParseAddr("1.2.3.4"))
	one, oneDir := s.open(config.Egress{Mode: "open", Enforce: true})
	two, _ := s.open(config.Egress{Mode: "open", Enforce: true})
	proxyOf := func(id string) string { return strings.TrimSpace(s.run(id, "sh", "-c", "echo $HTTP_PROXY")) }
	theirs := strings.TrimPrefix(proxyOf(two), "http://")
	at, address, _ := strings.Cut(theirs, "@")
	attempts := []attempt{
		{"its own credential", "GET http://1.2.3.4/ HTTP/1.1\r\nHost: x\r\n{auth}\r\n\r\n", true},
		{"none", "GET http://1.2.3.4/ HTTP/1.1\r\nHost: x\r\n\r\n", false},
		{"another workspace's", "CONNECT 1.2.3.4:80 HTTP/1.1\r\nHost: x\r\n" + basic(at) + "\r\n\r\n", false},
		{"another workspace's by GET", "GET http://1.2.3.4/ HTTP/1.1\r\nHost: x\r\n" + basic(at) + "\r\n\r\n", false},
	}
	s.try(one, oneDir, attempts)
	if out := s.run(one, "python3", "-c", "import socket; socket.create_connection(('127.0.0.1', "+address[strings.LastIndex(address, ":")+1:]+"), 5)"); address != strings.Split(proxyOf(one), "@")[1] && !strings.Contains(out, "refused") {
		t.Errorf("the other workspace's proxy: %s", out)
	}
	if shown := s.run(one, "sh", "-c", "cat /proc/1/environ"); strings.Contains(shown, "PROXY") {
		t.Error("the sandbox itself knows the credential")
	}
}

// TestB30NoOtherWayOut: what does not use the proxy gets nowhere: no route, no
// name, no host.
func TestB30NoOtherWayOut(t *testing.T) {
	s := newSite(t)
	id, _ := s.open(config.Egress{Allow: []string{"good.example"}})
	port, count := counting(t)
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	targets := []string{"1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "172.17.0.1", "192.168.65.254"}
	for _, n := range own {
		if a := netip.MustParsePrefix(n.String()).Addr(); !a.IsLoopback() && a.Zone() == "" {
			targets = append(targets, a.String())
		}
	}
	script := `import socket, sys
for host in sys.argv[2:]:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        s.settimeout(3)
        try:
            s.connect((host, int(sys.argv[1])))
            s.send(b"x")
            print("reached", host, kind)
        except OSError:
            pass
try:
    socket.getaddrinfo("good.example", 443)
    print("resolved")
except OSError:
    pass
print("done")`
	if out := s.run(id, append([]string{"python3", "-c", script, port}, targets...)...); strings.TrimSpace(out) != "done" || count.Load() > 0 {
		t.Errorf("from inside: %s; the listener saw %d", out, count.Load())
	}
}

// TestB28SurvivesRestart: the credential and the rules are another life's after
// a stop and start, and what the file says meanwhile holds only then.
func TestB28SurvivesRestart(t *testing.T) {
	s := newSite(t)
	s.twin(netip.MustParseAddr("1.2.3.4"))
	s.name("good.example", netip.MustParseAddr("1.2.3.4"))
	id, dir := s.open(config.Egress{Allow: []string{}})
	before := s.run(id, "sh", "-c", "echo $HTTP_PROXY")
	s.run(id, "sh", "-c", `sed -i 's/"allow":\[\]/"allow":["*"]/' sero.json && grep -q '"\*"' sero.json && echo written`)
	s.try(id, dir, both("a door opened from inside", "good.example:443", false))
	if _, _, err := s.Stop(context.Background(), workspace.Ref{ID: id}, 0); err != nil {
		t.Fatal(err)
	}
	if s.egress.Running() != 0 {
		t.Error("the proxy outlives its sandbox")
	}
	if after := s.run(id, "sh", "-c", "echo $HTTP_PROXY"); after == before {
		t.Error("the credential is the same after a restart")
	}
	s.try(id, dir, both("after a restart", "good.example:443", true))
}

// TestB43EgressFromInside: programs that outlive the daemon find their proxy
// where it was, once the next daemon has found their sandbox.
func TestB43EgressFromInside(t *testing.T) {
	s := newSite(t)
	s.twin(netip.MustParseAddr("1.2.3.4"))
	id, dir := s.open(config.Egress{Mode: "open", Enforce: true})
	before := strings.TrimSpace(s.run(id, "sh", "-c", "echo $HTTP_PROXY"))
	s.try(id, dir, both("at first", "1.2.3.4:80", true)) // which leaves its requests
	s.end()
	s.begin()
	s.Rejoin(t.Context(), func(id string) {
		if err := s.ReopenEgress(t.Context(), id); err != nil {
			t.Error(err)
		}
	})
	if s.egress.Running() != 1 {
		t.Fatal("the next daemon opens no proxy")
	}
	out := s.run(id, "env", "-i", "PATH=/usr/bin:/bin", "HTTP_PROXY="+before, "python3", "probe.py", "requests")
	if got := strings.Fields(out); !slices.Equal(got, []string{"200", "200"}) {
		t.Errorf("with the variables of before: %s", out)
	}
}

// TestB28ObserveFromInside: a sandbox with a network of its own is told to leave
// that network's addresses alone, and what it reaches is written down.
func TestB28ObserveFromInside(t *testing.T) {
	s := newSite(t)
	s.twin(netip.MustParseAddr("1.2.3.4"))
	s.name("good.example", netip.MustParseAddr("1.2.3.4"))
	id, dir := s.open(config.Egress{Mode: "observe"})
	sandbox, err := s.driver.Get(t.Context(), workspace.SandboxID(id))
	if err != nil || len(sandbox.Subnets) == 0 {
		t.Fatalf("%+v, %v", sandbox, err)
	}
	want := strings.Join(append([]string{"localhost", "127.0.0.1", "::1"}, sandbox.Subnets...), ",")
	if got := strings.TrimSpace(s.run(id, "sh", "-c", "echo $NO_PROXY; echo $no_proxy")); got != want+"\n"+want {
		t.Errorf("NO_PROXY is %s, want %s", got, want)
	}
	s.try(id, dir, append(both("observed", "good.example:8080", true), both("refused", "10.1.2.3:80", false)...))
	st, err := s.egress.Status(id, config.Egress{Mode: "observe"})
	if err != nil || !slices.Equal(st.Observed, []string{"good.example:8080"}) || len(st.Refusals) != 2 || st.OnlyWayOut {
		t.Errorf("%+v, %v", st, err)
	}
}
