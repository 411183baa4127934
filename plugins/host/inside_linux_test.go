package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Each listen and each close is told, of both families; the watch ends with its
// context and leaves nothing open.
func TestInsideListeners(t *testing.T) {
	i, err := NewInside(os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Shutdown(context.WithoutCancel(t.Context())) })
	before := descriptors(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	sets, done := make(chan []driver.Listener, 100), make(chan error, 1)
	go func() {
		done <- i.Listeners(ctx, func(set []driver.Listener) error { sets <- set; return nil })
	}()
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
			if err != nil {
				testutil.Missing(t, "ipv6", err.Error())
			}
			defer l.Close()
			isIt := func(found driver.Listener) bool {
				return net.JoinHostPort(found.Address, fmt.Sprint(found.Port)) == l.Addr().String() && found.PID == int64(os.Getpid())
			}
			// The sockets of the whole machine are seen, and may change, too.
			want := func(what string, listens bool) {
				eventually(t, what, func() bool {
					select {
					case set := <-sets:
						return slices.ContainsFunc(set, isIt) == listens
					case err := <-done:
						t.Fatalf("the watch ended: %v", err)
					default:
					}
					return false
				})
			}
			want("the listen", true)
			l.Close()
			want("the close", false)
		})
	}
	cancel(errors.New("enough"))
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(before, descriptors(t)); diff != "" {
		t.Errorf("left open: %s", diff)
	}
}

// descriptors are the sockets and timers that this process has open.
func descriptors(t *testing.T) (out []string) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err == nil && (strings.HasPrefix(target, "socket:") || strings.Contains(target, "timerfd")) {
			out = append(out, target)
		}
	}
	return out
}
