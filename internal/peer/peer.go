// Package peer asks the kernel which process is at the other end of a unix
// socket: no secret has to be shared to know it.
package peer

import (
	"errors"
	"fmt"
	"net"
)

// Process is the other end of a connection: who connected, or who listens.
type Process struct {
	PID int
	UID int
}

// Of is the process at the other end of conn, which must be a unix socket.
func Of(conn net.Conn) (Process, error) {
	unix, ok := conn.(*net.UnixConn)
	if !ok {
		return Process{}, fmt.Errorf("not a unix socket: %T", conn)
	}
	raw, err := unix.SyscallConn()
	if err != nil {
		return Process{}, err
	}
	var p Process
	var credErr error
	err = raw.Control(func(fd uintptr) { p, credErr = credentials(int(fd)) })
	return p, errors.Join(err, credErr)
}
