package preview_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sero-labs/sero-runtime/core/devserver"
	"github.com/sero-labs/sero-runtime/core/preview"
	"github.com/sero-labs/sero-runtime/internal/testutil"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a Gateway with servers that the test makes up.
type world struct {
	*preview.Gateway
	t *testing.T

	mu      sync.Mutex
	servers map[string]devserver.Server
	dialled []string
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, servers: map[string]devserver.Server{}}
	w.Gateway = open(t, preview.Options{Servers: w, Dial: w.dial, Port: testutil.FreePort(t)})
	return w
}

func open(t *testing.T, o preview.Options) *preview.Gateway {
	t.Helper()
	g, err := preview.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

func (w *world) Named(workspaceID, name string) (devserver.Server, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	server, found := w.servers[name+"."+workspaceID]
	return server, found
}

func (w *world) dial(ctx context.Context, workspaceID, address string) (net.Conn, error) {
	w.mu.Lock()
	w.dialled = append(w.dialled, workspaceID+" "+address)
	w.mu.Unlock()
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

func (w *world) put(s devserver.Server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers[s.Name+"."+s.WorkspaceID] = s
}

// serve runs a server as "web" of the workspace "shop".
func (w *world) serve(handler http.HandlerFunc) *httptest.Server {
	w.t.Helper()
	s := httptest.NewServer(handler)
	w.t.Cleanup(s.Close)
	w.put(running("shop", "web", s.Listener.Addr().String()))
	return s
}

func running(workspaceID, name string, addresses ...string) devserver.Server {
	return devserver.Server{WorkspaceID: workspaceID, Name: name, Status: devserver.StatusRunning, Addresses: addresses, Started: time.Unix(1, 1)}
}

// client is a browser's: it knows where names under localhost are.
func (w *world) client() *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", w.address())
	}}
	w.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (w *world) address() string { return "127.0.0.1:" + strconv.Itoa(int(w.Port())) }

func (w *world) request(method, host, path string, body io.Reader) *http.Request {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+w.address()+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Host = host
	return r
}

// answer is a response whose body was read.
type answer struct {
	StatusCode int
	Status     string
	Header     http.Header
}

func (w *world) do(r *http.Request) (answer, string) {
	w.t.Helper()
	response, err := w.client().Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Status, response.Header}, string(text)
}

func (w *world) page(host, path string) (answer, string) {
	r := w.request(http.MethodGet, host, path, nil)
	r.Header.Set("Accept", "text/html,*/*")
	return w.do(r)
}

func TestB37RequestsArriveAsABrowserSentThem(t *testing.T) {
	w := newWorld(t)
	w.serve(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Own", "kept")
		rw.Header().Set("Keep-Alive", "timeout=5")
		fmt.Fprintf(rw, "%s %s host=%s for=%s fhost=%s proto=%s hops=%s te=%q", r.Method, r.RequestURI, r.Host, r.Header.Get("X-Forwarded-For"),
			r.Header.Get("X-Forwarded-Host"), r.Header.Get("X-Forwarded-Proto"), r.Header.Get("Sero-Preview-Hops"), r.Header.Get("Proxy-Authorization"))
	})
	host := strings.TrimPrefix(w.URL("shop", "web"), "http://")
	if want := "web.shop.localhost:" + strconv.Itoa(int(w.Port())); host != want {
		t.Fatal(host)
	}
	r := w.request(http.MethodGet, host, "/a%2Fb?x=1;y&z=%20", nil)
	r.Header.Set("X-Forwarded-For", "6.6.6.6") // a client's own word counts nothing
	r.Header.Set("X-Forwarded-Host", "evil.test")
	r.Header.Set("Connection", "Proxy-Authorization")
	r.Header.Set("Proxy-Authorization", "secret")
	response, text := w.do(r)
	if want := "GET /a%2Fb?x=1;y&z=%20 host=" + host + " for=127.0.0.1 fhost=" + host + ` proto=http hops=1 te=""`; text != want {
		t.Errorf("%s\nwant %s", text, want)
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("X-Own") != "kept" || response.Header.Get("Keep-Alive") != "" {
		t.Error(response.Status, response.Header)
	}
	// The name is what counts: a tunnel from another port works too.
	if response, _ := w.page("WEB.Shop.localhost.:8080", "/"); response.StatusCode != http.StatusOK {
		t.Error(response.Status)
	}
}

