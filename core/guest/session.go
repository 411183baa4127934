package guest

import (
	"context"
	"time"

	"github.com/sero-labs/sero-runtime/core/guest/frame"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Session is a detached command in a sandbox whose last output is kept there. It
// outlives the connection with the core, and the core.
type Session struct {
	ExecID  string
	Label   string // as it was given; what comes from a sandbox is not trusted
	PID     int64
	Started time.Time
	Ended   bool
}

// Bounds of what a sandbox may answer.
const (
	maxSessions = 256
	maxLabel    = 2 << 10 // bytes of one session's label
)

// ExecKept runs a command as Exec does, but such that it goes on when ctx ends or
// the connection breaks, with its last output kept: Attach goes on with it.
// Without the helper it is an Exec like any other, of which nothing is kept.
func (g *Guest) ExecKept(ctx context.Context, spec driver.ExecSpec, keep Keep, stdio driver.ExecIO) (driver.ExitStatus, error) {
	return g.exec(ctx, spec, &keep, stdio)
}

// Attach goes on with a kept command: what was kept of its output comes first.
// skipped, which may be nil, is called before that with how many bytes came
// before it and are not kept any more. It takes the place of an earlier
// attachment. When ctx ends the command goes on. NotFound when there is no such
// command, Unsupported without the helper; that is Retryable when there may be
// one later.
func (g *Guest) Attach(ctx context.Context, execID string, skipped func(bytes int64), stdio driver.ExecIO) (driver.ExitStatus, error) {
	l, err := g.need(ctx, "keeps commands")
	if err != nil {
		return driver.ExitStatus{}, err
	}
	s, err := l.open(ctx, &frame.Open{Attach: execID})
	if err != nil {
		return driver.ExitStatus{}, errGone(err)
	}
	c := &call{link: l, stream: s, stdio: stdio, detached: true, limit: openLimit, skipped: skipped}
	return c.run(ctx)
}

// Sessions lists the kept commands, none without the helper.
func (g *Guest) Sessions(ctx context.Context) ([]Session, error) {
	l, err := g.helper(ctx)
	if err != nil || l == nil {
		return nil, err
	}
	var list []Session
	err = l.ask(ctx, &frame.Open{Sessions: true}, func(f *frame.Frame) (bool, error) {
		if f.Sessions == nil {
			return true, nil
		}
		for _, s := range f.Sessions.Sessions[:min(len(f.Sessions.Sessions), maxSessions)] {
			list = append(list, Session{
				ExecID: line(s.ExecID, maxExecID), Label: line(s.Label, maxLabel), PID: int64(min(s.PID, 1<<31)),
				Started: time.Unix(0, s.Started), Ended: s.Exit != nil,
			})
		}
		return false, nil // it is all that there is to say
	})
	return list, err
}

// EndSession ends a kept command with all that descends from it. Without the helper
// it does so by what commands have in their environment.
func (g *Guest) EndSession(ctx context.Context, execID string) error {
	l, err := g.helper(ctx)
	if err != nil {
		return err
	}
	if l == nil {
		return g.plain.end(ctx, execID, driver.DefaultKillGrace)
	}
	return l.ask(ctx, &frame.Open{Kill: &frame.Kill{ExecID: execID}}, func(*frame.Frame) (bool, error) { return true, nil })
}
