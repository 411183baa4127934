package inherit

import (
	"math"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const lastSignal = 64

// CloseOnExec keeps every open file but 0 to 2 from the processes that this one
// starts. What Go opens itself is never passed on.
func CloseOnExec() {
	if unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC) != nil { // before Linux 5.11
		closeEach("/proc/self/fd")
	}
}

// action is the kernel's, of which the handler is first; zero is the default.
type action [4]uint64

// resetSignals makes the default of every signal, the handlers of Go's runtime
// among them: what follows is another program.
func resetSignals() {
	for sig := 1; sig <= lastSignal; sig++ {
		_ = setAction(sig, &action{}, nil) // SIGKILL and SIGSTOP have no other
	}
}

func isIgnored(sig syscall.Signal) bool {
	const ignore = 1 // SIG_IGN
	var a action
	return setAction(int(sig), nil, &a) == nil && a[0] == ignore
}

func setAction(sig int, to, from *action) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(to)), uintptr(unsafe.Pointer(from)), 8, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func unblockSignals() error { return unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil) }

func getsid() (int, error) { return unix.Getsid(0) }
