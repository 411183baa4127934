package host

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/plugins/host/internal/proc"
	"github.com/sero-labs/sero-runtime/plugins/host/internal/sockets"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// watch looks for listening sockets, for all who watch one of the sandboxes. It
// looks often while something is going on, seldom otherwise, and not at all
// while nobody watches.
type watch struct {
	processes *processes
	wake      chan struct{}

	mu       sync.Mutex
	watchers map[*watcher]bool
	stop     chan struct{} // closed to end the loop; nil: it does not run
	loops    sync.WaitGroup
}

type watcher struct {
	sandbox *sandbox
	// news holds the newest that was not taken yet.
	news chan news
}

type news struct {
	set []driver.Listener
	err error // there will be none
}

// offer replaces news that were not taken.
func (w *watcher) offer(n news) {
	for {
		select {
		case w.news <- n:
			return
		default:
		}
		select {
		case <-w.news:
		default:
		}
	}
}

func newWatch(p *processes) *watch {
	return &watch{processes: p, wake: make(chan struct{}, 1), watchers: make(map[*watcher]bool)}
}

// Listeners reports the listening TCP sockets of the sandbox's processes.
func (d *Driver) Listeners(ctx context.Context, id string, report func([]driver.Listener) error) error {
	s, err := d.find(id)
	if err != nil {
		return err
	}
	w := &watcher{sandbox: s, news: make(chan news, 1)}
	d.watch.add(w)
	defer d.watch.remove(w)
	var last []driver.Listener
	for first := true; ; {
		select {
		case n := <-w.news:
			if n.err != nil {
				return n.err
			}
			if !first && slices.Equal(n.set, last) {
				continue
			}
			if err := report(n.set); err != nil {
				return err
			}
			first, last = false, n.set
		case <-ctx.Done():
			return ctxError(ctx)
		case <-d.closed:
			return errClosed()
		}
	}
}

func (w *watch) add(watcher *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watchers[watcher] = true
	if w.stop == nil {
		w.stop = make(chan struct{})
		stop := w.stop
		w.loops.Go(func() { w.loop(stop) })
		return
	}
	w.poke()
}

func (w *watch) remove(watcher *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.watchers, watcher)
	if len(w.watchers) == 0 && w.stop != nil {
		close(w.stop)
		w.stop = nil
	}
}

// poke tells that listeners may change soon: a command was started.
func (w *watch) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// shutdown waits for the loop, which ends with the last watcher.
func (w *watch) shutdown() { w.loops.Wait() }

const (
	watchSlow = time.Second     // between looks when nothing changes
	watchBusy = 3 * time.Second // of frequent looks after a change
)

func (w *watch) loop(stop <-chan struct{}) {
	look := &look{processes: w.processes}
	defer look.finder.Close()
	busyUntil := time.Now().Add(watchBusy)
	pause := sockets.MinInterval
	for {
		changed := look.run(w.current())
		if changed {
			busyUntil = time.Now().Add(watchBusy)
		}
		if time.Now().Before(busyUntil) {
			pause = sockets.MinInterval
		} else {
			pause = min(pause*3/2, watchSlow)
		}
		select {
		case <-stop:
			return
		case <-time.After(pause):
		case <-w.wake:
			busyUntil = time.Now().Add(watchBusy)
			select { // not more often, however many commands start
			case <-stop:
				return
			case <-time.After(sockets.MinInterval):
			}
		}
	}
}

func (w *watch) current() []*watcher {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*watcher
	for watcher := range w.watchers {
		out = append(out, watcher)
	}
	return out
}

// look is the state of the loop.
type look struct {
	processes *processes
	finder    sockets.Finder
	served    map[*watcher]bool
	full      time.Time // when it last looked at everything
	last      []sockets.Socket
	failed    bool
}

// run looks once, tells the watchers, and reports whether anything changed.
// Where no socket of the machine has changed it looks at processes only once in
// a while: a socket may go to another of them.
func (l *look) run(watchers []*watcher) bool {
	fresh := slices.ContainsFunc(watchers, func(w *watcher) bool { return !l.served[w] })
	if !fresh && time.Since(l.full) < watchSlow && !l.finder.Changed() {
		return false
	}
	changed, err := l.everything(watchers)
	if err == nil {
		l.failed = false
		return changed
	}
	if !l.failed {
		slog.Warn("listening sockets cannot be listed", "error", err)
	}
	l.failed = true
	for _, w := range watchers {
		if !l.served[w] {
			w.offer(news{err: driver.Errorf(driver.Internal, "listening sockets cannot be listed: %w", err)})
		}
	}
	return false
}

func (l *look) everything(watchers []*watcher) (changed bool, err error) {
	found, err := l.processes.survey(context.Background())
	if err != nil {
		return false, err
	}
	owners, pids := owners(found)
	open, err := l.finder.Find(pids)
	if err != nil {
		return false, err
	}
	l.full = time.Now()
	sets := make(map[*sandbox][]driver.Listener)
	for _, socket := range open {
		e := owners[socket.PID]
		sets[e.sandbox] = append(sets[e.sandbox], driver.Listener{
			Address: socket.Address.String(),
			Port:    socket.Port,
			PID:     int64(socket.PID),
			Command: proc.Command(socket.PID),
			ExecID:  e.execID,
		})
	}
	l.served = make(map[*watcher]bool, len(watchers))
	for _, w := range watchers {
		l.served[w] = true
		w.offer(news{set: sets[w.sandbox]})
	}
	changed = !slices.Equal(open, l.last)
	l.last = open
	return changed, nil
}

// owners are the processes of all sandboxes, the oldest first: of several that
// share a socket it is the one that opened it.
func owners(found survey) (map[int]*execution, []int) {
	owners := make(map[int]*execution)
	var processes []proc.Process
	for e, members := range found {
		if e.sandbox == nil {
			continue
		}
		for _, p := range members {
			owners[p.PID] = e
			processes = append(processes, p)
		}
	}
	slices.SortFunc(processes, func(a, b proc.Process) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.PID, b.PID))
	})
	pids := make([]int, len(processes))
	for i, p := range processes {
		pids[i] = p.PID
	}
	return owners, pids
}
