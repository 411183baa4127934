package guest

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// outbox is what is to be sent to a helper: frames go in, the driver reads them
// out as the standard input of a command. It is bounded.
type outbox struct {
	mu    sync.Mutex
	data  []byte // what was sent after rest
	rest  []byte // of what is being read
	spare []byte // its array
	err   error
	ready chan struct{} // has a token when there is something to read
	room  chan struct{} // closed and replaced when there is room again
}

const (
	outboxSize = 1 << 20
	// outboxWait is how long there may be no room in it. A helper, or a driver on the
	// way to it, that stands still for minutes finds its commands as they were;
	// callers have limits of their own.
	outboxWait = 15 * time.Minute
)

var errStuck = errors.New("the guest helper takes nothing any more")

func newOutbox() *outbox {
	return &outbox{ready: make(chan struct{}, 1), room: make(chan struct{})}
}

// send adds b, once there is room.
func (o *outbox) send(ctx context.Context, b []byte) error {
	var late <-chan time.Time
	for {
		o.mu.Lock()
		if o.err != nil {
			o.mu.Unlock()
			return o.err
		}
		if waiting := len(o.data) + len(o.rest); waiting == 0 || waiting+len(b) <= outboxSize {
			o.data = append(o.data, b...)
			o.wake()
			o.mu.Unlock()
			return nil
		}
		room := o.room
		o.mu.Unlock()
		if late == nil {
			timer := time.NewTimer(outboxWait)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-room:
		case <-late:
			return errStuck
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// wake is called with mu held.
func (o *outbox) wake() {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// close lets Read return io.EOF once all is read, and send fail with err.
func (o *outbox) close(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
		close(o.room)
		o.wake()
	}
}

// Read waits for something to send.
func (o *outbox) Read(p []byte) (int, error) {
	for {
		o.mu.Lock()
		if len(o.rest) == 0 {
			o.rest, o.data, o.spare = o.data, o.spare[:0], o.data
		}
		n := copy(p, o.rest)
		o.rest = o.rest[n:]
		over := o.err != nil
		if n > 0 && !over {
			close(o.room)
			o.room = make(chan struct{})
		}
		if len(o.rest)+len(o.data) > 0 || over {
			o.wake()
		}
		o.mu.Unlock()
		switch {
		case n > 0:
			return n, nil
		case over:
			return 0, io.EOF
		}
		<-o.ready
	}
}
