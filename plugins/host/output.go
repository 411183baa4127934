package host

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// linger is how long an output stays with its caller once the command has ended
// and what it wrote is delivered: what it left behind may have something to add.
const linger = 100 * time.Millisecond

// reopenPause is the time between two looks at a terminal that nobody has open.
const reopenPause = 20 * time.Millisecond

// terminalBacklog is more than a terminal holds between writer and reader; how
// much it does hold cannot be asked.
const terminalBacklog = 128 << 10

// output carries one stream of a command to its caller, and to nowhere when the
// caller has all that is due or is gone: a process that still writes must not
// die of it. It owns its file.
type output struct {
	file     *os.File
	terminal bool
	ended    chan struct{} // closed when the command was waited for
	lost     func(error)   // called once, when the caller's writer fails

	gate      chan struct{} // held around each write
	writer    io.Writer     // nil: nowhere; guarded by gate
	muted     atomic.Bool   // nothing more is to be written
	delivered chan struct{} // closed when the caller has all that is due
	deliver   sync.Once
	active    atomic.Int64 // when it last read something, in Unix nanoseconds
}

func newOutput(file *os.File, writer io.Writer, terminal bool, lost func(error)) *output {
	return &output{
		file: file, writer: writer, terminal: terminal, lost: lost,
		ended:     make(chan struct{}),
		gate:      make(chan struct{}, 1),
		delivered: make(chan struct{}),
	}
}

var buffers = sync.Pool{New: func() any { return new([driver.MaxFrame]byte) }}

// run reads until end of file.
func (o *output) run() {
	defer o.file.Close()
	defer o.done()
	buf, _ := buffers.Get().(*[driver.MaxFrame]byte)
	defer buffers.Put(buf)
	for o.copy(buf[:], -1) { // to the end of file, or until the command has ended
		if !o.terminal {
			return
		}
		// Everybody has closed the terminal, as some programs do before they
		// exit, or before they open it again. To close it here, too, would hang
		// up on them.
		select {
		case <-o.ended:
		case <-time.After(reopenPause):
			continue
		}
		break
	}
	o.drain(buf[:])
	o.done()
	o.mute(0)
	_ = o.file.SetReadDeadline(time.Time{})
	o.copy(buf[:], -1)
}

// drain delivers what the command itself has written, which is all in the file
// by now, and what comes within the linger.
func (o *output) drain(buf []byte) {
	if o.terminal {
		for backlog := terminalBacklog; backlog > 0; {
			_ = o.file.SetReadDeadline(time.Now().Add(linger))
			n, ok := o.read(buf)
			if !ok {
				return
			}
			backlog -= n
		}
		return
	}
	_ = o.file.SetReadDeadline(time.Time{})
	if o.copy(buf, o.unread()) {
		return
	}
	_ = o.file.SetReadDeadline(time.Now().Add(linger))
	o.copy(buf, -1)
}

// copy reads limit bytes or more, without one for a negative limit, and tells
// whether the end of the file was reached. It stops at the deadline.
func (o *output) copy(buf []byte, limit int) (end bool) {
	for limit != 0 {
		n, err := o.readOnce(buf)
		if limit > 0 {
			limit = max(0, limit-n)
		}
		if err != nil {
			return !errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
	return false
}

func (o *output) read(buf []byte) (int, bool) {
	n, err := o.readOnce(buf)
	return n, err == nil
}

func (o *output) readOnce(buf []byte) (int, error) {
	n, err := o.file.Read(buf)
	if n > 0 {
		o.active.Store(time.Now().UnixNano())
		o.write(buf[:n])
	}
	return n, err
}

func (o *output) write(p []byte) {
	o.gate <- struct{}{}
	defer func() { <-o.gate }()
	if o.writer == nil || o.muted.Load() {
		return
	}
	if _, err := o.writer.Write(p); err != nil {
		o.writer = nil
		o.lost(err)
	}
	o.active.Store(time.Now().UnixNano())
}

// mute lets no write begin any more. It waits up to patience for one that is
// under way.
func (o *output) mute(patience time.Duration) {
	o.muted.Store(true)
	select {
	case o.gate <- struct{}{}:
		<-o.gate
	case <-time.After(patience): // the caller blocks its own writer
	}
}

// commandEnded tells that the command was waited for.
func (o *output) commandEnded() {
	close(o.ended)
	if err := o.file.SetReadDeadline(time.Now()); err == nil || errors.Is(err, os.ErrClosed) {
		return
	}
	// A file that blocks, as a terminal on macOS does: it ends with its
	// session's leader, but for one that was stolen.
	for o.active.Store(time.Now().UnixNano()); ; {
		select {
		case <-o.delivered:
			return
		case <-time.After(linger):
		}
		idle := time.Since(time.Unix(0, o.active.Load()))
		if idle > 2*linger && len(o.gate) == 0 {
			o.mute(0)
			o.done()
			return
		}
	}
}

func (o *output) done() { o.deliver.Do(func() { close(o.delivered) }) }

// unread is how many bytes wait in the pipe.
func (o *output) unread() (n int) {
	_ = control(o.file, func(fd int) (err error) { // fails when the file is closed
		n, err = unix.IoctlGetInt(fd, unreadBytes)
		return err
	})
	return n
}

// control runs f with a file's descriptor and leaves the file's mode alone.
func control(file *os.File, f func(fd int) error) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := conn.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}
