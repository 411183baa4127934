package egress

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/egress/policy"
)

// TestB30HostileAddresses asks for each address of the list, by CONNECT and by
// absolute-form GET: as a literal, as what a name resolves to, as its second
// address, and in answers that change between the check and the dial. None is
// dialled; each benign twin works.
func TestB30HostileAddresses(t *testing.T) {
	w := newWorld(t, origin(t))
	expect := func(what, authority string, want int) {
		t.Helper()
		connect, get, body := w.both(t, authority)
		if connect != want || get != want {
			t.Errorf("%s: %s gave %d and %d, want %d: %s", what, authority, connect, get, want, body)
		}
	}
	for i, line := range lines(t, "addresses.txt") {
		fields := strings.Fields(line)
		hostile, twin := netip.MustParseAddr(fields[0]), netip.MustParseAddr(fields[len(fields)-1])
		host := func(kind string) string { return fmt.Sprintf("%s-%d.example", kind, i) }
		w.name(host("plain"), hostile.String())
		w.name(host("second"), twin.String(), hostile.String())
		for range 2 { // one answer for CONNECT, one for GET; then the flip
			w.name(host("flip"), twin.String())
		}
		w.name(host("flip"), hostile.String())
		w.name(host("twin"), twin.String())

		if !hostile.Is4In6() || hostile.Unmap() != twin { // a resolver's IPv4 may come so spelled
			expect("a name", host("plain")+":80", http.StatusForbidden)
			expect("a second address", host("second")+":80", http.StatusForbidden)
		}
		expect("a literal", netip.AddrPortFrom(hostile, 80).String(), http.StatusForbidden)
		if dialled := w.dials(); len(dialled) > 0 {
			t.Errorf("%s was asked for, %v dialled", hostile, dialled)
		}
		expect("a twin's name", host("twin")+":80", http.StatusOK)
		expect("a twin", netip.AddrPortFrom(twin, 80).String(), http.StatusOK)
		expect("a name that changes", host("flip")+":80", http.StatusOK)
		if dialled := w.dials(); len(dialled) != 6 || slices.ContainsFunc(dialled, func(a netip.AddrPort) bool { return a.Addr() != twin }) {
			t.Errorf("%s was asked for six times, %v dialled", twin, dialled)
		}
	}
}

// TestB30OwnAddresses refuses the host's public addresses too.
func TestB30OwnAddresses(t *testing.T) {
	w := newWorld(t, origin(t))
	w.set(policy.Policy{Own: func(a netip.Addr) bool { return a == netip.MustParseAddr("8.7.6.5") }})
	w.name("me.example", "8.7.6.5")
	for authority, want := range map[string]int{"8.7.6.5:80": 403, "me.example:80": 403, "8.7.6.6:80": 200} {
		if connect, get, body := w.both(t, authority); connect != want || get != want {
			t.Errorf("%s: %d, %d: %s", authority, connect, get, body)
		}
	}
	own, err := net.InterfaceAddrs()
	if err != nil || len(own) == 0 {
		t.Fatalf("%v, %v", own, err)
	}
	for _, n := range own {
		if a := netip.MustParsePrefix(n.String()).Addr(); !ownAddress(a) {
			t.Errorf("%s is not seen as this machine's", a)
		}
	}
	if ownAddress(netip.MustParseAddr("1.1.1.1")) {
		t.Error("1.1.1.1 is seen as this machine's")
	}
}

// TestB30HostileAuthorities sends each odd spelling, under an allow list of
// everything and under an empty one: nothing is looked up, nothing dialled.
func TestB30HostileAuthorities(t *testing.T) {
	w := newWorld(t, origin(t))
	w.name("good.example", "1.2.3.4")
	for _, mode := range []policy.Mode{policy.Open, policy.Allowlist} {
		w.set(policy.Policy{Workspace: policy.List{Mode: mode}})
		for _, line := range lines(t, "authorities.txt") {
			authority, err := strconv.Unquote(line)
			if err != nil {
				t.Fatal(err)
			}
			connect, get, body := w.both(t, authority)
			if connect == 200 || get == 200 && authority != "good.example" && authority != "[::1]" {
				t.Errorf("%s in mode %s gave %d and %d: %s", line, mode, connect, get, body)
			}
			if dialled := w.dials(); len(dialled) > 0 && authority != "good.example" { // which has its port in a URL
				t.Errorf("%s in mode %s: %v dialled", line, mode, dialled)
			}
		}
	}
	for _, name := range w.lookups {
		if name != "good.example." {
			t.Errorf("%q was looked up", name)
		}
	}
	w.set(policy.Policy{})
	if connect, get, body := w.both(t, "GOOD.example.:80"); connect != 200 || get != 200 {
		t.Errorf("the twin: %d, %d: %s", connect, get, body)
	}
}