func TestB37AnswersPassAsTheyCome(t *testing.T) {
	w := newWorld(t)
	w.serve(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/early":
			rw.Header().Set("Link", "</a.css>; rel=preload")
			rw.WriteHeader(http.StatusEarlyHints)
		case "/typed":
			rw.Header().Set("Content-Type", "text/x-odd")
		}
		if r.URL.Path != "/typed" {
			rw.Header()["Content-Type"] = nil
		}
		_, _ = io.WriteString(rw, "body { ")
		if r.URL.Path == "/stream" {
			_ = http.NewResponseController(rw).Flush()
		}
		_, _ = io.WriteString(rw, "color: red }")
	})
	for path, want := range map[string][]string{"/": nil, "/early": nil, "/stream": nil, "/typed": {"text/x-odd"}} {
		for range 100 { // header and body come together, or one after the other
			got, body := w.do(w.request(http.MethodGet, "web.shop.localhost", path, nil))
			if !slices.Equal(got.Header["Content-Type"], want) || body != "body { color: red }" {
				t.Fatalf("%s: the server sent the type %q, this is %q", path, want, got.Header["Content-Type"])
			}
		}
	}
}

func TestB37StrictHosts(t *testing.T) {
	w := newWorld(t)
	w.serve(func(http.ResponseWriter, *http.Request) { t.Error("a request came through") })
	w.put(running("secret-plans", "db", "127.0.0.1:1"))
	for host, want := range map[string]int{
		"evil.test": 421, "web.shop.localhost.evil.test": 421, "127.0.0.1:80": 421, "[::1]:80": 421, "localhost": 421, "localhost:80": 421,
		"": 421, "web.shop.localhost:port": 421, "web.shop.localhost:99999": 421, "web.shop": 421,
		"shop.localhost": 404, "a.web.shop.localhost": 404, "web..localhost": 404, ".shop.localhost": 404, "web.other.localhost": 404,
		"api.shop.localhost": 404, "-web.shop.localhost": 404, "web_.shop.localhost": 404, strings.Repeat("a", 64) + ".shop.localhost": 404,
	} {
		connection, err := net.Dial("tcp", w.address())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(connection, "GET / HTTP/1.1\r\nHost: %s\r\nAccept: text/html\r\nConnection: close\r\n\r\n", host)
		response, err := http.ReadResponse(bufio.NewReader(connection), nil)
		if err != nil {
			t.Fatal(host, err)
		}
		text, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		_ = connection.Close()
		if response.StatusCode != want {
			t.Errorf("%q: %s, want %d", host, response.Status, want)
		}
		for _, secret := range []string{"secret-plans", "db", "shop"} {
			if strings.Contains(string(text), secret) {
				t.Errorf("%q: the page tells of %s: %s", host, secret, text)
			}
		}
	}
}

func TestB37WaitingAndErrorPages(t *testing.T) {
	w := newWorld(t)
	const host = "web.shop.localhost"
	server := running("shop", "web", "127.0.0.1:1")
	server.Status, server.StatusMessage = devserver.StatusStarting, ""
	w.put(server)
	response, text := w.page(host, "/")
	if response.StatusCode != 503 || response.Header.Get("Retry-After") != "1" || !strings.Contains(text, "web is starting") ||
		!strings.Contains(text, `http-equiv="refresh"`) || response.Header.Get("Cache-Control") != "no-store" {
		t.Error(response.Status, response.Header, text)
	}
	if csp := response.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Error(csp)
	}
	response, text = w.do(w.request(http.MethodPost, host, "/", strings.NewReader("x")))
	if response.StatusCode != 503 || strings.Contains(text, "<") {
		t.Error(response.Status, text)
	}
	server.Status, server.StatusMessage = devserver.StatusFailed, "<script>alert(1)</script>"
	w.put(server)
	if response, text = w.page(host, "/"); response.StatusCode != 502 || strings.Contains(text, "<script") || !strings.Contains(text, "web failed") {
		t.Error(response.Status, text)
	}
	server.Status = devserver.StatusStopped
	w.put(server)
	if response, text = w.page(host, "/"); response.StatusCode != 502 || !strings.Contains(text, "sero dev restart -w shop web") {
		t.Error(response.Status, text)
	}
	server.Status, server.Addresses = devserver.StatusRunning, []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(int(testutil.FreePort(t))))}
	w.put(server)
	if response, text = w.page(host, "/"); response.StatusCode != 503 || !strings.Contains(text, "does not accept connections") {
		t.Error(response.Status, text)
	}
}

