package conformance

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func networkCases() []Case {
	listeners := []driver.Capability{driver.CapNetListeners}
	return engine([]Case{
		{
			ID: "LISTEN-1", Group: "network", Run: listenAppears, Needs: listeners,
			Must: "Listeners tells the whole set at once and again after each change: a listener appears, with its port, address and command's ExecID, and disappears",
		},
		{
			ID: "LISTEN-2", Group: "network", Run: listenForeign, Needs: listeners,
			Must: "a socket of a process that was not started in the sandbox is never in it",
		},
		{
			ID: "LISTEN-3", Group: "network", Run: listenOpen, Needs: listeners,
			Must: "Listeners goes on until its caller ends it, and in an absent sandbox is NOT_FOUND",
		},
		{
			ID: "NET-1", Group: "network", Run: netAddress, Needs: []driver.Capability{driver.CapNetAddress},
			Must: "a running sandbox has an IP address of its own, in one of its subnets",
		},
		{
			ID: "NET-2", Group: "network", Run: netGateway, Needs: []driver.Capability{driver.CapNetGateway},
			Must: "a running sandbox tells the host's address as seen from inside",
		},
		{
			ID: "NET-3", Group: "network", Run: netPublish, Needs: []driver.Capability{driver.CapNetPublish},
			Must: "a published port is reachable on the host's loopback at the port that is told",
		},
		{
			ID: "NET-4", Group: "network", Run: netAgent, Needs: []driver.Capability{driver.CapSSHAgent},
			Must: "a forwarded ssh agent is a socket inside that SSH_AUTH_SOCK names",
		},
		{
			ID: "NET-5", Group: "network", Run: netIsolated, Needs: []driver.Capability{driver.CapNetIsolated},
			Must: "an isolated sandbox has its loopback, no address and no route, and tells that it is isolated; a network that is not known is refused",
		},
	})
}

// listening starts something that listens on a port of the sandbox.
func (s *Session) listening(t T, id string, port int) *command {
	t.Helper()
	argv := s.listenCommand(t, id)
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], "{port}", strconv.Itoa(port))
	}
	run := s.script(id, "")
	run.Argv = argv
	run.Env = []driver.EnvVar{{Name: roleEnv, Value: roleListen}}
	return s.Begin(t, s.Driver(t), run)
}

// listenCommand finds a command that listens: the profile's, this program's own
// where the sandbox is the host, or whatever the image has.
func (s *Session) listenCommand(t T, id string) []string {
	t.Helper()
	if own := s.r.c.Profile.Listen; len(own) > 0 {
		return slices.Clone(own)
	}
	candidates := [][]string{
		{"listen", "{port}"},
		{"python3", "-c", "import socket,time\ns=socket.socket()\ns.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)\ns.bind(('0.0.0.0',{port}))\ns.listen()\ntime.sleep(600)"},
		{"node", "-e", "require('net').createServer(c=>c.end('hi\\n')).listen({port},'0.0.0.0')"},
		{"busybox", "nc", "-l", "-k", "-p", "{port}"},
	}
	if self := hostProgram(); self != "" && s.r.shake.Info.Isolation == driver.IsolationNone {
		candidates = append([][]string{{self, "{port}"}}, candidates...)
	}
	for _, c := range candidates {
		if o := s.Sh(t, id, "command -v "+c[0]); o.Err == nil && o.ShellCode() == 0 {
			return c
		}
	}
	t.Skipf("nothing in the sandbox can listen; name a command in the profile (listen)")
	return nil
}

// watch follows the listeners of a sandbox.
func (s *Session) watch(t T, id string) <-chan []driver.Listener {
	t.Helper()
	ctx, cancel := context.WithCancelCause(s.Ctx)
	t.Cleanup(func() { cancel(errCaseCancel) })
	out := make(chan []driver.Listener, 256)
	d := s.Driver(t)
	go func() {
		defer close(out)
		_ = d.Listeners(ctx, id, func(ls []driver.Listener) error {
			out <- ls
			return nil
		})
	}()
	return out
}

// seen waits for a set that passes.
func (s *Session) seen(t T, sets <-chan []driver.Listener, what string, ok func([]driver.Listener) bool) []driver.Listener {
	t.Helper()
	var last []driver.Listener
	for deadline := time.After(s.within(5 * time.Second)); ; {
		select {
		case set, open := <-sets:
			if !open {
				t.Fatalf("the stream ended before %s; the last set was %v", what, last)
			}
			if last = set; ok(set) {
				return set
			}
		case <-deadline:
			t.Fatalf("%s is not told; the last set was %v", what, last)
		}
	}
}

