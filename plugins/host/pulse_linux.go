package host

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pulse wakes one goroutine at an even pace, for less than a time.Ticker does:
// the kernel's timer wakes the one thread that waits for files anyway, Go's wakes
// several, and the scheduler's monitor with them.
type pulse struct {
	timer *os.File
	raw   syscall.RawConn
	leave func() bool
}

// newPulse begins now, and is over when ctx ends.
func newPulse(ctx context.Context, pace time.Duration) (*pulse, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	timer := os.NewFile(uintptr(fd), "timer")
	every := unix.NsecToTimespec(pace.Nanoseconds())
	raw, err := timer.SyscallConn()
	if err == nil {
		err = unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil)
	}
	if err != nil {
		timer.Close()
		return nil, fmt.Errorf("set a timer: %w", err)
	}
	leave := context.AfterFunc(ctx, func() { timer.Close() }) // which ends a wait
	return &pulse{timer: timer, raw: raw, leave: leave}, nil
}

// wait waits for the next beat, and fails when there is none. Beats that came
// meanwhile count as one.
func (p *pulse) wait() error { return p.raw.Read(takeBeats) }

// takeBeats tells whether there was a beat. It reads without Go's scheduler, as
// this never blocks.
func takeBeats(timer uintptr) bool {
	var beats uint64
	_, _, err := unix.RawSyscall(unix.SYS_READ, timer, uintptr(unsafe.Pointer(&beats)), unsafe.Sizeof(beats))
	return err == 0
}

// close frees what the pulse holds.
func (p *pulse) close() {
	p.leave()
	p.timer.Close()
}
