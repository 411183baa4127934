//go:build linux

package agent

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestFSilenceOnASocketIsNoDeath: a core that stands still is silent, and finds its
// connection as it was. On a channel it is for a while, and a core that speaks is
// alive. Issue 6, row F.
func TestFSilenceOnASocketIsNoDeath(t *testing.T) {
	for name, c := range map[string]struct {
		socket, speaks bool
		still          time.Duration
		want           bool
	}{
		"socket, for a day":               {socket: true, still: 24 * time.Hour, want: true},
		"channel, for five minutes":       {still: 5 * time.Minute, want: true},
		"channel, for ever":               {still: 24 * time.Hour, want: false},
		"channel, a word now and then":    {speaks: true, still: 24 * time.Hour, want: true},
		"channel, for the limit and more": {still: lifeLimit + time.Second, want: false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := newConn(nil, &net.UnixConn{}, nil, nil)
				if c.socket {
					conn.socket.Store(&net.UnixConn{})
				}
				over := make(chan struct{})
				ended := make(chan struct{})
				go func() { defer close(over); conn.listenForLife(lifeLimit) }()
				go func() {
					defer close(ended)
					for until := time.Now().Add(c.still); time.Now().Before(until); time.Sleep(lifeLimit / 5) {
						conn.heard.Store(c.speaks)
					}
				}()
				time.Sleep(c.still)
				synctest.Wait()
				if alive := conn.ctx.Err() == nil; alive != c.want {
					t.Errorf("the connection goes on: %t, want %t", alive, c.want)
				}
				conn.end(nil)
				<-over
				<-ended
			})
		})
	}
}