func TestB36EveryAddressIsTried(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		testutil.Missing(t, "ipv6", err.Error())
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "six") }))
	s.Listener = l
	s.Start()
	defer s.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	w.put(running("shop", "web", "[::1]:"+port, "127.0.0.1:"+port))
	if _, text := w.page("web.shop.localhost", "/"); text != "six" {
		t.Error(text)
	}
	if w.dialled[0] != "shop 127.0.0.1:"+port || w.dialled[1] != "shop [::1]:"+port {
		t.Error(w.dialled)
	}
}

func TestB37BothLoopbacks(t *testing.T) {
	w := newWorld(t)
	for _, ip := range []string{"127.0.0.1", "::1"} {
		connection, err := net.Dial("tcp", net.JoinHostPort(ip, strconv.Itoa(int(w.Port()))))
		if err != nil {
			t.Error(err)
			continue
		}
		_ = connection.Close()
	}
	if addresses, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addresses {
			ip, ok := a.(*net.IPNet)
			if !ok || ip.IP.IsLoopback() || ip.IP.To4() == nil {
				continue
			}
			if c, err := net.DialTimeout("tcp", net.JoinHostPort(ip.IP.String(), strconv.Itoa(int(w.Port()))), time.Second); err == nil {
				_ = c.Close()
				t.Errorf("it listens on %s", ip.IP)
			}
		}
	}
}

func TestB37LoopsEnd(t *testing.T) {
	w := newWorld(t)
	requests := 0
	w.serve(func(rw http.ResponseWriter, r *http.Request) { // sends everything on to its own preview
		requests++
		again := w.request(r.Method, r.Host, r.URL.Path, nil)
		again.Header = r.Header.Clone()
		response, text := w.do(again)
		rw.WriteHeader(response.StatusCode)
		fmt.Fprint(rw, text)
	})
	if response, _ := w.page("web.shop.localhost", "/"); response.StatusCode != http.StatusLoopDetected || requests != 8 {
		t.Error(response.Status, requests)
	}
}

func TestB37Streams(t *testing.T) {
	for _, kind := range []string{"text/event-stream", "text/html"} { // events; a page that is rendered as it goes
		t.Run(kind, func(t *testing.T) { stream(t, kind) })
	}
}

