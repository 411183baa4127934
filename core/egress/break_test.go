package egress

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sero-labs/sero-runtime/core/config"
)

// brittle is a listener that nobody connects to and that breaks after a while.
type brittle struct{ broken <-chan time.Time }

func (b brittle) Accept() (net.Conn, error) {
	<-b.broken
	return nil, net.ErrClosed
}
func (brittle) Close() error   { return nil }
func (brittle) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3128} }

// TestB30ProxyOutlastsBreaks: the way into a sandbox may break as often as it
// likes over the weeks, but not all the time.
func TestB30ProxyOutlastsBreaks(t *testing.T) {
	for _, c := range []struct {
		name     string
		lasts    time.Duration
		runs     time.Duration
		outlasts bool
	}{
		{"now and then", time.Hour, 1000 * time.Hour, true},
		{"all the time", time.Second, time.Hour, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				listened := 0
				s, err := New(Options{StateDir: dir, Resolver: everywhere{}, Listen: func(context.Context, string, uint16) (net.Listener, error) {
					listened++
					return brittle{time.After(c.lasts)}, nil
				}})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				if _, err := s.Environment(t.Context(), "demo", box, config.Egress{Mode: "open"}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(c.runs)
				synctest.Wait()
				if serves := s.Running() == 1; serves != c.outlasts {
					t.Errorf("after %v and %d listeners it serves: %v", c.runs, listened, serves)
				}
			})
		})
	}
}
