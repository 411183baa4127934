package session

import (
	"os"

	"golang.org/x/sys/unix"
)

// pipeSize is as large as the system lets everybody make a pipe.
const pipeSize = 1 << 20

// enlarge makes a pipe larger than the system's 64 KiB: fewer wake-ups for much
// output.
func enlarge(pipe *os.File) {
	raw, err := pipe.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) // not needed, only faster
	})
}
