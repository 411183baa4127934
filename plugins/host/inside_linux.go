package host

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sero-labs/sero-runtime/plugins/host/internal/proc"
	"github.com/sero-labs/sero-runtime/plugins/host/internal/sockets"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Inside runs commands for the guest helper, which is inside a sandbox: there
// everything that runs may be seen and stopped, commands get the sandbox's whole
// environment, and with the rights for it they run as any user.
type Inside struct {
	driver *Driver
	kills  killCounter
}

// insideID is the one sandbox of an Inside.
const insideID = "sero-inside"

// NewInside makes an Inside whose commands inherit environ.
func NewInside(environ []string) (*Inside, error) {
	d := makeDriver(slices.Clone(environ))
	d.users = true
	ctx := context.Background() // nothing in these calls waits
	if _, err := d.Create(ctx, driver.SandboxSpec{ID: insideID, WorkspaceDir: "/"}); err != nil {
		return nil, err
	}
	if _, err := d.Start(ctx, insideID); err != nil {
		return nil, err
	}
	return &Inside{driver: d, kills: findKillCounter()}, nil
}

// Exec runs a command by the rules of driver.ExecIO, and tells whether it was
// killed for memory.
func (i *Inside) Exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	spec.SandboxID = insideID
	before := i.kills.read()
	status, err := i.driver.Exec(ctx, spec, stdio)
	status.OutOfMemory = err == nil && wasKilled(status) && i.kills.read() > before
	return status, err
}

// End ends what is left of a command, also once the command itself has ended:
// SIGTERM, and SIGKILL once grace has passed. It reports whether there was
// anything.
func (i *Inside) End(ctx context.Context, execID string, grace time.Duration) (found bool, err error) {
	err = i.driver.processes.end(ctx, func(e *execution) bool {
		if e.execID != execID || execID == "" {
			return false
		}
		found = true // only what lives is asked about
		return true
	}, proc.Politeness{Grace: grace})
	return found, err
}

// Shutdown ends every command, within ctx's deadline.
func (i *Inside) Shutdown(ctx context.Context) error { return i.driver.Shutdown(ctx) }

const (
	insidePause = 200 * time.Millisecond // between two looks; docs/performance.md has what that costs
	insideAgain = 30 * time.Second       // a socket may have gone to another process meanwhile
)

// Listeners reports the listening TCP sockets of all processes that can be seen,
// at once and after each change, until ctx ends or report fails.
func (i *Inside) Listeners(ctx context.Context, report func([]driver.Listener) error) error {
	var finder sockets.Finder
	defer finder.Close()
	pulse, err := newPulse(ctx, insidePause)
	if err != nil {
		return driver.Errorf(driver.Internal, "listening sockets cannot be watched: %w", err)
	}
	defer pulse.close()
	var last []driver.Listener
	var looked time.Time
	for ctx.Err() == nil {
		if looked.IsZero() || finder.Changed() || time.Since(looked) > insideAgain {
			set, err := i.look(ctx, &finder)
			if err != nil {
				return err
			}
			if looked.IsZero() || !slices.Equal(set, last) {
				if err := report(set); err != nil {
					return err
				}
			}
			last, looked = set, time.Now()
		}
		if err := pulse.wait(); err != nil && ctx.Err() == nil {
			return driver.Errorf(driver.Internal, "listening sockets cannot be watched: %w", err)
		}
	}
	return ctxError(ctx)
}

// look finds all listeners and whose they are.
func (i *Inside) look(ctx context.Context, finder *sockets.Finder) ([]driver.Listener, error) {
	table, err := proc.Snapshot()
	if err != nil {
		return nil, err
	}
	execs, err := i.driver.processes.execs(ctx, table)
	if err != nil {
		return nil, err
	}
	open, err := finder.Find(oldestFirst(table.All()))
	if err != nil {
		return nil, driver.Errorf(driver.Internal, "listening sockets cannot be listed: %w", err)
	}
	set := make([]driver.Listener, 0, len(open))
	for _, socket := range open {
		set = append(set, driver.Listener{
			Address: socket.Address.String(), Port: socket.Port,
			PID: int64(socket.PID), Command: proc.Command(socket.PID), ExecID: execs[socket.PID],
		})
	}
	return set, nil
}

func oldestFirst(processes []proc.Process) []int {
	slices.SortFunc(processes, func(a, b proc.Process) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.PID, b.PID))
	})
	pids := make([]int, len(processes))
	for n, p := range processes {
		pids[n] = p.PID
	}
	return pids
}

// execs tells for each process of a command which one it is.
func (p *processes) execs(ctx context.Context, table *proc.Table) (map[int]string, error) {
	if err := p.takeTurn(ctx); err != nil {
		return nil, err
	}
	defer p.endTurn()
	owners := p.trees()
	out := make(map[int]string)
	for tree, members := range proc.Assign(table, slices.Collect(maps.Keys(owners))) {
		for _, m := range members {
			out[m.PID] = owners[tree].execID
		}
	}
	return out, nil
}

// StopListeners ends the process groups of the processes that listen on a port,
// and says what listened: SIGTERM, and SIGKILL for what is left once grace has
// passed. The system's first process and this one, with their groups, are left
// alone.
func (i *Inside) StopListeners(ctx context.Context, port uint16, grace time.Duration) ([]driver.Listener, error) {
	var finder sockets.Finder
	defer finder.Close()
	set, err := i.look(ctx, &finder)
	if err != nil {
		return nil, err
	}
	set = slices.DeleteFunc(set, func(l driver.Listener) bool { return l.Port != port })
	groups := map[int]bool{}
	for _, l := range set {
		if group, err := unix.Getpgid(int(l.PID)); err == nil && group > 1 && group != unix.Getpgrp() {
			groups[group] = true
		}
	}
	err = proc.End(ctx, func() ([]proc.Process, error) {
		table, err := proc.Snapshot()
		if err != nil {
			return nil, err
		}
		return slices.DeleteFunc(table.All(), func(p proc.Process) bool {
			return !groups[p.Group] || p.Zombie || p.PID <= 1
		}), nil
	}, proc.Politeness{Grace: grace})
	return set, err
}
