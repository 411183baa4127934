package daemonclient

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerPID is the process at the other end of a unix socket, 0 if not known.
func peerPID(conn net.Conn) int {
	raw, ok := conn.(*net.UnixConn)
	if !ok {
		return 0
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return 0
	}
	var pid int
	_ = control.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}
