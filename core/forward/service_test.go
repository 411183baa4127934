package forward_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/core/forward"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/internal/loopback"
	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// one is a workspace named ws in which a server listens on the port inside.
type one struct {
	host, shared, mute atomic.Bool // in host mode, on the machine's network, nothing connects
	inside             uint16
	server             func(context.Context) (net.Conn, error)
	ups                atomic.Int32
}

func (o *one) workspace() workspace.Workspace {
	w := workspace.Workspace{ID: "ws", Choice: o.Choice("ws"), Capabilities: []driver.Capability{driver.CapNetContainer}}
	if o.shared.Load() {
		w.Capabilities = nil
	}
	return w
}

func (o *one) Up(context.Context, workspace.UpOptions, func(driver.Progress)) (workspace.Workspace, error) {
	o.ups.Add(1)
	return o.workspace(), nil
}

func (o *one) Get(context.Context, workspace.Ref) (workspace.Workspace, error) {
	return o.workspace(), nil
}
func (o *one) Choice(string) negotiate.Choice { return negotiate.Choice{HostMode: o.host.Load()} }

func (o *one) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	if o.mute.Load() {
		return nil, driver.Errorf(driver.Unsupported, "nothing in the sandbox can connect")
	}
	if address == net.JoinHostPort("::1", strconv.Itoa(int(o.inside))) {
		return o.server(ctx)
	}
	err := driver.Errorf(driver.NotFound, "refused")
	err.Err = syscall.ECONNREFUSED
	return nil, err
}

func newOne(t *testing.T) (*one, *forward.Service, *event.Bus) {
	t.Helper()
	o, bus := &one{inside: 5432, server: upper(t)}, event.NewBus()
	s := forward.New(o, bus)
	t.Cleanup(s.Close)
	return o, s, bus
}

func exchange(t *testing.T, port uint16, text string) string {
	t.Helper()
	c := dial(t, "127.0.0.1", port)
	_, _ = io.WriteString(c, text)
	_ = c.(*net.TCPConn).CloseWrite()
	got, _ := io.ReadAll(c)
	return string(got)
}

