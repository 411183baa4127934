package mux

import (
	"context"
	"sync"

	"github.com/sero-labs/sero-runtime/core/guest/frame"
)

// Input is what a stream's data frames hold, as an io.Reader. Push never blocks:
// the stream's window bounds what waits.
type Input struct {
	mu    sync.Mutex
	ready sync.Cond
	queue []pushed
	err   error
}

type pushed struct {
	stream *Stream
	frame  *frame.Frame
	rest   []byte
}

// NewInput makes an empty Input.
func NewInput() *Input {
	i := &Input{}
	i.ready.L = &i.mu
	return i
}

// Push adds a frame's data; once it is read, it is given back to the window.
func (i *Input) Push(s *Stream, f *frame.Frame) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err != nil {
		return
	}
	i.queue = append(i.queue, pushed{s, f, f.Data})
	i.ready.Signal()
}

// Close makes Read return err once what was pushed is read. Only the first call
// counts.
func (i *Input) Close(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.err == nil {
		i.err = err
	}
	i.ready.Broadcast()
}

// Read waits for data or Close.
func (i *Input) Read(b []byte) (int, error) {
	i.mu.Lock()
	for len(i.queue) == 0 && i.err == nil {
		i.ready.Wait()
	}
	if len(i.queue) == 0 {
		i.mu.Unlock()
		return 0, i.err
	}
	first := &i.queue[0]
	n := copy(b, first.rest)
	first.rest = first.rest[n:]
	var done pushed
	if len(first.rest) == 0 {
		done = *first
		i.queue = i.queue[1:]
	}
	i.mu.Unlock()
	if done.stream != nil {
		_ = done.stream.Took(context.Background(), done.frame) // a closed connection is seen elsewhere
	}
	return n, nil
}