func stream(t *testing.T, kind string) {
	w := newWorld(t)
	step := make(chan struct{})
	w.serve(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", kind)
		for n := range 3 {
			fmt.Fprintf(rw, "data: %d\n\n", n)
			_ = http.NewResponseController(rw).Flush()
			select {
			case <-step:
			case <-r.Context().Done():
				return
			}
		}
	})
	response, err := w.client().Do(w.request(http.MethodGet, "web.shop.localhost", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for n := range 3 { // each is read before the next is written
		if !lines.Scan() || lines.Text() != "data: "+strconv.Itoa(n) || !lines.Scan() {
			t.Fatal(n, lines.Text(), lines.Err())
		}
		step <- struct{}{}
	}
}

func TestB37LargeUploadsStream(t *testing.T) {
	const size = 64 << 20
	w := newWorld(t)
	first := make(chan struct{})
	w.serve(func(rw http.ResponseWriter, r *http.Request) {
		var one [1]byte
		_, _ = io.ReadFull(r.Body, one[:])
		close(first) // it has begun before all of it was sent
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(rw, n+1, err)
	})
	reader, writer := io.Pipe()
	go func() {
		_, _ = writer.Write(make([]byte, 1<<20))
		<-first
		for range size>>20 - 1 {
			_, _ = writer.Write(make([]byte, 1<<20))
		}
		_ = writer.Close()
	}()
	if _, text := w.do(w.request(http.MethodPut, "web.shop.localhost", "/", reader)); text != strconv.Itoa(size)+" <nil>" {
		t.Error(text)
	}
}

// upgrade asks for a protocol of the test's own and gives the connection.
func (w *world) upgrade() (net.Conn, *bufio.Reader, error) {
	connection, err := net.Dial("tcp", w.address())
	if err != nil {
		return nil, nil, err
	}
	fmt.Fprint(connection, "GET /hmr HTTP/1.1\r\nHost: web.shop.localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\nOrigin: http://web.shop.localhost\r\n\r\n")
	reader := bufio.NewReader(connection)
	status, err := reader.ReadString('\n')
	if err == nil && !strings.HasPrefix(status, "HTTP/1.1 101 ") {
		err = errors.New(status)
	}
	for line := ""; err == nil && line != "\r\n"; {
		line, err = reader.ReadString('\n')
	}
	return connection, reader, err
}

func (w *world) echo() {
	w.serve(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "echo" || r.Header.Get("Origin") != "http://web.shop.localhost" {
			http.Error(rw, "no", http.StatusBadRequest)
			return
		}
		connection, buffered, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			w.t.Error(err)
			return
		}
		fmt.Fprint(buffered, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_ = buffered.Flush()
		defer connection.Close()
		_, _ = io.Copy(connection, buffered)
	})
}

func TestB37UpgradesLeaveNothingBehind(t *testing.T) {
	w := newWorld(t)
	w.echo()
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return 0
		}
		return len(entries)
	}
	before := 0
	for n := range 1000 {
		connection, reader, err := w.upgrade()
		if err != nil {
			t.Fatal(n, err)
		}
		fmt.Fprintf(connection, "ping %d\n", n)
		if line, err := reader.ReadString('\n'); err != nil || line != fmt.Sprintf("ping %d\n", n) {
			t.Fatal(n, line, err)
		}
		_ = connection.Close()
		if n == 100 {
			before = descriptors()
		}
	}
	const slack = 40
	for deadline := time.Now().Add(20 * time.Second); descriptors() > before+slack; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors after 100 cycles, %d after 1000", before, descriptors())
		}
	} // goleak finds goroutines that are left
}

func TestCloseEndsUpgradedConnections(t *testing.T) {
	w := newWorld(t)
	w.echo()
	connection, reader, err := w.upgrade()
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	w.Close()
	if _, err := reader.ReadByte(); err == nil {
		t.Error("it goes on after Close")
	}
}

func TestPortConflictsAreNamedAndThePortIsRemembered(t *testing.T) {
	taken, state := testutil.FreePort(t), t.TempDir()
	holder, err := net.Listen("tcp6", net.JoinHostPort("::1", strconv.Itoa(int(taken)))) // one family is enough to be taken
	if err != nil {
		testutil.Missing(t, "ipv6", err.Error())
	}
	first := open(t, preview.Options{Port: taken, StateDir: state})
	if first.Port() <= taken || !strings.Contains(first.Conflict(), fmt.Sprintf("port %d is held by", taken)) ||
		!strings.Contains(first.Conflict(), fmt.Sprintf("pid %d", os.Getpid())) {
		t.Error(first.Port(), first.Conflict())
	}
	first.Close()
	_ = holder.Close()
	again := open(t, preview.Options{StateDir: state})
	if again.Port() != first.Port() || again.Conflict() != "" {
		t.Errorf("%d then %d: %s", first.Port(), again.Port(), again.Conflict())
	}
	if u, err := url.Parse(again.URL("shop", "web")); err != nil || u.Port() != strconv.Itoa(int(first.Port())) {
		t.Error(u, err)
	}
	var none *preview.Gateway
	none.Close()
	if none.URL("shop", "web") != "" || none.Port() != 0 || none.Conflict() != "" {
		t.Error("a Gateway that is not there has something")
	}
}
