package fake

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// chunk is how much one write to a pipe holds, as a real pipe would.
const chunk = 32 << 10

// quiet is how long a finished command's output may be held open by what it
// left behind before the reader stops waiting.
const quiet = 100 * time.Millisecond

// errClosedPipe is what a write gets once nobody reads.
var errClosedPipe = errors.New("broken pipe")

// pipe is a command's output on its way to the caller. It holds one chunk, so a
// slow caller slows the command down.
type pipe struct {
	chunks chan []byte
	closed chan struct{} // nobody reads any more

	mu        sync.Mutex
	holders   int
	released  chan struct{} // closed when the last holder is gone
	closeOnce sync.Once
}

func newPipe() *pipe {
	return &pipe{chunks: make(chan []byte, 1), closed: make(chan struct{}), released: make(chan struct{})}
}

func (p *pipe) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holders++
}

func (p *pipe) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.holders--; p.holders == 0 {
		close(p.released)
	}
}

func (p *pipe) close() { p.closeOnce.Do(func() { close(p.closed) }) }

// write sends b, or stops when ctx ends (a killed process) or nobody reads.
func (p *pipe) write(ctx context.Context, b []byte) (int, error) {
	sent := 0
	for sent < len(b) {
		piece := append([]byte(nil), b[sent:min(len(b), sent+chunk)]...)
		select {
		case p.chunks <- piece:
			sent += len(piece)
		case <-ctx.Done():
			return sent, context.Cause(ctx)
		case <-p.closed:
			return sent, errClosedPipe
		}
	}
	return sent, nil
}

// pump copies to w until every holder is gone, or ended is closed and nothing
// has come for a moment. It returns w's error.
func (p *pipe) pump(w io.Writer, ended <-chan struct{}) error {
	defer p.close()
	if w == nil {
		w = io.Discard
	}
	idle := time.NewTicker(quiet)
	defer idle.Stop()
	fresh, over := true, false
	for {
		select {
		case b := <-p.chunks:
			fresh = true
			if _, err := w.Write(b); err != nil {
				return err
			}
		case <-p.released:
			return p.rest(w)
		case <-idle.C:
			if over && !fresh {
				return p.rest(w)
			}
			select {
			case <-ended:
				over = true // a whole quiet period must follow
			default:
			}
			fresh = false
		}
	}
}

func (p *pipe) rest(w io.Writer) error {
	for {
		select {
		case b := <-p.chunks:
			if _, err := w.Write(b); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// input is a command's standard input. Bytes are taken from the caller only when
// the command asks for them.
type input struct {
	chunks chan []byte
	over   chan struct{} // closed by end
	once   sync.Once
	mu     sync.Mutex // one reader at a time
	rest   []byte
	eof    bool
}

func newInput() *input { return &input{chunks: make(chan []byte), over: make(chan struct{})} }

// end tells the command that there is no more.
func (in *input) end() { in.once.Do(func() { close(in.over) }) }

// feed copies from r until it ends or done is closed. Its error is the loss of
// the caller, which is no end of input.
func (in *input) feed(r io.Reader, done <-chan struct{}, each func([]byte) []byte) error {
	if r == nil {
		in.end()
		return nil
	}
	buf := make([]byte, chunk)
	for {
		n, err := r.Read(buf)
		if b := each(append([]byte(nil), buf[:n]...)); len(b) > 0 {
			select {
			case in.chunks <- b:
			case <-done:
				return nil
			}
		}
		if errors.Is(err, io.EOF) {
			in.end()
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// read waits for input; ctx is the reading process, stop its next signal.
func (in *input) read(ctx context.Context, stop <-chan struct{}, p []byte) (int, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.rest) == 0 && !in.eof {
		select {
		case in.rest = <-in.chunks:
		case <-in.over:
			in.eof = true
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-stop:
			return 0, errInterrupted
		}
	}
	if len(in.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, in.rest)
	in.rest = in.rest[n:]
	return n, nil
}
