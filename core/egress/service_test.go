package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/egress/policy"
	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// guard is far above what any step takes.
const guard = 30 * time.Second

// inside stands for the way into sandboxes: listeners on this machine.
type inside struct {
	mu   sync.Mutex
	err  error
	bad  int // listeners that are refused first
	open []net.Listener
}

func (i *inside) listen(ctx context.Context, _ string, port uint16) (net.Listener, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err != nil {
		return nil, i.err
	}
	if i.bad > 0 {
		i.bad--
		return nil, errors.New("the way in is broken")
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil {
		i.open = append(i.open, l)
	}
	return l, err
}

// cut breaks the way in, as the loss of a channel does.
func (i *inside) cut() { i.breaks(0) }

// breaks is cut, after which so many attempts to listen fail.
func (i *inside) breaks(attempts int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.bad = attempts
	for _, l := range i.open {
		_ = l.Close()
	}
	i.open = nil
}

type service struct {
	*Service
	t      *testing.T
	way    *inside
	events *event.Bus
	ended  atomic.Bool // the sandboxes are not there any more
}

// newService is one whose proxies find a server that says hello behind every
// address, and for which every name is 1.2.3.4.
func newService(t *testing.T, dir string, machine config.Egress) *service {
	t.Helper()
	hello := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "hello") }))
	t.Cleanup(hello.Close)
	s := &service{t: t, way: &inside{}, events: event.NewBus()}
	var err error
	s.Service, err = New(Options{
		StateDir: dir, Machine: machine, Listen: s.way.listen, Events: s.events, Resolver: everywhere{},
		Current:   func(string, driver.Sandbox) bool { return !s.ended.Load() },
		Gone:      func(context.Context, string, driver.Sandbox) bool { return s.ended.Load() },
		LookEvery: 10 * time.Millisecond,
		Dial: func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(hello.URL, "http://"))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

type everywhere struct{}

func (everywhere) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("1.2.3.4")}, nil
}

var box = driver.Sandbox{
	ID: "sero-demo", Instance: "one", Started: time.Unix(1000, 0), Network: driver.NetworkIsolated,
}

// environment is what a command gets, by name.
func (s *service) environment(sandbox driver.Sandbox, file config.Egress) map[string]driver.EnvVar {
	s.t.Helper()
	env, err := s.Environment(s.t.Context(), "demo", sandbox, file)
	if err != nil {
		s.t.Fatal(err)
	}
	byName := map[string]driver.EnvVar{}
	for _, v := range env {
		byName[v.Name] = v
	}
	return byName
}

// get asks through the proxy of an environment, and gives the status, or 0.
func (s *service) get(env map[string]driver.EnvVar, target string) int {
	s.t.Helper()
	proxy, err := url.Parse(env["HTTP_PROXY"].Value)
	if err != nil {
		s.t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), DisableKeepAlives: true}
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, target, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return 0
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

// TestB28Environment: both spellings of the variables, and what the driver says
// of the network in NO_PROXY.
func TestB28Environment(t *testing.T) {
	s := newService(t, t.TempDir(), config.Egress{})
	connected := box
	connected.Subnets = []string{"172.17.0.0/16", "fd00:1::/64"}
	env := s.environment(connected, config.Egress{Mode: "open"})
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		if v := env[name]; !strings.HasPrefix(v.Value, "http://demo:") || !v.Secret || !strings.Contains(v.Value, "@127.0.0.1:") {
			t.Errorf("%s is %+v", name, v)
		}
	}
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		if v := env[name].Value; v != "localhost,127.0.0.1,::1,172.17.0.0/16,fd00:1::/64" {
			t.Errorf("%s is %s", name, v)
		}
	}
	if v := env["NODE_USE_ENV_PROXY"].Value; v != "1" {
		t.Errorf("NODE_USE_ENV_PROXY is %q", v)
	}
	if got := s.get(env, "http://good.example/"); got != http.StatusOK {
		t.Errorf("through it: %d", got)
	}
	other, err := s.Environment(t.Context(), "plain", box, config.Egress{})
	if err != nil || other != nil {
		t.Errorf("without rules: %v, %v", other, err)
	}
}

