//go:build linux

package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sero-labs/sero-runtime/plugins/host"
)

// idleLimit is how long a host stays without a connection and a command that
// somebody needs.
const idleLimit = time.Minute

// agent is the host process's state.
type agent struct {
	build    string
	instance string
	inside   *host.Inside
	sessions *sessions
	listener *net.UnixListener
	lock     *os.File // open for the life of the process

	mu    sync.Mutex
	conns map[*conn]bool
	idle  *time.Timer
	known []*beginnings // of connections, oldest first; also of those that are over
	over  bool
}

// runHost serves channels until nothing is left to do. It says through file 3
// why it cannot, or by closing it that it does.
func runHost(path string) error {
	ready := os.NewFile(3, "ready")
	unix.CloseOnExec(3)
	a, err := newAgent(path)
	if err != nil || a == nil { // another one serves
		if err != nil {
			fmt.Fprint(ready, err)
		}
		ready.Close()
		return err
	}
	ready.Close()
	return a.serve()
}

// newAgent listens on a socket, or gives nil when another host does.
func newAgent(path string) (*agent, error) {
	lock, err := os.OpenFile(strings.TrimSuffix(path, ".sock")+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { // held while this process lives
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	inside, err := host.NewInside(os.Environ())
	if err != nil {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	a := &agent{
		build:    strings.TrimSuffix(filepath.Base(path), ".sock"),
		instance: rand.Text(),
		inside:   inside,
		listener: listener,
		lock:     lock,
		conns:    map[*conn]bool{},
	}
	a.sessions = newSessions(inside)
	a.idle = time.AfterFunc(idleLimit, a.endIfIdle)
	return a, nil
}

func (a *agent) serve() error {
	for {
		channel, err := a.listener.AcceptUnix()
		if err != nil {
			a.mu.Lock()
			over := a.over
			a.mu.Unlock()
			if over {
				ctx, cancel := context.WithTimeoutCause(context.Background(), 5*time.Second, errSlow)
				defer cancel()
				return a.inside.Shutdown(ctx)
			}
			time.Sleep(10 * time.Millisecond) // too many open files, for one
			continue
		}
		go a.take(channel)
	}
}

// take serves the core behind one channel.
func (a *agent) take(channel *net.UnixConn) {
	defer func() { _ = channel.Close() }()
	in, out, err := receiveFiles(channel)
	if err != nil {
		return
	}
	defer in.Close()
	defer out.Close()
	c := newConn(a, channel, in, out)
	a.know(c.beginnings)
	a.mu.Lock()
	if a.over {
		a.mu.Unlock()
		return
	}
	a.conns[c] = true
	a.mu.Unlock()
	if _, err := channel.Write([]byte{1}); err == nil {
		go func() { // ends with the channel, which ends with this function
			c.channel.listen()
			c.close(errChannel)
		}()
		c.serve()
	}
	a.mu.Lock()
	delete(a.conns, c)
	a.idle.Reset(idleLimit)
	a.mu.Unlock()
}

var (
	errChannel = errors.New("the channel is gone")
	errSlow    = errors.New("commands do not end")
)

// endIfIdle ends the process once nothing is left to do.
func (a *agent) endIfIdle() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.conns) > 0 || a.sessions.needed() {
		a.idle.Reset(idleLimit)
		return
	}
	a.over = true
	_ = a.listener.Close() // and removes the socket
}

// dropOwner closes the older connections of an owner.
func (a *agent) dropOwner(owner string, but *conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.conns {
		if c != but && owner != "" && c.ownedBy() == owner {
			c.close(errReplaced)
		}
	}
}

var errReplaced = errors.New("the core has a newer connection")

// receiveFiles takes the input and output that a channel of the same user
// passes.
func receiveFiles(channel *net.UnixConn) (in, out *os.File, err error) {
	_ = channel.SetDeadline(time.Now().Add(5 * time.Second))
	defer func() { _ = channel.SetDeadline(time.Time{}) }()
	raw, err := channel.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	var peer *unix.Ucred
	if controlErr := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); controlErr != nil || err != nil {
		return nil, nil, errors.Join(controlErr, err)
	}
	if int(peer.Uid) != os.Geteuid() {
		return nil, nil, errors.New("the channel is another user's")
	}
	oob := make([]byte, unix.CmsgSpace(2*4))
	_, n, _, _, err := channel.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return nil, nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, nil, errors.Join(errors.New("no files were passed"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, nil, err
	}
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		syscall.CloseOnExec(fd)
		_ = unix.SetNonblock(fd, true) // what cannot be polled blocks
		files[i] = os.NewFile(uintptr(fd), "channel")
	}
	if len(files) != 2 {
		for _, f := range files {
			f.Close()
		}
		return nil, nil, fmt.Errorf("%d files were passed", len(files))
	}
	return files[0], files[1], nil
}
