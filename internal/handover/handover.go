// Package handover passes an end of a pipe from a client to the daemon, over a
// socket beside the API, which carries bytes alone. What then goes through the
// pipe costs a fraction of what it costs in frames.
//
// A client connects, sends a name of its choice together with the pipe, and is
// answered with one byte. The pipe then waits a while for a call that names it.
package handover

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	minName, maxName = 16, 64 // bytes
	// giveLimit bounds a handover, on both sides.
	giveLimit = 5 * time.Second
	// takeLimit is how long a pipe waits to be taken.
	takeLimit = 30 * time.Second
	maxPipes  = 256 // that wait
)

// End is which end of a pipe it is.
type End int

// The ends of a pipe.
const (
	ReadEnd End = iota
	WriteEnd
)

// Give hands over an end of a pipe to the daemon that listens at path, and tells
// the name to call it by. The caller still closes its own file.
func Give(ctx context.Context, path string, pipe *os.File) (name string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, giveLimit, errors.New("the daemon takes no pipe"))
	defer cancel()
	dialed, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return "", err
	}
	defer dialed.Close()
	conn, ok := dialed.(*net.UnixConn)
	if !ok {
		return "", errors.New("it is no unix socket")
	}
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	name = rand.Text()
	raw, err := pipe.SyscallConn()
	if err != nil {
		return "", err
	}
	var sendErr error
	err = raw.Control(func(fd uintptr) {
		_, _, sendErr = conn.WriteMsgUnix([]byte(name), unix.UnixRights(int(fd)), nil)
	})
	if err = errors.Join(err, sendErr); err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1))
	}
	return name, err
}

// Receiver takes pipes for the daemon. It is safe for concurrent use.
type Receiver struct {
	listener net.Listener
	tasks    sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]bool
	pipes  map[string]*waiting
}

type waiting struct {
	file  *os.File
	end   End
	timer *time.Timer
}

// NewReceiver takes what comes over a listener, whose connections must be unix
// sockets of clients that are known to be the user's. Close ends it.
func NewReceiver(l net.Listener) *Receiver {
	r := &Receiver{listener: l, conns: map[net.Conn]bool{}, pipes: map[string]*waiting{}}
	r.tasks.Go(r.accept)
	return r
}

// Take gives the end of a pipe that was handed over under a name, nil if there is
// no such end. The caller closes it.
func (r *Receiver) Take(name string, end End) *os.File {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.pipes[name]
	if w == nil || w.end != end {
		return nil
	}
	delete(r.pipes, name)
	w.timer.Stop()
	return w.file
}

// Close closes the listener and every pipe that nobody took.
func (r *Receiver) Close() error {
	r.mu.Lock()
	r.closed = true // nothing is added from here on
	open := slices.Collect(maps.Keys(r.conns))
	left := slices.Collect(maps.Values(r.pipes))
	clear(r.pipes)
	r.mu.Unlock()
	err := r.listener.Close()
	for _, conn := range open {
		_ = conn.Close()
	}
	for _, w := range left {
		w.timer.Stop()
		_ = w.file.Close()
	}
	r.tasks.Wait()
	return err
}

func (r *Receiver) accept() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		if welcome := !r.closed && len(r.conns) < maxPipes; welcome {
			r.conns[conn] = true
			r.tasks.Go(func() { r.serve(conn) }) // ends soon
		} else {
			_ = conn.Close()
		}
		r.mu.Unlock()
	}
}

func (r *Receiver) serve(conn net.Conn) {
	defer func() {
		r.mu.Lock()
		delete(r.conns, conn)
		r.mu.Unlock()
		_ = conn.Close()
	}()
	_ = conn.SetDeadline(time.Now().Add(giveLimit))
	name, pipe, end, err := receive(conn)
	if err != nil {
		return
	}
	if !r.keep(name, pipe, end) {
		_ = pipe.Close()
		return
	}
	_, _ = conn.Write([]byte{1}) // who is gone does not come back for it
}

// keep lets a pipe wait.
func (r *Receiver) keep(name string, pipe *os.File, end End) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || len(r.pipes) >= maxPipes || r.pipes[name] != nil {
		return false
	}
	r.pipes[name] = &waiting{pipe, end, time.AfterFunc(takeLimit, func() {
		if late := r.Take(name, end); late != nil {
			_ = late.Close()
		}
	})}
	return true
}

// receive reads a name and an end of a pipe.
func receive(from net.Conn) (name string, pipe *os.File, end End, err error) {
	conn, ok := from.(*net.UnixConn)
	if !ok {
		return "", nil, 0, errors.New("it is no unix socket")
	}
	text, oob := make([]byte, maxName+1), make([]byte, unix.CmsgSpace(4))
	n, oobn, flags, _, err := conn.ReadMsgUnix(text, oob)
	if err != nil {
		return "", nil, 0, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return "", nil, 0, errors.Join(errors.New("nothing was handed over"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return "", nil, 0, err
	}
	if len(fds) == 1 && flags&(unix.MSG_CTRUNC|unix.MSG_TRUNC) == 0 && n >= minName && n <= maxName {
		if end, ok := pipeEnd(fds[0]); ok && unix.SetNonblock(fds[0], true) == nil {
			return string(text[:n]), os.NewFile(uintptr(fds[0]), "pipe"), end, nil
		}
	}
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
	return "", nil, 0, fmt.Errorf("%d files were handed over", len(fds))
}

// pipeEnd tells which end of a pipe a descriptor is, if it is one.
func pipeEnd(fd int) (end End, ok bool) {
	var stat unix.Stat_t
	if unix.Fstat(fd, &stat) != nil || stat.Mode&unix.S_IFMT != unix.S_IFIFO {
		return 0, false
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	switch {
	case err != nil:
		return 0, false
	case flags&unix.O_ACCMODE == unix.O_RDONLY:
		return ReadEnd, true
	default: // a named pipe that is open both ways would never tell its end
		return WriteEnd, flags&unix.O_ACCMODE == unix.O_WRONLY
	}
}