// TestB30Life: the credential is another one in the sandbox's next life, what it
// said when the proxy was opened holds until then, and programs that outlive the
// daemon find their proxy again.
func TestB30Life(t *testing.T) {
	dir := t.TempDir()
	s := newService(t, dir, config.Egress{})
	strict := config.Egress{Allow: []string{"good.example"}}
	first := s.environment(box, strict)
	if again := s.environment(box, strict)["HTTP_PROXY"]; again != first["HTTP_PROXY"] {
		t.Errorf("%v, then %v", first["HTTP_PROXY"], again)
	}
	for _, loosened := range []config.Egress{{Mode: "open"}, {Allow: []string{"*"}}, {}} {
		env := s.environment(box, loosened)
		if got := s.get(env, "http://other.example/"); got != http.StatusForbidden {
			t.Errorf("after the file said %+v: %d", loosened, got)
		}
	}
	if s.Changed("demo", box, strict) || !s.Changed("demo", box, config.Egress{}) {
		t.Error("it does not tell that the file has changed")
	}
	if st, err := s.Status("demo", config.Egress{}); err != nil || !st.Changed || !st.Running || st.Mode != policy.Allowlist {
		t.Errorf("%+v, %v", st, err)
	}
	s.Close()
	s = newService(t, dir, config.Egress{})
	if again := s.environment(box, config.Egress{})["HTTP_PROXY"]; again != first["HTTP_PROXY"] {
		t.Error("a new daemon gives a running sandbox another proxy")
	}
	if got := s.get(first, "http://other.example/"); got != http.StatusForbidden {
		t.Errorf("in a new daemon: %d", got)
	}
	restarted := box
	restarted.Started = time.Unix(2000, 0)
	second := s.environment(restarted, config.Egress{Mode: "open"})
	if second["HTTP_PROXY"] == first["HTTP_PROXY"] {
		t.Error("the credential of the life before is good again")
	}
	if got := s.get(second, "http://other.example/"); got != http.StatusOK {
		t.Errorf("the new life: %d", got)
	}
	if got := s.get(first, "http://other.example/"); got == http.StatusOK {
		t.Error("the proxy of the life before serves")
	}
	s.StopWorkspace("demo")
	if s.Running() != 0 || s.get(second, "http://other.example/") != 0 {
		t.Error("the proxy of a stopped workspace serves")
	}
	info, err := os.Stat(filepath.Join(dir, "egress", "demo.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestReopens: when the way into the sandbox breaks, it is opened again where
// its programs know it.
func TestReopens(t *testing.T) {
	s := newService(t, t.TempDir(), config.Egress{})
	env := s.environment(box, config.Egress{Mode: "open"})
	s.way.cut()
	for deadline := time.Now().Add(guard); s.get(env, "http://good.example/") != http.StatusOK; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it stays closed")
		}
	}
}

// TestReopensWhereItWas: a proxy inside of a sandbox is not opened on its gateway
// when the way in breaks: no program would find it there.
func TestReopensWhereItWas(t *testing.T) {
	gateway := privateAddress(t)
	s := newService(t, t.TempDir(), config.Egress{})
	connected := box
	connected.Network, connected.Gateway = driver.NetworkDefault, gateway
	env := s.environment(connected, config.Egress{Mode: "open"})
	proxy, err := url.Parse(env["HTTP_PROXY"].Value)
	if err != nil {
		t.Fatal(err)
	}
	s.way.breaks(3)
	for deadline := time.Now().Add(guard); s.get(env, "http://good.example/") != http.StatusOK; time.Sleep(10 * time.Millisecond) {
		if conn, err := net.Dial("tcp", net.JoinHostPort(gateway, proxy.Port())); err == nil {
			_ = conn.Close()
			t.Fatal("it is opened on the gateway")
		}
		if time.Now().After(deadline) {
			t.Fatal("it stays closed")
		}
	}
}

// privateAddress is one of this machine's.
func privateAddress(t *testing.T) string {
	t.Helper()
	own, _ := net.InterfaceAddrs()
	at := slices.IndexFunc(own, func(a net.Addr) bool { return netip.MustParsePrefix(a.String()).Addr().IsPrivate() })
	if at < 0 {
		testutil.Missing(t, "network", "this machine has no private address to listen on")
	}
	return netip.MustParsePrefix(own[at].String()).Addr().String()
}

// TestNoWayIn: without a listener inside, only a gateway that is this machine's
// and private will do; else there is an error, with a remedy.
func TestNoWayIn(t *testing.T) {
	s := newService(t, t.TempDir(), config.Egress{})
	s.way.err = driver.Errorf(driver.Unsupported, "no helper")
	connected := box
	connected.Network = driver.NetworkDefault
	for _, gateway := range []string{"", "nonsense", "127.0.0.1", "0.0.0.0", "1.1.1.1", "10.255.255.254"} {
		connected.Gateway = gateway
		_, err := s.Environment(t.Context(), "demo", connected, config.Egress{Mode: "open"})
		if e := driver.AsError(err); e == nil || e.Reason != driver.Unsupported || len(e.Remedies) == 0 {
			t.Errorf("gateway %q: %v", gateway, err)
		}
	}
	connected.Gateway = privateAddress(t)
	env := s.environment(connected, config.Egress{Mode: "open"})
	if got := s.get(env, "http://good.example/"); got != http.StatusOK || !strings.Contains(env["HTTP_PROXY"].Value, connected.Gateway) {
		t.Errorf("on the gateway %s: %d", connected.Gateway, got)
	}
	connected.Network = driver.NetworkIsolated
	connected.Instance = "two"
	if _, err := s.Environment(t.Context(), "demo", connected, config.Egress{Mode: "open"}); err == nil {
		t.Error("an isolated sandbox is served on a gateway")
	}
}

// TestB30Grants: a grant works at once and lasts; a deny rule is stronger.
func TestB30Grants(t *testing.T) {
	dir := t.TempDir()
	s := newService(t, dir, config.Egress{Deny: []string{"bad.example"}})
	file := config.Egress{Mode: "allowlist"}
	env := s.environment(box, file)
	if got := s.get(env, "http://good.example/"); got != http.StatusForbidden {
		t.Errorf("before: %d", got)
	}
	granted, err := s.Grant("demo", []string{"GOOD.example", "bad.example", "good.example"})
	if err != nil || !slices.Equal(granted, []string{"good.example", "bad.example"}) {
		t.Fatalf("%v, %v", granted, err)
	}
	if good, bad := s.get(env, "http://good.example/"), s.get(env, "http://bad.example/"); good != 200 || bad != 403 {
		t.Errorf("granted: %d, denied: %d", good, bad)
	}
	if _, err := s.Grant("demo", []string{"127.1"}); driver.ReasonOf(err) != driver.InvalidArgument {
		t.Errorf("%v", err)
	}
	s.Close()
	s = newService(t, dir, config.Egress{})
	env = s.environment(box, file)
	if got := s.get(env, "http://good.example/"); got != 200 {
		t.Errorf("in a new daemon: %d", got)
	}
	if left, err := s.Revoke("demo", []string{"good.EXAMPLE"}); err != nil || !slices.Equal(left, []string{"bad.example"}) {
		t.Errorf("%v, %v", left, err)
	}
	if got := s.get(env, "http://good.example/"); got != 403 {
		t.Errorf("revoked: %d", got)
	}
	s.ForgetWorkspace("demo")
	if st, err := s.Status("demo", file); err != nil || len(st.Granted) != 0 {
		t.Errorf("%+v, %v", st, err)
	}
}

// TestB30Observe: what is reached is written down, and lasts; refusals are kept
// once each, with their number, and told of as events.
func TestB30Observe(t *testing.T) {
	dir := t.TempDir()
	s := newService(t, dir, config.Egress{})
	env := s.environment(box, config.Egress{Mode: "observe"})
	for _, target := range []string{"http://b.example/", "http://a.example:8080/x", "http://a.example:8080/y"} {
		if got := s.get(env, target); got != 200 {
			t.Errorf("%s: %d", target, got)
		}
	}
	for range 5 {
		if got := s.get(env, "http://10.0.0.1/"); got != 403 {
			t.Errorf("a private address: %d", got)
		}
	}
	s.Close()
	if st, err := newService(t, dir, config.Egress{}).Status("demo", config.Egress{}); err != nil || !slices.Equal(st.Observed, []string{"a.example:8080", "b.example:80"}) {
		t.Errorf("%+v, %v", st.Observed, err)
	}
	entries := s.workspaces["demo"].journal.list()
	if len(entries) != 1 || entries[0].Count != 5 || entries[0].Allow != "10.0.0.1:80" || !strings.Contains(entries[0].Rule, "RFC 1918") {
		t.Errorf("%+v", entries)
	}
	var told []string
	err := s.events.Watch(t.Context(), 0, false, func(e event.Event) error {
		if want := "; to allow it: sero egress allow -w demo 10.0.0.1:80"; !strings.HasSuffix(e.Message, want) || !strings.Contains(e.Message, "RFC 1918") {
			t.Errorf("the event says %q", e.Message)
		}
		told = append(told, string(e.Type)+" "+e.WorkspaceID+" "+e.Subject)
		return nil
	})
	if want := "egress.refused demo http://10.0.0.1/"; err != nil || !slices.Equal(told, []string{want, want, want}) {
		t.Errorf("%v, %v", told, err)
	}
}

// TestJournalIsBounded: a flood is neither kept nor told of without end.
func TestJournalIsBounded(t *testing.T) {
	var j journal
	told, now := 0, time.Unix(1000, 0)
	for i := range 10_000 {
		if tell, _ := j.add(Refusal{Target: fmt.Sprint(i)}, now); tell {
			told++
		}
	}
	if told != maxTold || len(j.list()) != maxEntries {
		t.Errorf("%d told, %d kept", told, len(j.list()))
	}
	if tell, _ := j.add(Refusal{Target: "later"}, now.Add(time.Minute)); !tell {
		t.Error("a minute later it is not told")
	}
}

// TestBrokenState grants nothing and is in nobody's way.
func TestBrokenState(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"half": `{"granted": ["*"`, "rule": `{"granted": ["127.1"]}`, "life": `{"granted": ["*"], "life": {"rules": {"allow": ["::x"]}}}`} {
		if err := os.MkdirAll(filepath.Join(dir, "egress"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "egress", "demo.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := newService(t, dir, config.Egress{})
		if st, err := s.Status("demo", config.Egress{}); err != nil || len(st.Granted) != 0 {
			t.Errorf("%s: %+v, %v", name, st, err)
		}
		s.environment(box, config.Egress{Mode: "open"})
		s.Close()
	}
	if _, err := newService(t, t.TempDir(), config.Egress{}).Environment(t.Context(), "demo", box, config.Egress{Allow: []string{"::x"}}); err == nil {
		t.Error("bad rules were taken")
	}
}

// TestConcurrentCommands share one proxy, and Close ends what waits.
func TestConcurrentCommands(t *testing.T) {
	s := newService(t, t.TempDir(), config.Egress{})
	var all sync.WaitGroup
	seen := make([]string, 20)
	for i := range seen {
		all.Go(func() {
			env, err := s.Environment(t.Context(), "demo", box, config.Egress{Mode: "open"})
			if err != nil {
				t.Error(err)
				return
			}
			seen[i] = env[0].Value
		})
	}
	all.Wait()
	if len(slices.Compact(seen)) != 1 || s.Running() != 1 {
		t.Errorf("%d proxies, %v", s.Running(), seen)
	}
	s.Close()
	if _, err := s.Environment(t.Context(), "demo", box, config.Egress{Mode: "open"}); !errors.Is(err, errClosing) {
		t.Errorf("%v", err)
	}
}
