// Package window bounds how much of a stream may be on its way to a reader that
// has not taken it yet. The sender acquires before it sends, and the reader's
// acknowledgements release. With it, a frame that must not wait (a signal, a
// new terminal size) never queues behind more than the window.
package window

import (
	"context"
	"sync"
)

// Window is a number of bytes in flight with an upper bound. It is safe for
// concurrent use.
type Window struct {
	mu    sync.Mutex
	free  int
	size  int
	freed chan struct{} // closed and replaced when free grows
}

// New makes a Window of size bytes.
func New(size int) *Window {
	return &Window{free: size, size: size, freed: make(chan struct{})}
}

// Acquire waits until at least one byte may be sent and takes up to want of
// them. It returns how many it took, or ctx's cause.
func (w *Window) Acquire(ctx context.Context, want int) (int, error) {
	for {
		w.mu.Lock()
		if w.free > 0 {
			n := min(want, w.free)
			w.free -= n
			w.mu.Unlock()
			return n, nil
		}
		freed := w.freed
		w.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// Release gives n acknowledged bytes back. More than were taken are ignored, for
// the other end is not trusted to count.
func (w *Window) Release(n int) {
	if n <= 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.free = min(w.size, w.free+min(n, w.size))
	close(w.freed)
	w.freed = make(chan struct{})
}
