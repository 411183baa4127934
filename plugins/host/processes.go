package host

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sero-labs/sero-runtime/plugins/host/internal/keeper"
	"github.com/sero-labs/sero-runtime/plugins/host/internal/proc"
)

// processes is everything that the driver has started and that is not gone.
type processes struct {
	prefix  string // of all markers
	session int    // the driver's own
	keeper  *keeper.Keeper
	claim   sync.Once // of the operating system's process, by the first command
	reaper  bool      // orphans become children of this process

	// starting is held shared from before a process starts until it is in own,
	// so that nobody takes it for an orphan meanwhile.
	starting sync.RWMutex

	surveying sync.Mutex // one survey at a time
	taken     time.Time  // when the last one began
	last      survey

	mu       sync.Mutex
	closed   bool
	sequence int
	all      map[*execution]bool
	own      map[int]bool // children that somebody waits for
	wake     chan struct{}
	stop     chan struct{}
	sweeper  sync.WaitGroup
}

// execution is one command, or an orphan that belongs to none.
type execution struct {
	tree     *proc.Tree
	sandbox  *sandbox // nil for an orphan
	execID   string
	terminal bool
	running  bool // the command itself; guarded by processes.mu
}

// survey is which living processes belong to whom at one moment.
type survey map[*execution][]proc.Process

func newProcesses(environ []string) *processes {
	prefix := strings.ToLower(rand.Text()[:16])
	session, _ := unix.Getsid(0) // never fails for the caller itself
	return &processes{
		prefix:  prefix,
		session: session,
		keeper:  keeper.New(prefix, environ),
		all:     make(map[*execution]bool),
		own:     make(map[int]bool),
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
	}
}

// start starts a command by spawn, which gets the command's marker.
func (p *processes) start(e *execution, spawn func(marker string) (*os.Process, error)) (*os.Process, error) {
	p.starting.RLock()
	defer p.starting.RUnlock()
	marker, err := p.nextMarker()
	if err != nil {
		return nil, err
	}
	p.claim.Do(p.begin)
	process, err := spawn(marker)
	if err != nil {
		return nil, err
	}
	leader := proc.ID{PID: process.Pid}
	if self, err := proc.Read(process.Pid); err == nil { // works for one that has ended, too
		leader = self.ID
	}
	p.mu.Lock()
	e.tree = proc.NewTree(marker, leader)
	e.running = true
	p.all[e] = true
	p.own[process.Pid] = true
	p.mu.Unlock()
	p.keeper.Add(leader)
	return process, nil
}

func (p *processes) nextMarker() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return "", errClosed()
	}
	p.sequence++
	return p.prefix + "-" + strconv.Itoa(p.sequence), nil
}

// begin prepares this process for having commands.
func (p *processes) begin() {
	hideDescriptors()
	unignoreSignals()
	p.reaper = becomeReaper()
	if err := p.keeper.Start(); err != nil {
		slog.Warn("commands will outlive this driver if it is killed", "error", err)
	}
	p.sweeper.Go(p.sweep)
}

// unignoreSignals undoes what a parent may have done, such as nohup: an ignored
// signal stays ignored in every command, where ^C would have no effect. A
// handled one is back to its default there.
func unignoreSignals() {
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
}

// ended tells that a command was waited for.
func (p *processes) ended(e *execution) {
	p.mu.Lock()
	e.running = false
	delete(p.own, e.tree.Leader.PID)
	p.mu.Unlock()
	p.poke()
}

func (p *processes) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// survey looks at all processes. Concurrent calls share a look that began after
// they were made.
func (p *processes) survey() (survey, error) {
	asked := time.Now()
	p.surveying.Lock()
	defer p.surveying.Unlock()
	if p.taken.After(asked) {
		return p.last, nil
	}
	began := time.Now()
	table, err := proc.Snapshot()
	if err != nil {
		return nil, err
	}
	if p.reaper {
		table = table.Below(os.Getpid()) // nothing of ours is elsewhere
		p.takeOrphans(table)
	}
	p.last, p.taken = p.assign(table), began
	return p.last, nil
}

func (p *processes) assign(table *proc.Table) survey {
	p.mu.Lock()
	defer p.mu.Unlock()
	trees := make([]*proc.Tree, 0, len(p.all))
	owners := make(map[*proc.Tree]*execution, len(p.all))
	for e := range p.all {
		trees = append(trees, e.tree)
		owners[e.tree] = e
	}
	out := make(survey)
	for tree, members := range proc.Assign(table, trees) {
		for _, m := range members {
			if !m.Zombie {
				out[owners[tree]] = append(out[owners[tree]], m)
			}
		}
	}
	return out
}

