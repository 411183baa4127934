package host

import (
	"log/slog"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// becomeReaper makes this process the parent of what its commands leave behind,
// in place of the system's first process: nothing gets away from below it.
func becomeReaper() bool {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		slog.Warn("processes that leave their session may outlive their command", "error", err)
		return false
	}
	return true
}

// reap waits for a child that has ended.
func reap(pid int) {
	_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
}

// hideDescriptors keeps the files that this process was started with from its
// commands. What Go opens itself is never passed on.
func hideDescriptors() {
	_ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC) // Linux 5.11
}

// pipeSize is larger than the system's 64 KiB: fewer wake-ups for much output.
// The system allows a user 64 MiB of it.
const pipeSize = 256 << 10

func enlargePipe(f *os.File) {
	_ = control(f, func(fd int) error { // not needed, only faster
		_, err := unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, pipeSize)
		return err
	})
}

func kernel() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

const (
	getTermios  = unix.TCGETS
	unreadBytes = unix.TIOCINQ

	pollableTerminals = true
)
