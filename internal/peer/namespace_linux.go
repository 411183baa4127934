package peer

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// SameNamespaces is nil if the process at the other end of conn, a unix socket,
// is in the mount and the process namespace of this one. The error wraps
// ErrOtherNamespace or ErrUnknownNamespace. Without /proc there is nothing to
// compare, and it is nil.
func SameNamespaces(conn net.Conn) error {
	own, err := namespacesOf("self")
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	p, err := Of(conn)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnknownNamespace, err)
	}
	if p.PID <= 0 { // the kernel has no number for it here
		return ErrOtherNamespace
	}
	same, release := holdPeer(conn, p.PID)
	defer release()
	theirs, err := namespacesOf(strconv.Itoa(p.PID))
	if errors.Is(err, os.ErrPermission) && p.UID == 0 && os.Getuid() != 0 {
		// Only root may look at root. Root among this process's own could do all that
		// the daemon can.
		err = nil
		theirs = own
		if nested(p.PID) {
			theirs = namespaces{}
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnknownNamespace, err)
	case !same():
		return fmt.Errorf("%w: it has ended", ErrUnknownNamespace)
	case theirs != own:
		return ErrOtherNamespace
	}
	return nil
}

// namespaces are what tells whether two processes see the same.
type namespaces struct{ mount, process string }

func namespacesOf(pid string) (n namespaces, err error) {
	if n.mount, err = os.Readlink("/proc/" + pid + "/ns/mnt"); err != nil {
		return namespaces{}, err
	}
	n.process, err = os.Readlink("/proc/" + pid + "/ns/pid")
	return n, err
}

// nested reports whether a process has a number in a process namespace below this
// one's, or that cannot be read.
func nested(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(text)) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			return len(strings.Fields(numbers)) != 1
		}
	}
	return true
}

// holdPeer gives what says that a process number still is that of the process at
// the other end, and what releases it. From Linux 6.5 the kernel says so; before,
// the time when the process was started does.
func holdPeer(conn net.Conn, pid int) (same func() bool, release func()) {
	if fd, err := pidfdOf(conn); err == nil {
		return func() bool { return alive(fd) }, func() { _ = unix.Close(fd) }
	} else if !errors.Is(err, unix.ENOPROTOOPT) {
		return func() bool { return false }, func() {} // it has ended
	}
	before := startOf(pid)
	return func() bool { return before != "" && startOf(pid) == before }, func() {}
}

// alive reports whether the process of a pidfd was not reaped yet: until then its
// number is no other process's.
func alive(fd int) bool {
	err := unix.PidfdSendSignal(fd, 0, nil, 0)
	return err == nil || errors.Is(err, unix.EPERM)
}

func pidfdOf(conn net.Conn) (fd int, err error) {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("not a unix socket: %T", conn)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	var optErr error
	err = raw.Control(func(s uintptr) { fd, optErr = unix.GetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_PEERPIDFD) })
	return fd, errors.Join(err, optErr)
}

// startOf is when a process was started, in ticks of the machine; empty when that
// cannot be read.
func startOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
	const start = 19 // of the fields after the name
	if fields := strings.Fields(rest); len(fields) > start {
		return fields[start]
	}
	return ""
}