// takeOrphans waits for the dead among the orphans, and makes sure that each
// living one belongs to somebody, so that it ends with the driver at the latest.
func (p *processes) takeOrphans(table *proc.Table) {
	var orphans []proc.Process
	for _, child := range table.Children(os.Getpid()) {
		// A child in the driver's own session was started by other code in this
		// process, which waits for it.
		if child.Session != p.session && child.PID != p.keeper.PID() {
			orphans = append(orphans, child)
		}
	}
	if len(orphans) == 0 {
		return
	}
	p.starting.Lock() // now own is complete
	defer p.starting.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	orphans = p.notOwnLocked(orphans)
	if len(orphans) == 0 {
		return
	}
	trees := make([]*proc.Tree, 0, len(p.all))
	for e := range p.all {
		trees = append(trees, e.tree)
	}
	assigned := make(map[proc.ID]bool)
	for _, members := range proc.Assign(table, trees) {
		for _, m := range members {
			assigned[m.ID] = true
		}
	}
	for _, orphan := range orphans {
		switch {
		case orphan.Zombie:
			reap(orphan.PID)
		case !assigned[orphan.ID]:
			p.all[&execution{tree: proc.NewTree("", orphan.ID)}] = true
			p.keeper.Add(orphan.ID)
		}
	}
}

func (p *processes) notOwnLocked(children []proc.Process) []proc.Process {
	var out []proc.Process
	for _, child := range children {
		if !p.own[child.PID] {
			out = append(out, child)
		}
	}
	return out
}

// endAll ends what which selects, all at once, those on a terminal by hanging
// up. It returns when nothing of it is left.
func (p *processes) endAll(ctx context.Context, which func(*execution) bool, grace time.Duration) error {
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, terminal := range []bool{false, true} {
		wg.Go(func() {
			errs[i] = p.end(ctx, func(e *execution) bool { return e.terminal == terminal && which(e) },
				proc.Politeness{Hangup: terminal, Grace: grace})
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *processes) end(ctx context.Context, which func(*execution) bool, how proc.Politeness) error {
	return proc.End(ctx, func() ([]proc.Process, error) {
		found, err := p.survey()
		if err != nil {
			return nil, err
		}
		var out []proc.Process
		for e, members := range found {
			if which(e) {
				out = append(out, members...)
			}
		}
		return out, nil
	}, how)
}

// shutdown ends everything and lets nothing start any more.
func (p *processes) shutdown(ctx context.Context, grace time.Duration) error {
	p.starting.Lock() // every start is over or will be refused
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	p.mu.Unlock()
	p.starting.Unlock()
	if err := p.endAll(ctx, func(*execution) bool { return true }, grace); err != nil {
		return err
	}
	if first {
		close(p.stop)
	}
	p.sweeper.Wait()
	return p.keeper.Close(ctx)
}

// poke wakes the sweeper.
func (p *processes) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

const (
	sweepPause = 200 * time.Millisecond // least time between two sweeps
	sweepAgain = 2 * time.Second        // while something is left that nobody tells the end of
)

// sweep forgets commands of which nothing is left and waits for dead orphans,
// some time after a child ended. It costs nothing while no child ends.
func (p *processes) sweep() {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	defer signal.Stop(children)
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-p.wake:
		case <-children:
		case <-again.C:
		}
		select {
		case <-p.stop:
			return
		case <-time.After(sweepPause):
		}
		left, err := p.forget()
		if err != nil {
			slog.Warn("processes cannot be listed", "error", err)
		}
		if left > 0 && !p.reaper { // a reaper is sent SIGCHLD
			again.Reset(sweepAgain)
		}
	}
}

// forget drops the commands of which nothing is left and returns how many have
// ended and left something.
func (p *processes) forget() (left int, err error) {
	p.mu.Lock()
	var over []*execution // before the survey, which may see their last processes
	for e := range p.all {
		if !e.running {
			over = append(over, e)
		}
	}
	p.mu.Unlock()
	if len(over) == 0 && !p.reaper {
		return 0, nil
	}
	found, err := p.survey()
	if err != nil {
		return len(over), err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range over {
		if len(found[e]) > 0 {
			left++
			continue
		}
		delete(p.all, e)
		p.keeper.Drop(e.tree.Leader)
	}
	return left, nil
}