// TestC8AnyPortIsForwarded opens ports by number: to what listens on one family alone,
// and to what does not listen yet, which is said once.
func TestC8AnyPortIsForwarded(t *testing.T) {
	o, s, bus := newOne(t)
	local := testutil.FreePort(t)
	set, err := s.Open(t.Context(), forward.Request{Wishes: []forward.Wish{{Port: 5432, Local: local}, {Port: 9229}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	if set.WorkspaceID != "ws" || set.Opened[0] != (forward.Wish{Port: 5432, Local: local}) || set.Opened[1].Local == 0 {
		t.Errorf("%+v", set)
	}
	if got := exchange(t, local, "hello"); got != "HELLO" {
		t.Error(got)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	notices, ended := make(chan string, 10), make(chan error, 1)
	go func() {
		ended <- set.Wait(ctx, func(text string) error { notices <- text; return nil })
	}()
	for range 3 {
		if got := exchange(t, set.Opened[1].Local, "hello"); got != "" {
			t.Error(got)
		}
	}
	if text := <-notices; !strings.Contains(text, "port 9229 of workspace ws: nothing accepts connections there") {
		t.Error(text)
	}
	if len(notices) > 0 {
		t.Error("it is said again:", <-notices)
	}
	o.host.Store(true) // it would lead to itself
	if got := exchange(t, local, "hello"); got != "" {
		t.Error(got)
	}
	for driver.ReasonOf(err) == "" {
		bus.Publish(event.Event{Type: event.WorkspaceRunning, WorkspaceID: "other"})
		bus.Publish(event.Event{Type: event.WorkspaceRunning, WorkspaceID: "ws"})
		select {
		case err = <-ended:
		default:
		}
	}
	if driver.ReasonOf(err) != driver.Unsupported {
		t.Error(err)
	}
	set.Close()
	listeners, err := loopback.Listen(local)
	if err != nil {
		t.Fatal("the port is not free again:", err)
	}
	for _, l := range listeners {
		l.Close()
	}
}

// TestC8ForwardsEnd ends a wait for each of its reasons.
func TestC8ForwardsEnd(t *testing.T) {
	_, s, bus := newOne(t)
	wantEnd(t, s, func() { bus.Publish(event.Event{Type: event.WorkspaceRemoved, WorkspaceID: "ws"}) }, driver.NotFound)
	wantEnd(t, s, s.Close, driver.Canceled)
}

func wantEnd(t *testing.T, s *forward.Service, do func(), want driver.Reason) {
	t.Helper()
	set, err := s.Open(t.Context(), forward.Request{Wishes: []forward.Wish{{Port: 5432}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	ended := make(chan error, 1)
	go func() { ended <- set.Wait(t.Context(), func(string) error { return nil }) }()
	for {
		do()
		select {
		case err := <-ended:
			if driver.ReasonOf(err) != want {
				t.Errorf("%v, want %s", err, want)
			}
			return
		default:
		}
	}
}

// TestC8ForwardsAreRefused asks for what cannot be: nothing is started for it, and no
// port stays taken.
func TestC8ForwardsAreRefused(t *testing.T) {
	taken := open(t, testutil.FreePort(t), upper(t)).Port()
	free := testutil.FreePort(t)
	many := make([]forward.Wish, 33)
	for i := range many {
		many[i].Port = 5432
	}
	tried, accepted := 0, 0
	for name, c := range map[string]struct {
		wishes []forward.Wish
		is     func(*one)
		want   driver.Reason
		text   string
		ups    int32
	}{
		"none":           {nil, nil, driver.InvalidArgument, "no port", 0},
		"zero":           {[]forward.Wish{{Port: 0, Local: free}}, nil, driver.InvalidArgument, "from 1 to 65535", 0},
		"twice":          {[]forward.Wish{{Port: 1, Local: free}, {Port: 2, Local: free}}, nil, driver.InvalidArgument, "twice", 0},
		"too many":       {many, nil, driver.InvalidArgument, "at most 32", 0},
		"taken":          {[]forward.Wish{{Port: 1, Local: free}, {Port: 5432, Local: taken}}, nil, driver.PortInUse, "is in use by", 0},
		"taken, on host": {[]forward.Wish{{Port: taken, Local: taken}}, func(o *one) { o.host.Store(true) }, driver.Unsupported, "is in host mode", 0},
		"host mode":      {[]forward.Wish{{Port: 5432, Local: free}}, func(o *one) { o.host.Store(true) }, driver.Unsupported, "on localhost:5432 already", 1},
		"host's network": {[]forward.Wish{{Port: 5432, Local: free}}, func(o *one) { o.shared.Store(true) }, driver.Unsupported, "network of this machine", 1},
		"mute":           {[]forward.Wish{{Port: 5432, Local: free}}, func(o *one) { o.mute.Store(true) }, driver.Unsupported, "can connect", 1},
	} {
		o, s, _ := newOne(t)
		if c.is != nil {
			c.is(o)
		}
		set, err := s.Open(t.Context(), forward.Request{Wishes: c.wishes}, nil)
		tried++
		if err == nil {
			accepted++
			set.Close()
		}
		if driver.ReasonOf(err) != c.want || !strings.Contains(errorText(err), c.text) || o.ups.Load() != c.ups {
			t.Errorf("%s: %v after %d starts", name, err, o.ups.Load())
		}
		if c.want != driver.Unsupported && len(driver.AsError(err).Remedies) == 0 {
			t.Errorf("%s: no remedy", name)
		}
		if listeners, err := loopback.Listen(free); err != nil {
			t.Errorf("%s: the port stays taken: %v", name, err)
		} else {
			for _, l := range listeners {
				l.Close()
			}
		}
	}
	_, s, _ := newOne(t)
	set, err := s.Open(t.Context(), forward.Request{Wishes: []forward.Wish{{Port: 5432, Local: free}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	set.Close()
	t.Logf("tried %d, accepted %d; one benign accepted", tried, accepted)
}

func errorText(err error) string {
	if e := driver.AsError(err); e != nil {
		return e.Message
	}
	return ""
}

// TestC8A9ForwardsAreBounded opens as many ports as there may be in all.
func TestC8A9ForwardsAreBounded(t *testing.T) {
	_, s, _ := newOne(t)
	wishes := make([]forward.Wish, 32)
	for i := range wishes {
		wishes[i].Port = 5432
	}
	var sets []*forward.Set
	for {
		set, err := s.Open(t.Context(), forward.Request{Wishes: wishes}, nil)
		if err != nil {
			if driver.ReasonOf(err) != driver.Unsupported {
				t.Error(err)
			}
			break
		}
		defer set.Close()
		sets = append(sets, set)
	}
	t.Logf("opened %d ports", 32*len(sets))
	if len(sets) != 8 {
		t.Errorf("%d sets of 32", len(sets))
	}
	sets[0].Close()
	sets[0].Close()
	set, err := s.Open(t.Context(), forward.Request{Wishes: wishes}, nil)
	if err != nil {
		t.Fatal(errors.Join(errors.New("there is no room again"), err))
	}
	set.Close()
}
