package fake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// process is one entry of a sandbox's process table: a goroutine that looks at
// its signals wherever it waits.
type process struct {
	pid  int64
	exec *execution
	line string // its command line

	ctx  context.Context // ends with the process's death
	die  context.CancelCauseFunc
	dead chan struct{} // closed when it has left the table

	mu          sync.Mutex
	group       int64
	traps       map[string]string // what to run; empty: ignore the signal
	pending     []string          // trapped signals to run the script of
	interrupted chan struct{}     // closed by the next trapped signal
	fatal       string            // the signal that killed it
	listener    *driver.Listener
}

// errKilled is why a process's context ends.
var errKilled = errors.New("killed")

// spawn adds a process to the table and runs it.
func (sb *sandbox) spawn(x *execution, parent *process, line string, run func(*process) driver.ExitStatus) *process {
	ctx, die := context.WithCancelCause(context.Background())
	p := &process{
		exec: x, line: line, ctx: ctx, die: die,
		dead: make(chan struct{}), interrupted: make(chan struct{}), traps: map[string]string{},
	}
	if parent != nil {
		parent.mu.Lock()
		p.group = parent.group
		for name, script := range parent.traps {
			if script == "" {
				p.traps[name] = "" // ignored signals stay ignored
			}
		}
		parent.mu.Unlock()
	}
	sb.mu.Lock()
	sb.lastPID++
	p.pid = 1 + sb.lastPID // 1 is the sandbox's main process
	if parent == nil {
		p.group = p.pid
	}
	sb.procs[p.pid] = p
	sb.mu.Unlock()
	x.out.hold()
	x.errs.hold()
	sb.finished.Go(func() {
		status := run(p)
		sb.mu.Lock()
		delete(sb.procs, p.pid)
		sb.mu.Unlock()
		p.mu.Lock()
		p.listener = nil
		if p.fatal != "" {
			status = driver.ExitStatus{Signal: p.fatal}
		}
		p.mu.Unlock()
		x.left(p, status)
		die(errKilled)
		close(p.dead)
		x.out.release()
		x.errs.release()
		sb.d.changed.notify()
	})
	return p
}

// harmless signals have no effect on a process without a trap for them.
var harmless = []string{"SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH"}

// signal delivers one signal.
func (p *process) signal(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	script, trapped := p.traps[name]
	switch {
	case name == "SIGKILL" || (!trapped && !slices.Contains(harmless, name)):
		if p.fatal == "" {
			p.fatal = name
		}
		p.die(errKilled)
	case trapped && script != "":
		p.pending = append(p.pending, script)
		close(p.interrupted)
		p.interrupted = make(chan struct{})
	}
}

// interrupt is closed at the next trapped signal; closed already if there is one
// to handle.
func (p *process) interrupt() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pending) > 0 {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	return p.interrupted
}

func (p *process) takePending() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	due := p.pending
	p.pending = nil
	return due
}

// table lists the living processes that pass the filter, by pid.
func (sb *sandbox) table(keep func(*process) bool) []*process {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	var out []*process
	for _, p := range sb.procs {
		if keep == nil || keep(p) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *process) int { return cmp.Compare(a.pid, b.pid) })
	return out
}

func (sb *sandbox) process(pid int64) (*process, bool) {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	p, ok := sb.procs[pid]
	return p, ok
}

// signalGroup sends a signal to every process of a group.
func (sb *sandbox) signalGroup(group int64, name string) {
	for _, p := range sb.table(nil) {
		if p.groupNow() == group {
			p.signal(name)
		}
	}
}

// terminate asks processes to end, and kills what is left after grace. It
// returns when none is left.
func (sb *sandbox) terminate(polite string, grace time.Duration, which func(*process) bool) {
	ended := func(wait <-chan time.Time) bool {
		for _, p := range sb.table(which) {
			select {
			case <-p.dead:
			case <-wait:
				return false
			}
		}
		return true
	}
	if grace > 0 {
		for _, p := range sb.table(which) {
			p.signal(polite)
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		if ended(timer.C) {
			return
		}
	}
	for len(sb.table(which)) > 0 { // one may just be starting another
		for _, p := range sb.table(which) {
			p.signal("SIGKILL")
		}
		ended(nil)
	}
}

// end ends every process of the sandbox.
func (sb *sandbox) end(grace time.Duration) {
	sb.terminate("SIGTERM", grace, nil)
}

// listen takes a port for a process: of one address, or of all.
func (sb *sandbox) listen(p *process, address string, port uint16) error {
	sb.listening.Lock()
	defer sb.listening.Unlock()
	inUse := slices.ContainsFunc(sb.listeners(), func(l driver.Listener) bool {
		return l.Port == port && (l.Address == address || isWildcard(l.Address) || isWildcard(address))
	})
	if inUse || sb.d.neighbours(sb, port) {
		return fmt.Errorf("port %d is in use", port)
	}
	p.mu.Lock()
	p.listener = &driver.Listener{Address: address, Port: port, PID: p.pid, Command: p.line, ExecID: p.exec.spec.ExecID}
	p.mu.Unlock()
	sb.d.changed.notify()
	return nil
}

func isWildcard(address string) bool { return address == "0.0.0.0" || address == "::" }

// listeners lists what listens, ordered by port and address.
func (sb *sandbox) listeners() []driver.Listener {
	out := []driver.Listener{}
	for _, p := range sb.table(nil) {
		p.mu.Lock()
		if p.listener != nil {
			out = append(out, *p.listener)
		}
		p.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b driver.Listener) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Address, b.Address))
	})
	return out
}

func (p *process) groupNow() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.group
}
