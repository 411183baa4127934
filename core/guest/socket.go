package guest

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// socketPair gives the two ends of a connection within this process: whoever
// gets one has all that a socket can do, deadlines and half-close included.
func socketPair() (near, far *net.UnixConn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, err
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		unix.CloseOnExec(fd)
		file := os.NewFile(uintptr(fd), "connection")
		c, connErr := net.FileConn(file)
		_ = file.Close() // FileConn has its own
		ends[i], _ = c.(*net.UnixConn)
		err = errors.Join(err, connErr)
	}
	if err != nil {
		for _, end := range ends {
			if end != nil {
				_ = end.Close()
			}
		}
		return nil, nil, err
	}
	return ends[0], ends[1], nil
}
