//go:build linux

package agent

import (
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sero-labs/sero-runtime/core/guest/frame"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// beginnings is which commands of a connection have begun. Once it is closed none
// begins any more, so that what it says of one stays true.
type beginnings struct {
	name string // of the connection

	mu      sync.Mutex
	closed  bool
	last    uint64          // the last stream that the core has opened
	waiting map[uint64]bool // streams with a command that has not begun
}

func newBeginnings(name string) *beginnings {
	return &beginnings{name: name, waiting: map[uint64]bool{}}
}

// opened notes a stream with a command, in the order of the streams.
func (b *beginnings) opened(stream uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.last = stream
		b.waiting[stream] = true
	}
}

// begin reports whether the command of a stream may begin, which it then has.
func (b *beginnings) begin(stream uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || !b.waiting[stream] {
		return false
	}
	delete(b.waiting, stream)
	return true
}

func (b *beginnings) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
}

// never reports whether the command of a stream has not begun, and never will.
func (b *beginnings) never(stream uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed && (stream > b.last || b.waiting[stream])
}

var errNeverBegun = driver.Errorf(driver.Canceled, "the connection was over before the command began")

// begin reports whether the command of a stream may begin: not on a connection
// that is over, nor on one whose channel is gone, though that may not have been
// noticed yet. The command would be ended at once.
func (c *conn) begin(stream uint64) error {
	if hungUp(c.channel.channel) || hungUp(c.in) {
		c.close(errChannel)
	}
	if c.mux.Err() != nil || !c.beginnings.begin(stream) {
		return errNeverBegun
	}
	return nil
}

// hungUp reports whether the other end of a file is closed.
func hungUp(file syscall.Conn) bool {
	raw, err := file.SyscallConn()
	if err != nil {
		return true // it is closed on this side
	}
	over := false
	err = raw.Control(func(fd uintptr) {
		look := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(look, 0)
		over = err == nil && n > 0 && look[0].Revents&(unix.POLLHUP|unix.POLLRDHUP) != 0
	})
	return over || err != nil
}

// keptConnections is of how many connections it is known which commands have begun.
const keptConnections = 256

// know keeps which commands of a connection have begun, also once that is over.
func (a *agent) know(b *beginnings) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known = append(a.known, b)
	if n := len(a.known) - keptConnections; n > 0 {
		a.known = slices.Delete(a.known, 0, n)
	}
}

// claim returns nil if the command of a stream of another connection has not begun
// and never will.
func (a *agent) claim(claim *frame.Claim) error {
	a.mu.Lock()
	i := slices.IndexFunc(a.known, func(b *beginnings) bool { return b.name == claim.Connection })
	var asked *beginnings
	if i >= 0 {
		asked = a.known[i]
	}
	a.mu.Unlock()
	if asked == nil {
		return driver.Errorf(driver.NotFound, "no such connection is known")
	}
	if asked.close(); !asked.never(claim.Stream) {
		return driver.Errorf(driver.AlreadyExists, "the command may have begun")
	}
	return nil
}
