// Package keeper ends a driver's commands when the driver is killed and cannot
// do it itself. The keeper is a small process of its own, the driver's binary
// started again, that reads a pipe: the driver writes which sessions it has
// started, and when the pipe ends the driver is gone.
package keeper

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sero-labs/sero-runtime/plugins/host/internal/proc"
)

// Keeper is the driver's end. It starts the process with the first command, and
// again should somebody kill it.
type Keeper struct {
	prefix  string // of the markers of all the driver's commands
	environ []string

	mu      sync.Mutex
	process *os.Process // nil: none runs
	pipe    *os.File
	gone    chan struct{} // closed when process is reaped
	leaders map[proc.ID]bool
	untold  map[proc.ID]bool // of leaders, those that process does not know yet
	teller  *time.Timer
	killed  time.Time // when it last ended without being told to
	failed  time.Time // when it last could not be started
	closed  bool
}

// New makes a Keeper for commands whose markers begin with prefix, which is
// made of letters and digits. environ is the keeper process's environment.
func New(prefix string, environ []string) *Keeper {
	k := &Keeper{prefix: prefix, environ: environ, leaders: make(map[proc.ID]bool), untold: make(map[proc.ID]bool)}
	k.teller = time.AfterFunc(time.Hour, k.tell)
	k.teller.Stop()
	return k
}

// restartPause is the least time between two failed attempts to start the
// process.
const restartPause = 5 * time.Second

// Start starts the process, which Add does otherwise.
func (k *Keeper) Start() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.process != nil {
		return nil
	}
	return k.startLocked()
}

// tellAfter is how long the process is not told of a new session. Most commands
// are over by then, and need not wake it. Until then their markers tell of them,
// which only a command that clears its environment loses.
const tellAfter = 50 * time.Millisecond

// Add tells of a session leader that was started.
func (k *Keeper) Add(leader proc.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.leaders[leader] = true
	if k.process != nil {
		if k.untold[leader] = true; len(k.untold) == 1 {
			k.teller.Reset(tellAfter)
		}
	} else if err := k.startLocked(); err != nil {
		slog.Warn("commands will outlive this driver if it is killed", "error", err)
	}
}

// Drop tells that nothing is left of a session.
func (k *Keeper) Drop(leader proc.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.leaders[leader] {
		return
	}
	delete(k.leaders, leader)
	if k.untold[leader] {
		delete(k.untold, leader)
	} else if k.process != nil {
		k.tellLocked(drop, slices.Values([]proc.ID{leader}))
	}
}

// tell tells the process of the leaders that are left of those that it does not
// know.
func (k *Keeper) tell() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.process == nil {
		return // the next one is told of all
	}
	k.tellLocked(add, maps.Keys(k.untold))
	clear(k.untold)
}

// Told tells whether the process knows of every session that there is.
func (k *Keeper) Told() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.process != nil && len(k.untold) == 0
}

// PID is the process's number, 0 when none runs.
func (k *Keeper) PID() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.process == nil {
		return 0
	}
	return k.process.Pid
}

// Close ends the process and waits for that until ctx ends. It is for when
// nothing is left that the process would have to end.
func (k *Keeper) Close(ctx context.Context) error {
	k.mu.Lock()
	k.closed = true
	k.teller.Stop()
	gone := k.gone
	if k.process != nil {
		k.pipe.Close()
	}
	k.mu.Unlock()
	if gone == nil {
		return nil
	}
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// startLocked starts the process and tells it of all leaders.
func (k *Keeper) startLocked() error {
	if k.closed || time.Since(k.failed) < restartPause {
		return nil
	}
	if err := k.spawnLocked(); err != nil {
		k.failed = time.Now()
		return err
	}
	k.tellLocked(add, maps.Keys(k.leaders))
	clear(k.untold)
	return nil
}

func (k *Keeper) spawnLocked() error {
	binary := "/proc/self/exe" // stays right when the file is replaced
	if runtime.GOOS != "linux" {
		var err error
		if binary, err = os.Executable(); err != nil {
			return fmt.Errorf("find own binary: %w", err)
		}
	}
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("open pipe: %w", err)
	}
	defer read.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		write.Close()
		return fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	defer null.Close()
	process, err := os.StartProcess(binary, []string{"sero-host-keeper"}, &os.ProcAttr{
		Dir:   "/",
		Env:   append(slices.Clone(k.environ), prefixEnv+"="+k.prefix),
		Files: []*os.File{null, null, null, read},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		write.Close()
		return fmt.Errorf("start keeper: %w", err)
	}
	k.process, k.pipe, k.gone = process, write, make(chan struct{})
	go k.wait(process, write, k.gone) // ends with the process, which ends with the pipe
	return nil
}

func (k *Keeper) wait(process *os.Process, pipe io.Closer, gone chan struct{}) {
	_, _ = process.Wait() // how it ended makes no difference
	defer close(gone)
	pipe.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.process != process {
		return
	}
	k.process = nil
	if k.closed {
		return
	}
	slog.Warn("the keeper process was killed")
	again := time.Since(k.killed) < restartPause
	k.killed = time.Now()
	if again { // no tight circle of restarts
		k.failed = k.killed
	} else if len(k.leaders) > 0 {
		if err := k.startLocked(); err != nil {
			slog.Warn("commands will outlive this driver if it is killed", "error", err)
		}
	}
}

// The commands on the pipe: a letter, the leader's number and start time.
const (
	add  = '+'
	drop = '-'
)

// tellTimeout bounds a write to a process that does not read.
const tellTimeout = 100 * time.Millisecond

func (k *Keeper) tellLocked(verb rune, leaders iter.Seq[proc.ID]) {
	var text bytes.Buffer
	for leader := range leaders {
		fmt.Fprintf(&text, "%c %d %d\n", verb, leader.PID, leader.Start)
	}
	_ = k.pipe.SetWriteDeadline(time.Now().Add(tellTimeout)) // a pipe can
	if _, err := k.pipe.Write(text.Bytes()); err != nil {
		slog.Warn("the keeper process does not listen", "error", err)
	}
}

func validPrefix(s string) bool {
	return len(s) >= 8 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z')
	})
}