// TestB30EmptyAllowList lets nothing through, by neither way.
func TestB30EmptyAllowList(t *testing.T) {
	w := newWorld(t, origin(t))
	w.name("good.example", "1.2.3.4")
	w.set(policy.Policy{Workspace: policy.List{File: "sero.json", Mode: policy.Allowlist}})
	connect, get, body := w.both(t, "good.example:443")
	if connect != 403 || get != 403 || len(w.dials())+len(w.lookups) > 0 {
		t.Errorf("%d, %d", connect, get)
	}
	for _, want := range []string{
		"good.example:443 is not in the allow list", "mode allowlist of sero.json, 0 rules", "sero egress allow -w demo good.example:443",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the refusal does not say %q: %s", want, body)
		}
	}
	allow, _ := policy.ParseRules([]string{"good.example:443"})
	w.set(policy.Policy{Workspace: policy.List{Mode: policy.Allowlist, Allow: allow}})
	if connect, get, _ := w.both(t, "good.example:443"); connect != 200 || get != 200 {
		t.Errorf("allowed: %d, %d", connect, get)
	}
	for _, other := range []string{"good.example:80", "good.example:22", "other.example:443", "a.good.example:443"} {
		if connect, get, _ := w.both(t, other); connect != 403 || get != 403 {
			t.Errorf("%s: %d, %d", other, connect, get)
		}
	}
}

// TestB30DenyRule: who meets a deny rule is told which, where it is, and when its
// removal holds.
func TestB30DenyRule(t *testing.T) {
	w := newWorld(t, origin(t))
	deny, _ := policy.ParseRules([]string{"*.example"})
	w.set(policy.Policy{Workspace: policy.List{File: "sero.json", Deny: deny}})
	connect, get, body := w.both(t, "good.example:443")
	if connect != 403 || get != 403 || len(w.dials())+len(w.lookups) > 0 {
		t.Errorf("%d, %d", connect, get)
	}
	for _, want := range []string{"good.example:443 is in the deny list", "rule: egress.deny of sero.json: *.example", "remove that rule", "sero stop -w demo"} {
		if !strings.Contains(body, want) {
			t.Errorf("the refusal does not say %q: %s", want, body)
		}
	}
}

// TestB30Credential lets nobody in without this workspace's credential, once.
func TestB30Credential(t *testing.T) {
	w := newWorld(t, origin(t))
	var logged bytes.Buffer
	w.proxy.log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	other := newWorld(t, "127.0.0.1:1")
	good := w.header()
	_, secret, _ := strings.Cut(good, "Basic ")
	for name, header := range map[string]string{
		"none": "X: y", "another workspace's": other.header(), "twice": good + "\r\n" + good, "empty": "Proxy-Authorization:",
		"as Authorization": strings.TrimPrefix(good, "Proxy-"), "as Bearer": strings.Replace(good, "Basic", "Bearer", 1),
		"cut": good[:len(good)-4], "longer": good + "AAAA", "no secret": "Proxy-Authorization: Basic ZGVtbzo=",
	} {
		for _, line := range []string{"CONNECT 1.2.3.4:80", "GET http://1.2.3.4/"} {
			statuses, body := w.raw(t, line+" HTTP/1.1\r\nHost: 1.2.3.4\r\n"+header+"\r\nConnection: close\r\n\r\n")
			if status(statuses) != http.StatusProxyAuthRequired {
				t.Errorf("%s: %s gave %v: %s", name, line, statuses, body)
			}
			if strings.Contains(body, secret) {
				t.Errorf("%s: the credential is in the answer", name)
			}
			if !strings.Contains(body, "HTTP_PROXY") || !strings.Contains(body, "start this program again") {
				t.Errorf("%s: the answer does not tell what to do: %s", name, body)
			}
		}
	}
	if dialled := w.dials(); len(dialled) > 0 {
		t.Errorf("%v dialled", dialled)
	}
	// Each wrong one is told of; none, or one in another header, is a program that
	// waits to be asked.
	if n := len(w.refused()); n != 2*7 {
		t.Errorf("%d refusals are told of: %+v", n, w.refused())
	}
	if connect, get, _ := w.both(t, "1.2.3.4:80"); connect != 200 || get != 200 {
		t.Errorf("the right one: %d, %d", connect, get)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", w.credential, w.credential, w.credential), logged.String(), fmt.Sprintf("%+v", w.refused())} {
		if strings.Contains(text, w.credential.secret) || strings.Contains(text, secret) {
			t.Errorf("the credential shows: %s", text)
		}
	}
}

