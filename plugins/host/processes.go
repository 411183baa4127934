package host

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
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

	turn  chan struct{} // holds one: the survey that is made; the trees are its, too
	taken time.Time     // when the last one began; whose turn it is may say
	last  survey

	mu       sync.Mutex
	starts   map[*starting]bool // from before a process starts until it is in own
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

// starting is a command that is being started.
type starting struct {
	over chan struct{} // closed when that is over
	slow bool          // it took longer than anybody waits for it; guarded by processes.mu
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
		turn:    make(chan struct{}, 1),
		starts:  make(map[*starting]bool),
		all:     make(map[*execution]bool),
		own:     make(map[int]bool),
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
	}
}

// start starts a command by spawn, which gets the command's marker. It may take as
// long as a file system does that holds the program.
func (p *processes) start(e *execution, spawn func(marker string) (*os.Process, error)) (*os.Process, error) {
	marker, starts, err := p.begins()
	if err != nil {
		return nil, err
	}
	defer p.hasBegun(starts)
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

// begins notes that a command is being started, and makes its marker.
func (p *processes) begins() (marker string, s *starting, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return "", nil, errClosed()
	}
	p.sequence++
	s = &starting{over: make(chan struct{})}
	p.starts[s] = true
	return p.prefix + "-" + strconv.Itoa(p.sequence), s, nil
}

func (p *processes) hasBegun(s *starting) {
	p.mu.Lock()
	delete(p.starts, s)
	p.mu.Unlock()
	close(s.over)
}

// awaitStarts waits until every start that is under way is over, the keeper's too,
// and reports whether that was so before ctx ended. One that took too long once is
// not waited for again.
func (p *processes) awaitStarts(ctx context.Context) bool {
	p.mu.Lock()
	starts := slices.Collect(maps.Keys(p.starts))
	stuck := slices.ContainsFunc(starts, func(s *starting) bool { return s.slow })
	p.mu.Unlock()
	if stuck {
		return false
	}
	for _, s := range starts {
		select {
		case <-s.over:
		case <-ctx.Done():
			p.mu.Lock()
			s.slow = s.slow || errors.Is(context.Cause(ctx), errSlowStart)
			p.mu.Unlock()
			return false
		}
	}
	spawning := p.keeper.Spawning()
	if spawning == nil {
		return true
	}
	select {
	case <-spawning:
		return true
	case <-ctx.Done():
		return false
	}
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
func (p *processes) survey(ctx context.Context) (survey, error) {
	asked := time.Now()
	if err := p.takeTurn(ctx); err != nil {
		return nil, err
	}
	defer p.endTurn()
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
		p.takeOrphans(ctx, table)
		if ctx.Err() != nil { // the look is not whole
			return nil, ctxError(ctx)
		}
	}
	p.last, p.taken = p.assign(table), began
	return p.last, nil
}

func (p *processes) takeTurn(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctxError(ctx)
	}
}

func (p *processes) endTurn() { <-p.turn }

// trees are those of all commands. Whose turn it is may look into them.
func (p *processes) trees() map[*proc.Tree]*execution {
	p.mu.Lock()
	defer p.mu.Unlock()
	owners := make(map[*proc.Tree]*execution, len(p.all))
	for e := range p.all {
		owners[e.tree] = e
	}
	return owners
}

func (p *processes) assign(table *proc.Table) survey {
	owners := p.trees()
	out := make(survey)
	for tree, members := range proc.Assign(table, slices.Collect(maps.Keys(owners))) {
		for _, m := range members {
			if !m.Zombie {
				out[owners[tree]] = append(out[owners[tree]], m)
			}
		}
	}
	return out
}

// takeOrphans waits for the dead among the orphans, and makes sure that each
// living one belongs to somebody, so that it ends with the driver at the latest. While
// a start hangs none is judged: that of its command looks the same.
func (p *processes) takeOrphans(ctx context.Context, table *proc.Table) {
	if orphans := p.orphans(ctx, table); len(orphans) > 0 {
		p.judge(table, orphans)
	}
}

// startPatience is how long a survey waits for commands that are being started.
const startPatience = 2 * time.Second

var errSlowStart = errors.New("a command takes long to start")

// orphans are the children in the table that nobody waits for.
func (p *processes) orphans(ctx context.Context, table *proc.Table) []proc.Process {
	var orphans []proc.Process
	for _, child := range table.Children(os.Getpid()) {
		// A child in the driver's own session was started by other code in this
		// process, which waits for it.
		if child.Session != p.session && child.PID != p.keeper.PID() {
			orphans = append(orphans, child)
		}
	}
	if orphans = p.notOwn(orphans); len(orphans) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startPatience, errSlowStart)
	defer cancel()
	if !p.awaitStarts(ctx) {
		return nil
	}
	return p.notOwn(orphans) // now own is complete for what the table has
}

// judge waits for those of the orphans that are dead, and makes the others known.
func (p *processes) judge(table *proc.Table, orphans []proc.Process) {
	assigned := make(map[proc.ID]bool)
	for _, members := range proc.Assign(table, slices.Collect(maps.Keys(p.trees()))) {
		for _, m := range members {
			assigned[m.ID] = true
		}
	}
	for _, orphan := range orphans {
		switch {
		case orphan.Zombie:
			reap(orphan.PID)
		case !assigned[orphan.ID]:
			p.mu.Lock()
			p.all[&execution{tree: proc.NewTree("", orphan.ID)}] = true
			p.mu.Unlock()
			p.keeper.Add(orphan.ID)
		}
	}
}

// notOwn are those of the children that were not started as commands.
func (p *processes) notOwn(children []proc.Process) []proc.Process {
	p.mu.Lock()
	defer p.mu.Unlock()
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
		found, err := p.survey(ctx)
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
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	p.mu.Unlock()
	p.awaitStarts(ctx) // every other one is refused
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
	found, err := p.survey(context.Background()) // it takes no longer than a look, and startPatience
	if err != nil {
		return len(over), err
	}
	ended := len(over)
	over = slices.DeleteFunc(over, func(e *execution) bool { return len(found[e]) > 0 })
	left = ended - len(over)
	p.mu.Lock()
	for _, e := range over {
		delete(p.all, e)
	}
	p.mu.Unlock()
	for _, e := range over {
		p.keeper.Drop(e.tree.Leader)
	}
	return left, nil
}