func onPort(port int) func([]driver.Listener) bool {
	return func(ls []driver.Listener) bool {
		return slices.ContainsFunc(ls, func(l driver.Listener) bool { return int(l.Port) == port })
	}
}

// Ports that the suite listens on are below those that Linux and macOS choose
// by themselves: no connection of another program takes one meanwhile.
const (
	firstPort = 15000
	portCount = 15000
)

// freePort is a port that nothing on the host listens on, another one each time.
func (s *Session) freePort(t T) int {
	t.Helper()
	for range portCount {
		n := firstPort + rand.IntN(portCount)
		if !s.r.ports.add(n) {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(n))) //nolint:noctx // it does not wait
		if err != nil {
			continue
		}
		_ = l.Close()
		return n
	}
	t.Fatalf("no port is free")
	return 0
}

// numbers is a set of them.
type numbers struct {
	mu  sync.Mutex
	set map[int]bool
}

// add reports whether n is new.
func (s *numbers) add(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set == nil {
		s.set = map[int]bool{}
	}
	isNew := !s.set[n]
	s.set[n] = true
	return isNew
}

func listenAppears(t T, s *Session) {
	id := s.Running(t)
	sets := s.watch(t, id)
	first, second := s.freePort(t), s.freePort(t)
	s.seen(t, sets, "the first, empty set", func(ls []driver.Listener) bool { return len(ls) == 0 })
	run := s.listening(t, id, first)
	set := s.seen(t, sets, "a new listener", onPort(first))
	for _, l := range set {
		if int(l.Port) != first {
			continue
		}
		if _, err := netip.ParseAddr(l.Address); err != nil || strings.Contains(l.Address, "%") {
			t.Errorf("its address is %q", l.Address)
		}
		if l.ExecID != "" && !strings.HasPrefix(l.ExecID, "conf-") {
			t.Errorf("its ExecID is %q", l.ExecID)
		}
	}
	s.listening(t, id, second)
	s.seen(t, sets, "the whole set with a second listener", func(ls []driver.Listener) bool { return onPort(first)(ls) && onPort(second)(ls) })
	run.cancel(errCaseCancel)
	s.seen(t, sets, "the end of the first listener", func(ls []driver.Listener) bool { return !onPort(first)(ls) })
}

func listenForeign(t T, s *Session) {
	foreign, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not wait
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { _ = foreign.Close() })
	_, port, _ := strings.Cut(foreign.Addr().String(), ":")
	n, _ := strconv.Atoi(port)
	other, id := s.Running(t), s.Running(t)
	theirs, ours := s.freePort(t), s.freePort(t)
	s.listening(t, other, theirs)
	s.seen(t, s.watch(t, other), "the other sandbox's listener", onPort(theirs))
	s.listening(t, id, ours)
	set := s.seen(t, s.watch(t, id), "the sandbox's listener", onPort(ours))
	if onPort(n)(set) {
		t.Errorf("the host's listener on port %d is in it: %v", n, set)
	}
	if onPort(theirs)(set) {
		t.Errorf("another sandbox's listener on port %d is in it: %v", theirs, set)
	}
}

func listenOpen(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	ctx, cancel := context.WithTimeoutCause(s.Ctx, 700*time.Millisecond, errDeadline)
	defer cancel()
	if err := d.Listeners(ctx, id, func([]driver.Listener) error { return nil }); ctx.Err() == nil {
		t.Errorf("it ended by itself: %v", err)
	}
	err := d.Listeners(s.Ctx, s.Spec(t).ID, func([]driver.Listener) error { return errSeen })
	s.Fails(t, "Listeners of an absent sandbox", err, driver.NotFound)
}

