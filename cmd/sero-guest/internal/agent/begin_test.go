//go:build linux

package agent

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/sero-labs/sero-runtime/core/guest/frame"
)

// TestFWhatIsClaimedNeverBegins: commands begin while a connection is claimed, in any
// order. Of each one, either it has begun, or the claim says that it never does.
// Issue 6, row F.
func TestFWhatIsClaimedNeverBegins(t *testing.T) {
	for round := range 200 {
		a := &agent{}
		b := newBeginnings(fmt.Sprint("connection ", round))
		a.know(b)
		const streams = 8
		var begun, never [streams + 1]bool
		var all sync.WaitGroup
		all.Go(func() { // the core opens streams in order, what they are for is done at once
			for n := range uint64(streams) {
				b.opened(n + 1)
				all.Go(func() { begun[n+1] = b.begin(n + 1) })
			}
		})
		for n := range uint64(streams) {
			all.Go(func() { never[n+1] = a.claim(&frame.Claim{Connection: b.name, Stream: n + 1}) == nil })
		}
		all.Wait()
		for n := 1; n <= streams; n++ {
			if begun[n] == never[n] {
				t.Fatalf("stream %d: it has begun: %t; it never does: %t", n, begun[n], never[n])
			}
		}
	}
}

// Nothing is promised of a connection that is not known, or not any more.
func TestFAnUnknownConnectionIsNotClaimed(t *testing.T) {
	a := &agent{}
	for n := range keptConnections + 1 {
		a.know(newBeginnings(fmt.Sprint(n)))
	}
	for name, want := range map[string]bool{"": false, "other": false, "0": false, "1": true, fmt.Sprint(keptConnections): true} {
		if err := a.claim(&frame.Claim{Connection: name, Stream: 1}); (err == nil) != want {
			t.Errorf("connection %q: %v", name, err)
		}
	}
}

// A command does not begin on a connection whose channel or input is gone, whether
// or not that was noticed; until then it does.
func TestFNothingBeginsWithoutAChannel(t *testing.T) {
	for _, gone := range []string{"nothing", "channel", "input", "connection"} {
		t.Run(gone, func(t *testing.T) {
			channel, other := socketPair(t)
			in, feed := pipe(t)
			_, out := pipe(t)
			c := newConn(&agent{}, channel, in, out)
			c.beginnings.opened(1)
			switch gone {
			case "channel":
				_ = other.Close()
			case "input":
				_ = feed.Close()
			case "connection":
				c.close(errReplaced)
			}
			if err := c.begin(1); (err == nil) != (gone == "nothing") {
				t.Errorf("a command begins: %v", err)
			}
			if never := c.mux.Err() != nil && c.beginnings.never(1); never != (gone != "nothing") {
				t.Errorf("it never begins: %t", never)
			}
		})
	}
}

// A channel shows that it lives for as long as it does.
func TestFAChannelShowsThatItLives(t *testing.T) {
	channel, other := socketPair(t)
	l := newLife(channel)
	var both sync.WaitGroup
	both.Go(l.listen)
	both.Go(func() { echo(other) })
	var asking sync.WaitGroup
	for range 50 {
		asking.Go(func() {
			if err := l.await(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	_ = channel.Close()
	both.Wait()
	if l.await(t.Context()) == nil {
		t.Error("a channel that is gone lives")
	}
}

func socketPair(t *testing.T) (ours, theirs *net.UnixConn) {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if theirs, err = net.DialUnix("unix", nil, listener.Addr().(*net.UnixAddr)); err != nil { //nolint:forcetypeassert // of a Unix listener
		t.Fatal(err)
	}
	if ours, err = listener.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	return ours, theirs
}

func pipe(t *testing.T) (read, write *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = read.Close(), write.Close() })
	return read, write
}
