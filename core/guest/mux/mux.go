// Package mux carries streams of frames over one connection, for both of its
// ends: the core's and the guest helper's. Each stream and direction has a
// window, so that a slow one holds up no other.
package mux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/sero-labs/sero-runtime/core/guest/frame"
)

// ErrClosed is the error of what is done on a connection after Close(nil).
var ErrClosed = errors.New("the connection is closed")

// maxStreams bounds the streams that are open at the same time.
const maxStreams = 4096

// Conn is one end of a connection. What arrives is given to Feed, by one
// goroutine; what is sent leaves through the function given to New.
type Conn struct {
	send    func(ctx context.Context, b []byte) error
	control func(*frame.Frame)                // gets the frames of stream 0
	opened  func(s *Stream, open *frame.Open) // nil: the other end may open none
	head    []byte                            // of the frame that is being read: its length
	body    []byte                            // and what has come of the rest
	buffers sync.Pool                         // of *[]byte, for what is sent
	bodies  sync.Pool                         // of *[]byte, for what is received
	opening chan struct{}                     // held while a stream is opened: the other end takes them in order

	mu      sync.Mutex
	streams map[uint64]*Stream
	last    uint64
	done    chan struct{}
	err     error
}

// New makes an end that sends with send, which keeps nothing of what it is given
// and is called concurrently. control gets the frames of the connection itself.
// opened, called by Feed, gets each stream that the other end opens.
func New(send func(ctx context.Context, b []byte) error, control func(*frame.Frame), opened func(*Stream, *frame.Open)) *Conn {
	return &Conn{
		send: send, control: control, opened: opened,
		head: make([]byte, 0, 4), opening: make(chan struct{}, 1), streams: map[uint64]*Stream{}, done: make(chan struct{}),
	}
}

// Done is closed when the connection is.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err is why the connection was closed, nil before.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends all streams with err. Only the first call counts.
func (c *Conn) Close(err error) {
	if err == nil {
		err = ErrClosed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.done)
	for id, s := range c.streams {
		delete(c.streams, id)
		s.fail(err)
	}
}

// Send sends one frame.
func (c *Conn) Send(ctx context.Context, f *frame.Frame) error {
	if err := c.Err(); err != nil {
		return err
	}
	buf, _ := c.buffers.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	*buf = frame.Append((*buf)[:0], f)
	err := c.send(ctx, *buf)
	if cap(*buf) <= 2*frame.MaxData {
		c.buffers.Put(buf)
	}
	return err
}

// Open opens a stream.
func (c *Conn) Open(ctx context.Context, open *frame.Open) (*Stream, error) {
	select {
	case c.opening <- struct{}{}:
		defer func() { <-c.opening }()
	case <-c.done:
		return nil, c.Err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	c.mu.Lock()
	switch {
	case c.err != nil:
		c.mu.Unlock()
		return nil, c.err
	case len(c.streams) >= maxStreams:
		c.mu.Unlock()
		return nil, fmt.Errorf("%d streams are open", maxStreams)
	}
	c.last++
	s := newStream(c, c.last)
	c.streams[s.id] = s
	c.mu.Unlock()
	if err := c.Send(ctx, &frame.Frame{Stream: s.id, Open: open}); err != nil {
		s.Forget()
		return nil, err
	}
	return s, nil
}

// Feed takes bytes as they arrive. An error is a breach of the protocol, after
// which the connection is to be closed.
func (c *Conn) Feed(b []byte) error {
	for len(b) > 0 {
		if len(c.head) < cap(c.head) {
			n := min(cap(c.head)-len(c.head), len(b))
			c.head, b = append(c.head, b[:n]...), b[n:]
			if len(c.head) < cap(c.head) {
				return nil
			}
			if n := c.size(); n > frame.MaxFrame {
				return fmt.Errorf("a frame of %d bytes is longer than %d", n, frame.MaxFrame)
			}
		}
		size := c.size()
		if c.body == nil {
			c.body = c.newBody(size)
		}
		n := min(size-len(c.body), len(b))
		c.body, b = append(c.body, b[:n]...), b[n:]
		if len(c.body) < size {
			return nil
		}
		f, err := frame.Decode(c.body) // which keeps it
		if err != nil {
			return err
		}
		body := c.body
		c.head, c.body = c.head[:0], nil
		if err := c.take(f, body); err != nil {
			return err
		}
	}
	return nil
}

// size is the length of the frame that is being read.
func (c *Conn) size() int { return int(binary.BigEndian.Uint32(c.head)) }

// Bodies of data frames are used again, once their data was taken.
const (
	bodySize = frame.MaxData + 1024
	reused   = 4 << 10 // from this size on
)

// newBody makes room for a frame; what is only announced takes none.
func (c *Conn) newBody(size int) []byte {
	if size < reused || size > bodySize {
		return make([]byte, 0, min(size, bodySize))
	}
	if old, ok := c.bodies.Get().(*[]byte); ok {
		return (*old)[:0]
	}
	return make([]byte, 0, bodySize)
}

func (c *Conn) take(f *frame.Frame, body []byte) error {
	if len(f.Data) > frame.MaxData || len(f.ErrorData) > frame.MaxData {
		return fmt.Errorf("a frame has more than %d bytes of data", frame.MaxData)
	}
	if f.Stream == 0 {
		c.control(f)
		return nil
	}
	if f.Open != nil {
		return c.accept(f)
	}
	c.mu.Lock()
	s := c.streams[f.Stream]
	c.mu.Unlock()
	if s == nil {
		return nil // it was closed on this side
	}
	if f.Window > 0 {
		s.window.Release(int(min(f.Window, frame.Window)))
		return nil
	}
	return s.push(received{f, body})
}

// accept takes a stream that the other end opens.
func (c *Conn) accept(f *frame.Frame) error {
	if c.opened == nil {
		return errors.New("a stream was opened by the wrong side")
	}
	c.mu.Lock()
	switch {
	case c.err != nil:
		c.mu.Unlock()
		return c.err
	case f.Stream <= c.last:
		c.mu.Unlock()
		return fmt.Errorf("stream %d was opened again", f.Stream)
	case len(c.streams) >= maxStreams:
		c.mu.Unlock()
		return fmt.Errorf("more than %d streams were opened", maxStreams)
	}
	c.last = f.Stream
	s := newStream(c, f.Stream)
	c.streams[s.id] = s
	c.mu.Unlock()
	c.opened(s, f.Open)
	return nil
}

func (c *Conn) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, id)
}
