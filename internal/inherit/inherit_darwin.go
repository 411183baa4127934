package inherit

import (
	"os"
	"os/signal"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const lastSignal = 31

// CloseOnExec keeps every open file but 0 to 2 from the processes that this one
// starts. What Go opens itself is never passed on.
func CloseOnExec() { closeEach("/dev/fd") }

// resetSignals makes the default of every signal, as soon as this process becomes
// another program: that of a caught one is.
func resetSignals() {
	caught := make(chan os.Signal, 1)
	for sig := syscall.Signal(1); sig <= lastSignal; sig++ {
		signal.Notify(caught, sig)
	}
}

func isIgnored(sig syscall.Signal) bool { return signal.Ignored(sig) }

func unblockSignals() error {
	const setMask = 3 // SIG_SETMASK
	var none uint32
	_, _, errno := syscall.RawSyscall(syscall.SYS___PTHREAD_SIGMASK, setMask, uintptr(unsafe.Pointer(&none)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func getsid() (int, error) { return unix.Getsid(0) }
