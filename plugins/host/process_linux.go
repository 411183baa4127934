package host

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"syscall"

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

// ending waits for the end of a process without a thread of its own, of which a
// command that runs for long would hold one.
type ending struct{ pidfd int }

// newEnding is that of the process that is to be started with attr.
func newEnding(attr *syscall.SysProcAttr) *ending {
	e := &ending{pidfd: -1} // and stays so before Linux 5.4
	attr.PidFD = &e.pidfd
	return e
}

// wait returns when the process can be waited for at once, or when it is not
// known.
func (e *ending) wait() {
	if e.pidfd < 0 {
		return
	}
	_ = unix.SetNonblock(e.pidfd, true) // else it cannot be polled
	file := os.NewFile(uintptr(e.pidfd), "process")
	defer file.Close()
	conn, err := file.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Read(func(fd uintptr) bool { // fails at once if the descriptor cannot be polled
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PIDFD, int(fd), &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		return err != nil && !errors.Is(err, unix.EINTR) || info.Signo != 0
	})
}
