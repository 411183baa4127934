package window

import (
	"io"
	"sync"
)

// Buffer is the receiving end of a windowed stream: an io.Reader fed by Push,
// which never blocks. It is safe for one reader and concurrent pushers.
type Buffer struct {
	mu       sync.Mutex
	ready    sync.Cond
	data     [][]byte
	held     int // bytes in data
	limit    int
	unacked  int
	ackEvery int
	ack      func(n int)
	err      error // what Read gives once data is empty
}

// NewBuffer makes a Buffer that holds at most size bytes and calls ack with the
// number of bytes read since the last call, in steps that keep the sender's
// window of the same size open. ack is called by the reader.
func NewBuffer(size int, ack func(n int)) *Buffer {
	b := &Buffer{limit: size, ackEvery: size / 4, ack: ack}
	b.ready.L = &b.mu
	return b
}

// Push adds a piece, which the Buffer then owns. It reports false when the
// sender has overrun its window.
func (b *Buffer) Push(p []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil || len(p) == 0 {
		return true
	}
	if b.held+len(p) > b.limit {
		return false
	}
	b.data = append(b.data, p)
	b.held += len(p)
	b.ready.Signal()
	return true
}

// Close makes Read return err once what was pushed is read; io.EOF is the end of
// the stream. Only the first Close counts.
func (b *Buffer) Close(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	b.ready.Broadcast()
}

// Read waits for data or Close.
func (b *Buffer) Read(p []byte) (int, error) {
	n, ack, err := b.take(p)
	if ack > 0 {
		b.ack(ack)
	}
	return n, err
}

func (b *Buffer) take(p []byte) (n, ack int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.data) == 0 && b.err == nil {
		b.ready.Wait()
	}
	for n < len(p) && len(b.data) > 0 {
		k := copy(p[n:], b.data[0])
		n += k
		if b.data[0] = b.data[0][k:]; len(b.data[0]) == 0 {
			b.data = b.data[1:]
		}
	}
	b.held -= n
	b.unacked += n
	if b.unacked >= b.ackEvery {
		ack, b.unacked = b.unacked, 0
	}
	if n == 0 && len(b.data) == 0 {
		return 0, ack, b.err
	}
	return n, ack, nil
}

var _ io.Reader = (*Buffer)(nil)
