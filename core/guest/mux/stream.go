package mux

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/sero-labs/sero-runtime/core/guest/frame"
	"github.com/sero-labs/sero-runtime/internal/window"
)

// Stream is one stream of a connection. Next has one caller at a time; the rest
// is safe for concurrent use.
type Stream struct {
	conn   *Conn
	id     uint64
	window *window.Window // for what this end sends

	mu    sync.Mutex
	queue []received
	lent  received // what Next gave last
	data  int      // what is in queue, by cost
	other int      // and the rest, in bytes
	err   error
	ready chan struct{} // has a token when there is something to take
	taken int           // cost that the other end has not been told of
	reset func()        // called when a reset comes, before it is taken; may be nil
}

// received is a frame with the bytes that it keeps parts of.
type received struct {
	*frame.Frame
	body []byte
}

// maxOther bounds what waits in a stream besides data, in bytes.
const maxOther = 1 << 20

func newStream(c *Conn, id uint64) *Stream {
	return &Stream{conn: c, id: id, window: window.New(frame.Window), ready: make(chan struct{}, 1)}
}

func (s *Stream) push(f received) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cost := f.Cost(); cost > 0 {
		s.data += cost
	} else {
		if f.Listeners != nil {
			s.dropListeners() // only the newest set matters
		}
		s.other += len(f.body) + frame.MinCost
	}
	if s.data > frame.Window {
		return fmt.Errorf("stream %d has overrun its window", s.id)
	}
	if s.other > maxOther {
		return fmt.Errorf("stream %d has too much to take", s.id)
	}
	s.queue = append(s.queue, f)
	if f.Reset && s.reset != nil {
		s.reset()
	}
	s.wake()
	return nil
}

// onReset has f called when the other end resets the stream, before that is
// taken. f must not wait.
func (s *Stream) onReset(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reset = f
	if slices.ContainsFunc(s.queue, func(queued received) bool { return queued.Reset }) {
		f()
	}
}

// dropListeners drops a set that was not taken yet. mu must be held.
func (s *Stream) dropListeners() {
	if n := len(s.queue) - 1; n >= 0 && s.queue[n].Listeners != nil {
		s.queue = s.queue[:n]
		s.other = 0 // a stream of listeners has nothing else before its end
	}
}

func (s *Stream) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

func (s *Stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.wake()
	s.window.Release(frame.Window) // who waits for it will find the connection closed
}

// Next gives the next frame, or why the connection was closed, once what came
// before is taken. Who has made use of a frame with data calls Took.
func (s *Stream) Next(ctx context.Context) (*frame.Frame, error) {
	for {
		if f, err := s.pop(); f != nil || err != nil {
			return f, err
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// pop takes the next frame, if there is one.
func (s *Stream) pop() (*frame.Frame, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil, s.err
	}
	f := s.queue[0]
	s.queue[0] = received{}
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.other = 0
	}
	s.data -= f.Cost()
	s.lent = f
	return f.Frame, nil
}

// Took gives back what a frame with data took from the window, in steps of a
// quarter of it: a stream that ends soon needs none. The frame's data is not the
// caller's any more.
func (s *Stream) Took(ctx context.Context, f *frame.Frame) error {
	s.mu.Lock()
	s.taken += f.Cost()
	if s.lent.Frame == f && cap(s.lent.body) == bodySize {
		body := s.lent.body
		s.conn.bodies.Put(&body)
	}
	s.lent = received{}
	n := s.taken
	if n < frame.Window/4 {
		s.mu.Unlock()
		return nil
	}
	s.taken = 0
	s.mu.Unlock()
	return s.conn.Send(ctx, &frame.Frame{Stream: s.id, Window: uint64(n)})
}

// Send sends a frame without data on the stream.
func (s *Stream) Send(ctx context.Context, f *frame.Frame) error {
	f.Stream = s.id
	return s.conn.Send(ctx, f)
}

// Write sends data, in pieces, as the window lets it; with toErr it is that of
// standard error.
func (s *Stream) Write(ctx context.Context, b []byte, toErr bool) error {
	for len(b) > 0 {
		n, err := s.acquire(ctx, min(len(b), frame.MaxData))
		if err != nil {
			return err
		}
		f := &frame.Frame{Stream: s.id}
		if toErr {
			f.ErrorData = b[:n]
		} else {
			f.Data = b[:n]
		}
		if err := s.conn.Send(ctx, f); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// acquire takes what up to want bytes cost, and gives how many may be sent.
func (s *Stream) acquire(ctx context.Context, want int) (int, error) {
	got := 0
	for got < frame.MinCost {
		n, err := s.window.Acquire(ctx, max(want, frame.MinCost)-got)
		if err != nil {
			return 0, err
		}
		got += n
	}
	return min(want, got), nil
}

// Copy sends what r gives until it fails, and returns that error, or why sending
// failed.
func (s *Stream) Copy(ctx context.Context, r io.Reader) (readErr, sendErr error) {
	buf := make([]byte, frame.MaxData)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if sendErr := s.Write(ctx, buf[:n], false); sendErr != nil {
				return nil, sendErr
			}
		}
		if err != nil {
			return err, nil
		}
	}
}

// ID is the stream's number, which grows from one stream of a connection to the next.
func (s *Stream) ID() uint64 { return s.id }

// Forget drops the stream on this side: what still comes is ignored.
func (s *Stream) Forget() { s.conn.forget(s.id) }
