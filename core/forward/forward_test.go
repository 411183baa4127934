package forward_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sero-labs/sero-runtime/core/forward"
	"github.com/sero-labs/sero-runtime/internal/loopback"
	"github.com/sero-labs/sero-runtime/internal/testutil"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// upper is a server that answers the whole of what it is sent in capitals, once
// the sender has ended.
func upper(t *testing.T) func(context.Context) (net.Conn, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				text, _ := io.ReadAll(c)
				_, _ = io.WriteString(c, strings.ToUpper(string(text)))
			}()
		}
	}()
	return func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}
}

func open(t *testing.T, wanted uint16, dial func(context.Context) (net.Conn, error)) *forward.Forward {
	t.Helper()
	f, err := forward.Open(wanted, dial)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func dial(t *testing.T, ip string, port uint16) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", net.JoinHostPort(ip, strconv.Itoa(int(port))))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestB36BytesAndTheirEndAreCarried(t *testing.T) {
	f := open(t, testutil.FreePort(t), upper(t))
	if f.Conflict() != 0 {
		t.Error(f.Conflict())
	}
	for n := range 200 {
		c := dial(t, []string{"127.0.0.1", "::1"}[n%2], f.Port())
		text := fmt.Sprintf("hello %d %s", n, strings.Repeat("x", 1000*n))
		go func() {
			_, _ = io.WriteString(c, text)
			_ = c.(*net.TCPConn).CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil || string(got) != strings.ToUpper(text) {
			t.Fatal(n, len(got), err)
		}
		_ = c.Close()
	}
}

func TestConflictsAreToldAndTheNextPortIsTaken(t *testing.T) {
	first := open(t, testutil.FreePort(t), upper(t))
	second := open(t, first.Port(), upper(t))
	if second.Port() <= first.Port() || second.Conflict() != first.Port() {
		t.Error(second.Port(), second.Conflict())
	}
	if third := open(t, 80, upper(t)); third.Port() < 8080 {
		t.Error(third.Port())
	}
}

func TestAServerThatIsDown(t *testing.T) {
	f := open(t, testutil.FreePort(t), func(context.Context) (net.Conn, error) { return nil, errors.New("refused") })
	c := dial(t, "127.0.0.1", f.Port())
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("somebody answered")
	}
}

func TestCloseEndsConnectionsAndFreesThePort(t *testing.T) {
	f := open(t, testutil.FreePort(t), upper(t))
	idle := dial(t, "127.0.0.1", f.Port())
	_, _ = io.WriteString(idle, "never ended")
	held := open(t, testutil.FreePort(t), func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, context.Cause(ctx) })
	waiting := dial(t, "127.0.0.1", held.Port())
	f.Close()
	f.Close()
	held.Close()
	for _, c := range []net.Conn{idle, waiting} {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Error("a connection goes on:", err)
		}
	}
	listeners, err := loopback.Listen(f.Port())
	if err != nil {
		t.Error(err)
	}
	for _, l := range listeners {
		_ = l.Close()
	}
	var none *forward.Forward
	none.Close()
	if none.Port() != 0 || none.Conflict() != 0 {
		t.Error("a Forward that is not there has something")
	}
}

// TestA9ForwardsAreBounded opens more connections than a Forward carries: those
// above are closed at once, and there is room again when others end.
func TestA9ForwardsAreBounded(t *testing.T) {
	f := open(t, testutil.FreePort(t), upper(t))
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(f.Port())))
	var held []net.Conn
	closed := 0
	for range 300 {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	for _, c := range held[256:] {
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := c.Read(make([]byte, 1)); err != nil && !os.IsTimeout(err) {
			closed++
		}
	}
	t.Logf("tried %d connections, %d of the last %d were closed", len(held), closed, len(held)-256)
	if closed != len(held)-256 {
		t.Errorf("%d were closed", closed)
	}
	for _, c := range held {
		c.Close()
	}
	for deadline := time.Now().Add(time.Minute); ; {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "again")
		_ = c.(*net.TCPConn).CloseWrite()
		text, _ := io.ReadAll(c)
		c.Close()
		if string(text) == "AGAIN" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("there is no room again")
		}
		time.Sleep(10 * time.Millisecond)
	}
}