// TestB30Protocol sends what two readers of HTTP may read differently. The
// server behind sees one request with one meaning, or none.
func TestB30Protocol(t *testing.T) {
	w := newWorld(t, origin(t))
	w.name("good.example", "1.2.3.4")
	w.name("hidden.example", "4.3.2.1")
	deny, _ := policy.ParseRules([]string{"hidden.example"})
	w.set(policy.Policy{Workspace: policy.List{Deny: deny}})
	const get, end = "GET http://good.example/x HTTP/1.1\r\n{auth}\r\n", "\r\n\r\n"
	for name, c := range map[string]struct {
		text string
		want []int
		body string
	}{
		"Host of another":       {get + "Host: hidden.example\r\nConnection: close" + end, []int{200}, "host=good.example"},
		"two Hosts":             {get + "Host: good.example\r\nHost: hidden.example" + end, []int{400}, ""},
		"hidden in pipeline":    {get + "Host: good.example" + end + "GET http://hidden.example/ HTTP/1.1\r\nHost: good.example\r\n{auth}\r\nConnection: close" + end, []int{200, 403}, "deny list"},
		"smuggled length":       {"POST http://good.example/x HTTP/1.1\r\nHost: good.example\r\n{auth}\r\nConnection: close\r\nContent-Length: 4\r\nTransfer-Encoding: chunked" + end + "1\r\na\r\n0\r\n\r\n", []int{200}, `body="a"`},
		"two lengths":           {"POST http://good.example/x HTTP/1.1\r\nHost: good.example\r\n{auth}\r\nContent-Length: 4\r\nContent-Length: 5" + end + "abcde", []int{400}, ""},
		"odd encoding":          {"POST http://good.example/x HTTP/1.1\r\nHost: good.example\r\n{auth}\r\nTransfer-Encoding: xchunked" + end, []int{501}, ""},
		"folded header":         {get + "Host: good.example\r\nX: a\r\n Host: hidden.example\r\nConnection: close" + end, []int{200}, "host=good.example"},
		"space before colon":    {get + "Host : hidden.example\r\nHost: good.example" + end, []int{400}, ""},
		"large header":          {get + "Host: good.example\r\nX: " + strings.Repeat("a", 1<<20) + end, []int{431}, ""},
		"h2c":                   {get + "Host: good.example\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings, close" + end, []int{200}, `upgrade=""`},
		"dropped by Connection": {get + "Host: good.example\r\nConnection: Proxy-Authorization, Host, close" + end, []int{200}, `auth=""`},
		"HTTP/2 preface":        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []int{407}, ""},
		"origin form":           {"GET / HTTP/1.1\r\nHost: good.example\r\n{auth}\r\nConnection: close" + end, []int{400}, "absolute URL"},
		"asterisk":              {"OPTIONS * HTTP/1.1\r\nHost: good.example\r\n{auth}\r\nConnection: close" + end, []int{400}, ""},
		"https by GET":          {"GET https://good.example/ HTTP/1.1\r\nHost: good.example\r\n{auth}\r\nConnection: close" + end, []int{400}, "CONNECT"},
		"another scheme":        {"GET ftp://good.example/ HTTP/1.1\r\nHost: good.example\r\n{auth}\r\nConnection: close" + end, []int{400}, ""},
		"CONNECT with a body":   {"CONNECT good.example:443 HTTP/1.1\r\nHost: good.example\r\n{auth}\r\nContent-Length: 3\r\nConnection: close" + end + "abc", []int{400}, "no body"},
		"CONNECT with a URL":    {"CONNECT http://good.example/ HTTP/1.1\r\nHost: good.example\r\n{auth}\r\nConnection: close" + end, []int{400}, ""},
		"CONNECT with a path":   {"CONNECT /x HTTP/1.1\r\nHost: good.example:80\r\n{auth}\r\nConnection: close" + end, []int{400}, ""},
		"query as it came":      {"GET http://good.example/a%2fb;c?x=1;y&%zz HTTP/1.1\r\nHost: x\r\n{auth}\r\nConnection: close" + end, []int{200}, "GET /a%2fb;c?x=1;y&%zz "},
	} {
		statuses, body := w.raw(t, c.text)
		if !slices.Equal(statuses, c.want) || !strings.Contains(body, c.body) {
			t.Errorf("%s: %v %s, want %v with %q", name, statuses, body, c.want, c.body)
		}
		if i := slices.IndexFunc(w.dials(), func(a netip.AddrPort) bool { return a.String() != "1.2.3.4:80" }); i >= 0 {
			t.Errorf("%s: another address was dialled", name)
		}
	}
}

// TestTunnel carries TLS end to end, passes on half-closes, and follows no
// redirect by itself.
func TestTunnel(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://127.0.0.1/metadata", http.StatusFound)
	}))
	defer s.Close()
	w := newWorld(t, s.Listener.Addr().String())
	w.name("good.example", "1.2.3.4")
	proxy, err := url.Parse(w.credential.proxyURL(w.address))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // the server is this test's
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	_, err = client.Get("https://good.example/") //nolint:bodyclose // it fails
	if err == nil || !strings.Contains(fmt.Sprint(err), "Forbidden") {
		t.Errorf("the redirect to this machine: %v", err)
	}
	if dialled := w.dials(); len(dialled) != 1 || dialled[0].String() != "1.2.3.4:443" {
		t.Errorf("%v dialled", dialled)
	}
}

