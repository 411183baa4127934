package daemon

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/sero-labs/sero-runtime/internal/handover"
	"github.com/sero-labs/sero-runtime/internal/ownpath"
	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/internal/peer"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// ErrRunning tells that the daemon of this home and run directory runs already.
var ErrRunning = errors.New("another daemon is running")

// lock takes a lock for this daemon and says so in its file. The file stays when
// the daemon ends: removing it would let two daemons lock two files of one name.
func lock(path string, me paths.Holder) (*flock.Flock, error) {
	l := flock.New(path, flock.SetPermissions(0o600))
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	ok := false
	if err == nil {
		err = ownpath.File(path) // opening a pipe would wait
	}
	if refusal := ownpath.Refusal("the lock", err); refusal != nil {
		return nil, refusal
	}
	if err == nil {
		ok, err = l.TryLock()
	}
	if err != nil {
		return nil, driver.Errorf(driver.PermissionDenied, "the lock %s cannot be taken: %w", path, err).About(path).
			Remedy("make it writable, or set " + paths.HomeVariable + " or " + paths.RunVariable + " to another directory")
	}
	if ok {
		// Where nothing can be written, on a full disk, the daemon is needed too.
		_ = me.Write(path)
		return l, nil
	}
	other := paths.HolderOf(path)
	if other == (paths.Holder{}) || other.Socket == me.Socket && other.Serves(me.Home) {
		return nil, ErrRunning
	}
	return nil, other.Conflict(me.Home)
}

// isThere returns what reports whether a lock's name still leads to the file that is
// locked. What cannot be found out, as while a network is away, is no sign that it
// does not.
func isThere(l *flock.Flock) func() bool {
	locked, err := l.Stat()
	return func() bool {
		if err != nil {
			return true
		}
		now, err := os.Lstat(l.Path())
		return err == nil && os.SameFile(locked, now) || err != nil && !errors.Is(err, fs.ErrNotExist)
	}
}

// removeSockets takes away what a daemon that was killed left. Only the holder of
// the lock may. The registry does the same for drivers' sockets.
func removeSockets(run string) error {
	return errors.Join(os.RemoveAll(paths.Socket(run)), os.RemoveAll(paths.Pipes(run)))
}

// openSockets opens that of the API and that for pipes, which is there first.
func openSockets(run string, judge judge) (*ownListener, *handover.Receiver, error) {
	forPipes, err := listen(paths.Pipes(run), judge)
	if err != nil {
		return nil, nil, err
	}
	pipes := handover.NewReceiver(quietListener{forPipes})
	forCalls, err := listen(paths.Socket(run), judge)
	if err != nil {
		return nil, nil, errors.Join(err, pipes.Close())
	}
	return forCalls, pipes, nil
}

// listen opens a socket. It is private twice: by its mode and directory, and by
// refusing every other user's process.
func listen(path string, judge judge) (*ownListener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, driver.Errorf(driver.Internal, "the socket cannot be opened: %w", err).About(path)
	}
	l.SetUnlinkOnClose(false) // by then another daemon's may have its name
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	file, err := os.Lstat(path)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &ownListener{UnixListener: l, path: path, file: file, judge: judge}, nil
}

// ownListener accepts connections of this user only.
type ownListener struct {
	*net.UnixListener
	path string
	file os.FileInfo // of the socket when it was made

	judge judge
}

// reachable tells whether the socket's name still leads to it.
func (l *ownListener) reachable() bool {
	now, err := os.Lstat(l.path)
	return err == nil && os.SameFile(l.file, now)
}

// Close ends the listener and removes the socket, unless the name is another's.
func (l *ownListener) Close() error {
	if l.reachable() {
		_ = os.Remove(l.path) // who connects from now on finds no daemon, not one that refuses
	}
	return l.UnixListener.Close()
}

// Accept waits for the next connection of this user or root. One that the
// listener's judge refuses is a *refusedConn.
func (l *ownListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if p, err := peer.Of(conn); err != nil || p.UID != os.Getuid() && p.UID != 0 {
			_ = conn.Close()
			continue
		}
		if refusal := l.judge(conn); refusal != nil {
			return &refusedConn{conn, refusal}, nil
		}
		return conn, nil
	}
}