func netAddress(t T, s *Session) {
	d := s.Driver(t)
	sb := s.runningOn(t, d, s.Spec(t))
	other := s.runningOn(t, d, s.Spec(t))
	if len(sb.Addresses) == 0 {
		t.Fatalf("it has none")
	}
	for _, a := range sb.Addresses {
		addr, err := netip.ParseAddr(a)
		if err != nil || addr.IsLoopback() || addr.IsUnspecified() {
			t.Errorf("the address is %q", a)
			continue
		}
		if slices.Contains(other.Addresses, a) {
			t.Errorf("another sandbox has the address %s too", a)
		}
		inside := slices.ContainsFunc(sb.Subnets, func(cidr string) bool {
			p, err := netip.ParsePrefix(cidr)
			return err == nil && p.Contains(addr)
		})
		if !inside {
			t.Errorf("the address %s is in none of the subnets %v", a, sb.Subnets)
		}
	}
}

func netGateway(t T, s *Session) {
	sb := s.runningOn(t, s.Driver(t), s.Spec(t))
	if addr, err := netip.ParseAddr(sb.Gateway); err != nil || addr.IsLoopback() {
		t.Errorf("it is %q", sb.Gateway)
	}
}

func netPublish(t T, s *Session) {
	d, spec := s.Driver(t), s.Spec(t)
	spec.Publish = []driver.PublishedPort{{SandboxPort: 3123}}
	sb := s.runningOn(t, d, spec)
	if len(sb.Publish) != 1 || sb.Publish[0].SandboxPort != 3123 || sb.Publish[0].HostPort == 0 {
		t.Fatalf("the published ports are %v", sb.Publish)
	}
	s.listening(t, spec.ID, 3123)
	address := fmt.Sprintf("127.0.0.1:%d", sb.Publish[0].HostPort)
	var err error
	reached := s.eventually(5*time.Second, func() bool {
		var conn net.Conn
		if conn, err = net.DialTimeout("tcp", address, time.Second); err != nil { //nolint:noctx // it has a deadline
			return false
		}
		defer conn.Close()
		_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		_, rerr := bufio.NewReader(conn).ReadByte()
		return rerr == nil || isTimeout(rerr) // closed at once: nobody is behind it
	})
	if !reached {
		t.Errorf("%s is not reached: %v", address, err)
	}
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error) //nolint:errorlint // as it comes from the connection
	return ok && e.Timeout()
}

func netAgent(t T, s *Session) {
	agent, err := net.Listen("unix", filepath.Join(s.r.base, agentSocket)) //nolint:noctx // it does not wait
	if err != nil {
		t.Fatalf("making a socket for the agent: %v", err)
	}
	t.Cleanup(func() { _ = agent.Close() })
	d, spec := s.Launch(t), s.Spec(t) // its environment names the socket
	spec.ForwardSSHAgent = true
	s.runningOn(t, d, spec)
	o := s.exec(d, s.script(spec.ID, `test -S "$SSH_AUTH_SOCK" && echo yes`), nil)
	if o.Out != "yes\n" {
		t.Errorf("there is none (exit %d, error %v)", o.Code, o.Err)
	}
}

func netIsolated(t T, s *Session) {
	d, spec := s.Driver(t), s.Spec(t)
	spec.Network = driver.NetworkIsolated
	sb := s.runningOn(t, d, spec)
	if sb.Network != driver.NetworkIsolated || len(sb.Addresses)+len(sb.Subnets) > 0 || sb.Gateway != "" {
		t.Errorf("its network is %s, with addresses %v, subnets %v, gateway %q", sb.Network, sb.Addresses, sb.Subnets, sb.Gateway)
	}
	if ways := routesOut(s.Out(t, spec.ID, "cat /proc/net/route /proc/net/ipv6_route 2>/dev/null || true")); len(ways) > 0 {
		t.Errorf("there is a way out: %v", ways)
	}
	s.listening(t, spec.ID, 3124) // loopback is there
	other := s.Spec(t)
	other.Network = driver.Network(77)
	if _, err := d.Create(s.Ctx, other); err == nil {
		t.Errorf("a sandbox with a network that is not known was made")
		s.OK(t, "Remove", d.Remove(s.Ctx, other.ID, true))
	}
}

// routesOut are the lines of Linux's routing tables that lead through another
// interface than the loopback's. An unreachable route of IPv6 goes through it.
func routesOut(tables string) []string {
	var ways []string
	for line := range strings.Lines(tables) {
		fields := strings.Fields(line)
		if len(fields) < 8 || fields[0] == "Iface" {
			continue
		}
		device := fields[0]
		if len(device) == 32 { // IPv6: the device is last
			device = fields[len(fields)-1]
		}
		if device != "lo" {
			ways = append(ways, strings.Join(fields, " "))
		}
	}
	return ways
}
