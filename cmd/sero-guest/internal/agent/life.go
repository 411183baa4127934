//go:build linux

package agent

import (
	"context"
	"net"
	"sync"
)

// life probes a channel, which echoes each byte for as long as it lives.
type life struct {
	channel *net.UnixConn

	mu       sync.Mutex
	asked    uint64
	answered uint64
	more     chan struct{} // closed and replaced with each answer
}

func newLife(channel *net.UnixConn) *life { return &life{channel: channel, more: make(chan struct{})} }

// listen counts the echoed bytes until the channel is closed.
func (l *life) listen() {
	b := make([]byte, 256)
	for {
		n, err := l.channel.Read(b)
		if err != nil {
			return
		}
		l.mu.Lock()
		l.answered += uint64(n)
		close(l.more)
		l.more = make(chan struct{})
		l.mu.Unlock()
	}
}

// await waits until the channel shows that it lives, after it was asked to.
func (l *life) await(ctx context.Context) error {
	l.mu.Lock()
	l.asked++
	want := l.asked
	l.mu.Unlock()
	if _, err := l.channel.Write([]byte{1}); err != nil { // ends with the connection
		return err
	}
	for {
		l.mu.Lock()
		there, more := l.answered >= want, l.more
		l.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
