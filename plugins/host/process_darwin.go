package host

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// becomeReaper is not possible on macOS.
func becomeReaper() bool { return false }

func reap(int) {}

// hideDescriptors keeps the files that this process was started with from its
// commands. What Go opens itself is never passed on.
func hideDescriptors() {
	const most = 256 // what a parent passes on has low numbers
	for fd := 3; fd < most; fd++ {
		unix.CloseOnExec(fd)
	}
}

// enlargePipe does nothing: macOS sizes pipes by itself.
func enlargePipe(*os.File) {}

func kernel() string {
	release, err := unix.Sysctl("kern.osrelease")
	if err != nil {
		return ""
	}
	return release
}

const (
	getTermios  = unix.TIOCGETA
	unreadBytes = 0x4004667f // FIONREAD of sys/filio.h

	// macOS cannot wait for a terminal's master as for other files.
	pollableTerminals = false
)

// ending is nothing on macOS: waiting for a process takes a thread.
type ending struct{}

func newEnding(*syscall.SysProcAttr) *ending { return nil }

func (*ending) wait() {}