// TestTunnelHalfClose: each side's end reaches the other, who may still speak.
func TestTunnelHalfClose(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		all, _ := io.ReadAll(conn) // until the client's end
		_, _ = fmt.Fprintf(conn, "%d bytes", len(all))
	}()
	w := newWorld(t, l.Addr().String())
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	early := strings.Repeat("x", 300_000) // sent before the answer, with the request
	if _, err := io.WriteString(conn, "CONNECT 1.2.3.4:7 HTTP/1.1\r\nHost: x\r\n"+w.header()+"\r\n\r\n"+early); err != nil {
		t.Fatal(err)
	}
	_ = conn.(*net.TCPConn).CloseWrite() //nolint:forcetypeassert // it was dialled as one
	all, err := io.ReadAll(conn)
	if err != nil || !strings.HasSuffix(string(all), "\r\n\r\n300000 bytes") {
		t.Errorf("%v: %q", err, all)
	}
}

// TestEnds: a tunnel that carries nothing ends by itself, and Close ends one
// that is open; neither leaves a goroutine (see TestMain).
func TestEnds(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w := newWorld(t, l.Addr().String())
	w.restart(t, 200*time.Millisecond)
	open := func() net.Conn {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", w.address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(conn, "CONNECT 1.2.3.4:7 HTTP/1.1\r\nHost: x\r\n"+w.header()+"\r\n\r\n")
		return conn
	}
	idle := open()
	defer idle.Close()
	if _, err := io.ReadAll(idle); err != nil {
		t.Errorf("an idle tunnel: %v", err)
	}
	w.restart(t, time.Hour)
	closed := open()
	defer closed.Close()
	if _, err := closed.Read(make([]byte, 12)); err != nil {
		t.Fatal(err)
	}
	w.proxy.Close()
	if _, err := io.ReadAll(closed); err != nil && !strings.Contains(fmt.Sprint(err), "reset") {
		t.Errorf("an open tunnel of a closed proxy: %v", err)
	}
}

// TestFailures of the network are told as such, without what the host's resolver
// says of itself, and are no refusals.
func TestFailures(t *testing.T) {
	w := newWorld(t, "127.0.0.1:1")
	w.name("down.example", "1.2.3.4")
	for authority, want := range map[string]string{"missing.example:80": "does not exist", "down.example:80": "refuses connections"} {
		connect, get, body := w.both(t, authority)
		if connect != 502 || get != 502 || !strings.Contains(body, want) {
			t.Errorf("%s: %d, %d: %s", authority, connect, get, body)
		}
	}
	if refused := w.refused(); len(refused) > 0 {
		t.Errorf("refusals: %v", refused)
	}
}

// TestManyConnections: more than the limit wait, and none is lost.
func TestManyConnections(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bounded := limited(l, 2, time.Hour)
	defer bounded.Close()
	accepted := make(chan net.Conn, 4)
	go func() {
		defer close(accepted)
		for {
			conn, err := bounded.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	for range 4 {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	waits := func(which string) {
		t.Helper()
		select {
		case <-accepted:
			t.Fatalf("a %s came in", which)
		case <-time.After(50 * time.Millisecond): // what must not happen cannot be waited for otherwise
		}
	}
	first, second := <-accepted, <-accepted
	waits("third")
	_ = first.Close()
	_ = first.Close() // twice frees one place
	third := <-accepted
	waits("fourth")
	_ = second.Close()
	fourth := <-accepted
	_ = third.Close()
	_ = fourth.Close()
	_ = bounded.Close()
	if _, open := <-accepted; open {
		t.Error("a fifth came in")
	}
}

// TestStalledReader: who asks for much and takes nothing holds its place only so
// long, by a tunnel and by a plain request.
func TestStalledReader(t *testing.T) {
	ended := make(chan struct{}, 2)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		block := make([]byte, 1<<20)
		for {
			if _, err := w.Write(block); err != nil {
				ended <- struct{}{}
				return
			}
		}
	}))
	defer s.Close()
	w := newWorld(t, strings.TrimPrefix(s.URL, "http://"))
	w.restart(t, 300*time.Millisecond)
	for _, request := range []string{"GET http://1.2.3.4/ HTTP/1.1\r\n", "CONNECT 1.2.3.4:80 HTTP/1.1\r\n"} {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", w.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, request+"Host: x\r\n"+w.header()+"\r\n\r\n")
		if strings.HasPrefix(request, "CONNECT") {
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		select {
		case <-ended:
		case <-time.After(guard):
			t.Fatalf("%s goes on", request)
		}
	}
}
