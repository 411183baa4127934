// Package inherit keeps what a process has from its parent out of the
// processes that outlive that one: open files, ignored and blocked signals, the
// umask and the current directory.
//
// A shell script that holds a lock on descriptor 9, or that was started by nohup,
// must find no trace of itself in a daemon that its commands happen to start.
package inherit

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// restarted is the environment variable of a process that Restart has restarted:
// its process id, which stays the same, and the signals that it ignored.
const restarted = "SERO_RESTARTED"

// umask is that of the daemon, the drivers and the commands of host mode.
const umask = 0o022

// Restart runs this process's program again, in place and with the same
// arguments. The new one has the descriptors 0 to 2 only, every signal at its
// default and none blocked, the umask 022 and the current directory dir, or this
// one if dir is empty. Blocked signals are the reason to go as far: Go passes on to
// its children what it was started with.
//
// In the restarted process it returns nil. Otherwise it returns only an error.
func Restart(dir string) error {
	mark := os.Getenv(restarted)
	_ = os.Unsetenv(restarted)
	pid := strconv.Itoa(os.Getpid())
	if marked, _, _ := strings.Cut(mark, ":"); marked == pid {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if dir != "" {
		if err := os.Chdir(dir); err != nil {
			return err
		}
	}
	var names []string
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(sig) && !leadsSession() {
			names = append(names, strconv.Itoa(int(sig)))
		}
	}
	env := append(os.Environ(), restarted+"="+pid+":"+strings.Join(names, ","))
	CloseOnExec()
	syscall.Umask(umask)
	runtime.LockOSThread() // the mask is a thread's, and the program gets that of the one which calls it
	defer runtime.UnlockOSThread()
	resetSignals()
	if err := unblockSignals(); err != nil {
		return fmt.Errorf("unblock signals: %w", err)
	}
	return fmt.Errorf("restart %s: %w", self, syscall.Exec(self, os.Args, env))
}

// leadsSession reports whether this process is one that was started to outlive a
// terminal. What it ignores is then an accident of its parent's.
func leadsSession() bool {
	id, err := getsid()
	return err == nil && id == os.Getpid()
}

// Ignored reports whether a person wants this process to ignore a signal, as by
// nohup: it is ignored, or was before Restart.
func Ignored(sig syscall.Signal) bool {
	if signal.Ignored(sig) {
		return true
	}
	pid, numbers, _ := strings.Cut(os.Getenv(restarted), ":")
	return pid == strconv.Itoa(os.Getpid()) && slices.Contains(strings.Split(numbers, ","), strconv.Itoa(int(sig)))
}

// ignored are the signals that this process ignores.
type ignored struct {
	mu      sync.Mutex
	users   int
	caught  chan os.Signal
	restore []os.Signal // what Go does not restore by itself
}

var own ignored

// DefaultSignals lets the processes that this one starts have every signal at its
// default until the returned function is called. This process goes on ignoring
// what it ignores.
func DefaultSignals() (done func()) {
	own.mu.Lock()
	defer own.mu.Unlock()
	if own.users++; own.users == 1 {
		own.caught = make(chan os.Signal, 1) // it is never read
		own.restore = nil
		for sig := syscall.Signal(1); sig <= lastSignal; sig++ {
			byGo := signal.Ignored(sig)
			if byGo {
				own.restore = append(own.restore, sig)
			}
			if byGo || isIgnored(sig) {
				signal.Notify(own.caught, sig) // a caught signal is at its default in a child
			}
		}
	}
	return sync.OnceFunc(func() {
		own.mu.Lock()
		defer own.mu.Unlock()
		if own.users--; own.users > 0 {
			return
		}
		signal.Stop(own.caught)
		if len(own.restore) > 0 {
			signal.Ignore(own.restore...)
		}
	})
}

// closeEach marks the open descriptors one by one, where there is no call that
// marks all of them.
func closeEach(list string) {
	const most = 1024 // where the system does not list them
	entries, err := os.ReadDir(list)
	if err != nil {
		for fd := 3; fd < most; fd++ {
			syscall.CloseOnExec(fd)
		}
		return
	}
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}
