package mux_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/sero-labs/sero-runtime/core/guest/frame"
	"github.com/sero-labs/sero-runtime/core/guest/mux"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is two ends that are connected with each other; the second one's streams
// are given to serve.
func pair(t *testing.T, serve func(*mux.Stream, *frame.Open)) *mux.Conn {
	t.Helper()
	var near, far *mux.Conn
	toFar, toNear := make(chan []byte, 1024), make(chan []byte, 1024)
	post := func(to chan []byte) func(context.Context, []byte) error {
		return func(_ context.Context, b []byte) error {
			to <- bytes.Clone(b)
			return nil
		}
	}
	near = mux.New(post(toFar), func(*frame.Frame) {}, nil)
	far = mux.New(post(toNear), func(*frame.Frame) {}, func(s *mux.Stream, o *frame.Open) { go serve(s, o) })
	deliver := func(from chan []byte, to *mux.Conn) {
		for b := range from {
			for i := range b { // a byte at a time, as a pipe may
				if err := to.Feed(b[i : i+1]); err != nil && to.Err() == nil { // closed ends take nothing
					t.Error(err)
				}
			}
		}
	}
	var delivered sync.WaitGroup
	delivered.Go(func() { deliver(toFar, far) })
	delivered.Go(func() { deliver(toNear, near) })
	t.Cleanup(func() {
		near.Close(nil)
		far.Close(nil)
		close(toFar)
		close(toNear)
		delivered.Wait()
	})
	return near
}

// A stream that is not taken stops at its window and holds up no other.
func TestASlowStreamHoldsUpNoOther(t *testing.T) {
	release := make(chan struct{})
	const size = 3 * frame.Window
	near := pair(t, func(s *mux.Stream, o *frame.Open) {
		if o.Clock {
			_ = s.Send(context.Background(), &frame.Frame{Clock: 1})
			return
		}
		<-release
		total := 0
		for total < size {
			f, err := s.Next(context.Background())
			if err != nil {
				return
			}
			total += len(f.Data)
			_ = s.Took(context.Background(), f)
		}
		_ = s.Send(context.Background(), &frame.Frame{Exit: &frame.Exit{Code: 5}})
	})
	slow, err := near.Open(t.Context(), &frame.Open{Watch: true})
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { written <- slow.Write(t.Context(), make([]byte, size), false) }()
	quick, err := near.Open(t.Context(), &frame.Open{Clock: true})
	if err != nil {
		t.Fatal(err)
	}
	if f, err := quick.Next(t.Context()); err != nil || f.Clock != 1 {
		t.Fatalf("%+v, %v", f, err)
	}
	select {
	case <-written:
		t.Error("more than the window was sent to one who takes nothing")
	default:
	}
	close(release)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if f, err := slow.Next(t.Context()); err != nil || f.Exit == nil || f.Exit.Code != 5 {
		t.Errorf("%+v, %v", f, err)
	}
}

// Streams that are opened at the same time reach the other end in the order of
// their numbers: it takes none that is lower than one before.
func TestStreamsAreOpenedInOrder(t *testing.T) {
	const many = 300
	var far *mux.Conn
	var feeding sync.Mutex
	var broken error
	near := mux.New(func(_ context.Context, b []byte) error {
		runtime.Gosched() // to whoever opens another one
		feeding.Lock()
		defer feeding.Unlock()
		broken = errors.Join(broken, far.Feed(b))
		return nil
	}, func(*frame.Frame) {}, nil)
	opened := 0
	far = mux.New(func(context.Context, []byte) error { return nil }, func(*frame.Frame) {}, func(*mux.Stream, *frame.Open) { opened++ })
	var opening sync.WaitGroup
	for range many {
		opening.Go(func() {
			if _, err := near.Open(t.Context(), &frame.Open{Watch: true}); err != nil {
				t.Error(err)
			}
		})
	}
	opening.Wait()
	if broken != nil || opened != many {
		t.Errorf("%d of %d streams are open: %v", opened, many, broken)
	}
}

func TestCloseEndsEverybody(t *testing.T) {
	near := pair(t, func(*mux.Stream, *frame.Open) {})
	s, err := near.Open(t.Context(), &frame.Open{Watch: true})
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { written <- s.Write(t.Context(), make([]byte, 2*frame.Window), false) }()
	why := errors.New("why")
	near.Close(why)
	if _, err := s.Next(t.Context()); !errors.Is(err, why) {
		t.Errorf("Next: %v", err)
	}
	if err := <-written; !errors.Is(err, why) {
		t.Errorf("Write: %v", err)
	}
	if _, err := near.Open(t.Context(), &frame.Open{Watch: true}); !errors.Is(err, why) {
		t.Errorf("Open: %v", err)
	}
}

// Whatever a helper sends, the core's end neither panics nor keeps more than
// the windows of its streams.
func FuzzFeed(f *testing.F) {
	f.Add(frame.Append(nil, &frame.Frame{Stream: 1, Data: []byte("x")}))
	f.Add(frame.Append(frame.Append(nil, &frame.Frame{Stream: 1, Window: 1 << 40}), &frame.Frame{Stream: 1, Exit: &frame.Exit{}}))
	f.Add(frame.Append(nil, &frame.Frame{Stream: 1, Listeners: &frame.Listeners{Listeners: make([]frame.Listener, 9)}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := mux.New(func(context.Context, []byte) error { return nil }, func(*frame.Frame) {}, nil)
		s, err := c.Open(t.Context(), &frame.Open{Watch: true})
		if err != nil {
			t.Fatal(err)
		}
		for len(b) > 0 && err == nil {
			n := min(len(b), 7)
			err = c.Feed(b[:n])
			b = b[n:]
		}
		c.Close(io.EOF)
		for err = nil; err == nil; {
			_, err = s.Next(t.Context())
		}
	})
}
