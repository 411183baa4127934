package devserver_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/devserver"
	"github.com/sero-labs/sero-runtime/core/forward"
	"github.com/sero-labs/sero-runtime/internal/loopback"
)

func TestB36AServerInAContainerHasAPortOfThisMachine(t *testing.T) {
	w := newWorld(t, container, func(o *devserver.Options) { o.Forward = forward.Open })
	taken, err := loopback.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	port := taken[0].Addr().(*net.TCPAddr).Port
	spec := w.spec(fmt.Sprintf("listen -a 127.0.0.1 %d", port))
	spec.Name, spec.Port = "web", uint16(port)
	got := w.start(spec)
	want := fmt.Sprintf("port %d of this machine is held by ", port)
	if got.Status != devserver.StatusRunning || int(got.Port) != port || !strings.HasPrefix(got.URL, "http://localhost:") || !strings.HasPrefix(got.StatusMessage, want) {
		t.Errorf("%+v", got)
	}
	for _, l := range taken {
		_ = l.Close()
	}
	// It keeps its address through a restart, and gives it back when it stops.
	again, err := w.Restart(t.Context(), devserver.Ref{Key: "web", WorkspaceID: "shop"}, 0, nil)
	if err != nil || again.URL != got.URL {
		t.Errorf("%+v %v", again, err)
	}
	dial := func() error {
		c, err := net.Dial("tcp", strings.TrimPrefix(got.URL, "http://"))
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	if err := dial(); err != nil {
		t.Error(err)
	}
	if _, err := w.Stop(t.Context(), devserver.Ref{Key: "web", WorkspaceID: "shop"}); err != nil {
		t.Error(err)
	}
	for range 200 {
		if dial() != nil {
			return
		}
	}
	t.Error("the port is not given back: " + strconv.Itoa(port))
}

// A port that a dev server of another workspace holds is not said to be sero's.
func TestAPortThatAnotherDevServerHoldsIsNamedAfterIt(t *testing.T) {
	w := newWorld(t, container, func(o *devserver.Options) { o.Forward = forward.Open })
	free, err := loopback.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(free[0].Addr().(*net.TCPAddr).Port)
	for _, l := range free {
		_ = l.Close()
	}
	spec := w.spec(fmt.Sprintf("listen -a 127.0.0.1 %d", port))
	spec.Name, spec.Port = "web", port
	w.start(spec)
	spec.Workspace.Dir = w.dir("other")
	got := w.start(spec)
	want := fmt.Sprintf("port %d of this machine is held by dev server web of workspace shop; it is on ", port)
	if got.Status != devserver.StatusRunning || !strings.HasPrefix(got.StatusMessage, want) {
		t.Errorf("%+v", got)
	}
}

// Who holds a port is found out without keeping anybody.
func TestASlowSystemTellsWhoHoldsAPort(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan string)
	w := newWorld(t, container, func(o *devserver.Options) {
		o.Forward = forward.Open
		o.PortOwner = func(context.Context, uint16) string {
			close(asked)
			return <-answer
		}
	})
	taken, err := loopback.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range taken {
		defer l.Close()
	}
	port := taken[0].Addr().(*net.TCPAddr).Port
	spec := w.spec(fmt.Sprintf("listen -a 127.0.0.1 %d", port))
	spec.Name = "web"
	started := make(chan devserver.Server, 1)
	go func() {
		result, err := w.Start(context.WithoutCancel(t.Context()), spec, 0, nil)
		if err != nil {
			t.Error(err)
		}
		started <- result.Server
	}()
	<-asked
	looked := make(chan devserver.Server, 1)
	go func() { looked <- w.List("")[0] }()
	select {
	case got := <-looked:
		if got.Status != devserver.StatusRunning || got.URL == "" || !strings.Contains(got.StatusMessage, "is held by another program; it is on") {
			t.Errorf("%+v", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("everybody waits for the system")
	}
	answer <- "squid (pid 7)"
	if got := <-started; !strings.Contains(got.StatusMessage, "is held by squid (pid 7); it is on") {
		t.Errorf("%+v", got)
	}
}

func TestPortsTellOfWhatIsNoServer(t *testing.T) {
	inBubble(t, container, func(w *world) {
		spec := w.spec("listen 5173 & listen 24678 & sleep 600")
		spec.Name = "web"
		w.start(spec)
		w.by("listen -a 127.0.0.1 5432 & listen 3000 & sleep 600")
		ports, err := w.Ports(w.t.Context(), "shop")
		if err != nil {
			w.t.Fatal(err)
		}
		var lines []string
		for _, p := range ports {
			lines = append(lines, fmt.Sprint(p.Port, " ", p.Addresses, " ", p.Origin, " ", p.Server.Name))
		}
		want := "3000 [0.0.0.0] detected listen|5173 [0.0.0.0] started web|5432 [127.0.0.1] other |24678 [0.0.0.0] started web"
		if got := strings.Join(lines, "|"); got != want {
			w.t.Errorf("%s\nwant %s", got, want)
		}
		if ports, err := w.Ports(w.t.Context(), "unknown"); err == nil {
			w.t.Error(ports)
		}
	})
}
