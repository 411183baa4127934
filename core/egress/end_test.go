package egress

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// asked is a context that tells when somebody first listens for its end: a call
// has found its workspace then, and is about to wait for its turn.
type asked struct {
	context.Context
	once *sync.Once
	told chan struct{}
}

func (a asked) Done() <-chan struct{} {
	a.once.Do(func() { close(a.told) })
	return a.Context.Done()
}

// held makes a Service with a workspace whose turn is taken and a call that waits
// for it, ends the workspace by end, and gives what the call returned.
func held(t *testing.T, end func(*service)) (*service, error) {
	t.Helper()
	s := newService(t, t.TempDir(), config.Egress{})
	w := s.workspace("demo")
	w.turn <- struct{}{}
	ctx := asked{Context: t.Context(), once: new(sync.Once), told: make(chan struct{})}
	var all sync.WaitGroup
	var err error
	call := func() { _, err = s.Environment(ctx, "demo", box, config.Egress{Mode: "open"}) }
	ending := make(chan struct{})
	all.Go(func() {
		close(ending)
		end(s)
	})
	<-ending
	all.Go(call)
	<-ctx.told
	w.leave()
	all.Wait()
	return s, err
}

// left counts the listeners that were opened and accept still.
func (i *inside) left() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := 0
	for _, l := range i.open {
		if conn, err := net.Dial("tcp", l.Addr().String()); err == nil {
			_ = conn.Close()
			n++
		}
	}
	return n
}

// TestB30NothingOpensBehindTheEnd: a command that waits while its workspace is
// forgotten or stopped, or the daemon ends, opens no proxy afterwards.
func TestB30NothingOpensBehindTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(*service)
		reason driver.Reason
	}{
		"forgotten": {func(s *service) { s.ForgetWorkspace("demo") }, driver.NotFound},
		"closed":    {func(s *service) { s.Close() }, driver.Canceled},
		"stopped": {func(s *service) {
			s.ended.Store(true)
			s.StopWorkspace("demo")
		}, driver.NotRunning},
	} {
		t.Run(name, func(t *testing.T) {
			for range 50 { // who is first is chance
				s, err := held(t, c.end)
				if err != nil && driver.ReasonOf(err) != c.reason {
					t.Fatalf("the command that waited: %v", err)
				}
				if s.Running() != 0 || s.way.left() != 0 {
					t.Fatalf("%d proxies run, %d listeners are open; the command: %v", s.Running(), s.way.left(), err)
				}
				s.Close()
			}
		})
	}
}

// TestB30ForgottenIsNotWritten: what is forgotten is granted nothing by a call
// that had found it before.
func TestB30ForgottenIsNotWritten(t *testing.T) {
	dir := t.TempDir()
	s := newService(t, dir, config.Egress{})
	w := s.workspace("demo")
	s.ForgetWorkspace("demo")
	s.mu.Lock()
	s.workspaces["demo"] = w // as the call sees it
	s.mu.Unlock()
	if _, err := s.Grant("demo", []string{"*"}); driver.ReasonOf(err) != driver.NotFound {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "egress", "demo.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is written: %v", err)
	}
}

// TestCloseCutsWhatOpens: the end of the daemon does not wait for a sandbox that
// does not answer.
func TestCloseCutsWhatOpens(t *testing.T) {
	s := newService(t, t.TempDir(), config.Egress{})
	entered := make(chan struct{})
	s.options.Listen = func(ctx context.Context, _ string, _ uint16) (net.Listener, error) {
		close(entered)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := s.Environment(context.Background(), "demo", box, config.Egress{Mode: "open"})
		failed <- err
	}()
	<-entered
	s.Close()
	if err := <-failed; !errors.Is(err, errClosing) {
		t.Errorf("%v", err)
	}
}

// TestGoneSandboxEndsItsProxy: on the gateway nothing tells of a sandbox's end,
// so that is asked; a proxy that nobody needs keeps no daemon.
func TestGoneSandboxEndsItsProxy(t *testing.T) {
	gateway := privateAddress(t)
	connected := box
	connected.Network, connected.Gateway = driver.NetworkDefault, gateway
	for name, way := range map[string]error{"on the gateway": driver.Errorf(driver.Unsupported, "no helper"), "inside": nil} {
		t.Run(name, func(t *testing.T) {
			s := newService(t, t.TempDir(), config.Egress{})
			s.way.err = way
			env := s.environment(connected, config.Egress{Mode: "open"})
			if got := s.get(env, "http://good.example/"); got != http.StatusOK || s.Running() != 1 {
				t.Fatalf("while it runs: %d, %d proxies", got, s.Running())
			}
			s.ended.Store(true)
			s.way.cut()
			for deadline := time.Now().Add(guard); s.Running() != 0; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the proxy stays")
				}
			}
			if got := s.get(env, "http://good.example/"); got != 0 {
				t.Errorf("afterwards it answers %d", got)
			}
		})
	}
}
