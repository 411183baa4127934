// Package keeper ends a driver's commands when the driver is killed and cannot
// do it itself. The keeper is a small process of its own, the driver's binary
// started again, that reads a pipe: the driver writes which sessions it has
// started, and when the pipe ends the driver is gone.
package keeper

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/plugins/host/internal/proc"
)

// Keeper is the driver's end. It starts the process with the first command, and
// again should somebody kill it. What is asked of it is noted at once; a
// goroutine of its own, from the first command until Close, does what may wait.
type Keeper struct {
	prefix  string // of the markers of all the driver's commands
	environ []string
	stop    chan struct{} // closed by Close
	over    chan struct{} // closed when the goroutine has ended
	wake    chan struct{} // there is something new
	starts  chan chan error

	mu      sync.Mutex
	served  bool // there is, or was, the goroutine
	closed  bool
	pid     int // of the process; 0: none runs
	leaders map[proc.ID]told
	dropped []proc.ID     // those that the process knows, and of which nothing is left
	spawned chan struct{} // closed when the start that is under way is over; nil: none is
}

// told is whether the process knows of a session.
type told int

const (
	no  told = iota
	now      // it is being told
	yes
)

// New makes a Keeper for commands whose markers begin with prefix, which is
// made of letters and digits. environ is the keeper process's environment.
func New(prefix string, environ []string) *Keeper {
	return &Keeper{
		prefix: prefix, environ: environ,
		stop: make(chan struct{}), over: make(chan struct{}), wake: make(chan struct{}, 1), starts: make(chan chan error),
		leaders: make(map[proc.ID]told),
	}
}

// restartPause is the least time between two failed attempts to start the
// process.
const restartPause = 5 * time.Second

// serveLocked makes sure that the goroutine is there, unless the Keeper is closed.
func (k *Keeper) serveLocked() {
	if !k.served && !k.closed {
		k.served = true
		go k.serve() // ends with Close
	}
}

// Start starts the process, which Add does otherwise.
func (k *Keeper) Start() error {
	k.mu.Lock()
	k.serveLocked()
	k.mu.Unlock()
	answer := make(chan error, 1)
	select {
	case k.starts <- answer:
		return <-answer
	case <-k.stop:
		return nil
	}
}

// tellAfter is how long the process is not told of a new session. Most commands
// are over by then, and need not wake it. Until then their markers tell of them,
// which only a command that clears its environment loses.
const tellAfter = 50 * time.Millisecond

// Add tells of a session leader that was started.
func (k *Keeper) Add(leader proc.ID) {
	k.mu.Lock()
	k.leaders[leader] = no
	k.serveLocked()
	k.mu.Unlock()
	k.poke()
}

// Drop tells that nothing is left of a session.
func (k *Keeper) Drop(leader proc.ID) {
	k.mu.Lock()
	is, there := k.leaders[leader]
	known := there && is != no
	delete(k.leaders, leader)
	if known {
		k.dropped = append(k.dropped, leader)
	}
	k.mu.Unlock()
	if known {
		k.poke()
	}
}

func (k *Keeper) poke() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Told tells whether the process knows of every session that there is.
func (k *Keeper) Told() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, is := range k.leaders {
		if is != yes {
			return false
		}
	}
	return k.pid != 0
}

// PID is the process's number, 0 when none runs.
func (k *Keeper) PID() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.pid
}

// Spawning is closed when the start of the process that is under way is over; nil
// when none is.
func (k *Keeper) Spawning() <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.spawned
}

// Close ends the process and waits for that until ctx ends. It is for when
// nothing is left that the process would have to end.
func (k *Keeper) Close(ctx context.Context) error {
	k.mu.Lock()
	served, first := k.served, !k.closed
	k.closed = true
	k.mu.Unlock()
	if first {
		close(k.stop)
	}
	if !served {
		return nil
	}
	select {
	case <-k.over:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func validPrefix(s string) bool {
	return len(s) >= 8 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z')
	})
}
