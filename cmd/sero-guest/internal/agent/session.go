//go:build linux

package agent

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/core/guest/frame"
	"github.com/sero-labs/sero-runtime/core/guest/mux"
	"github.com/sero-labs/sero-runtime/plugins/host"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Bounds of what is kept.
const (
	maxKeep  = 16 << 20 // bytes of one command's output
	maxEnded = 64       // commands that ended and nobody asked about
)

// askedWithin is how long somebody may take to ask how a command has ended: a
// machine may be shut in the evening, with no daemon on it that would.
const askedWithin = 24 * time.Hour

// sessions are the detached commands.
type sessions struct {
	inside *host.Inside

	mu  sync.Mutex
	all []*session // oldest first
}

// session is one detached command.
type session struct {
	exec *frame.Exec
	cmd  *command
	end  context.CancelCauseFunc
	done chan struct{} // closed when exit or err is set, and ended

	gate  sync.Mutex // orders output: what is kept, then what comes
	kept  []byte
	wrote uint64 // bytes of output; kept is the last of them
	view  *view

	mu      sync.Mutex
	pid     int64
	started time.Time
	ended   time.Time
	exit    *frame.Exit
	err     error
}

// view is the one stream that a session's output goes to.
type view struct {
	ctx    context.Context // ends with the connection, or when another view takes over
	end    context.CancelCauseFunc
	stream *mux.Stream
	gone   chan error // gets why nothing more comes from it
}

var errTaken = driver.Errorf(driver.Canceled, "another connection has attached")

func newSessions(inside *host.Inside) *sessions { return &sessions{inside: inside} }

// needed tells whether there is a command that runs, or one of which something is
// kept and whose end may still be asked about.
func (a *sessions) needed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.all, func(s *session) bool {
		select {
		case <-s.done:
			return s.exec.Keep > 0 && time.Since(s.ended) < askedWithin
		default:
			return true
		}
	})
}

// start runs a detached command; the stream that asked for it is its first view.
func (a *sessions) start(c *conn, stream *mux.Stream, e *frame.Exec) error {
	if e.Keep > maxKeep {
		return driver.Errorf(driver.InvalidArgument, "at most %d bytes of output are kept", maxKeep)
	}
	if err := c.begin(stream.ID()); err != nil {
		return err
	}
	life, end := context.WithCancelCause(context.Background())
	s := &session{exec: e, cmd: newCommand(), end: end, done: make(chan struct{}), started: time.Now()}
	a.mu.Lock()
	if a.find(e.ExecID) != nil {
		a.mu.Unlock()
		end(nil)
		return driver.Errorf(driver.AlreadyExists, "there is a command %s already", e.ExecID)
	}
	a.all = append(a.all, s)
	a.mu.Unlock()
	v := s.take(c.ctx, stream)
	go func() { // ends with the command
		defer end(nil)
		status, err := a.inside.Exec(life, execSpec(e), s.cmd.io(e, sessionOutput{s, false}, s.hasStarted))
		s.cmd.stdin.Close(io.ErrClosedPipe)
		s.mu.Lock()
		s.ended = time.Now()
		if s.err = err; err == nil {
			s.exit = exitFrame(status)
		}
		s.mu.Unlock()
		close(s.done)
		a.trim()
	}()
	return a.serve(s, v)
}

// find is the command of an id. mu must be held.
func (a *sessions) find(execID string) *session {
	i := slices.IndexFunc(a.all, func(s *session) bool { return s.exec.ExecID == execID })
	if i < 0 {
		return nil
	}
	return a.all[i]
}

func (a *sessions) named(execID string) (*session, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.find(execID); s != nil {
		return s, nil
	}
	return nil, driver.Errorf(driver.NotFound, "there is no command %s", execID)
}

// attach makes a stream a session's view.
func (a *sessions) attach(ctx context.Context, stream *mux.Stream, execID string) error {
	s, err := a.named(execID)
	if err != nil {
		return err
	}
	return a.serve(s, s.take(ctx, stream))
}

// serve passes on what a view sends, until it leaves or the command ends.
func (a *sessions) serve(s *session, v *view) error {
	defer s.leave(v)
	select {
	case err := <-v.gone:
		if errors.Is(err, errReset) {
			return v.stream.Send(v.ctx, &frame.Frame{Exit: &frame.Exit{}})
		}
		return err
	case <-s.done:
	}
	s.gate.Lock() // the last output is out
	s.mu.Lock()
	exit, err := s.exit, s.err
	s.mu.Unlock()
	if err == nil {
		err = v.stream.Send(v.ctx, &frame.Frame{Exit: exit})
	}
	s.gate.Unlock()
	if v.ctx.Err() == nil {
		a.forget(s)
	}
	return err
}

func (a *sessions) forget(s *session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = slices.DeleteFunc(a.all, func(other *session) bool { return other == s })
}

// trim forgets the oldest of the commands that have ended, where they are many,
// and those that keep nothing.
func (a *sessions) trim() {
	a.mu.Lock()
	defer a.mu.Unlock()
	var ended []*session
	for _, s := range a.all {
		select {
		case <-s.done:
			ended = append(ended, s)
		default:
		}
	}
	for i, s := range ended {
		s.gate.Lock()
		watched := s.view != nil
		s.gate.Unlock()
		if !watched && (s.exec.Keep == 0 || i < len(ended)-maxEnded) {
			a.all = slices.DeleteFunc(a.all, func(other *session) bool { return other == s })
		}
	}
}

// kill ends a command and all that descends from it, also what it left behind when
// it ended by itself.
func (a *sessions) kill(ctx context.Context, execID string) error {
	s, unknown := a.named(execID)
	grace := driver.DefaultKillGrace
	if unknown == nil {
		grace = time.Duration(s.exec.KillGraceMS) * time.Millisecond
		s.end(driver.Errorf(driver.Canceled, "the command was ended"))
		select {
		case <-s.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		a.forget(s)
	}
	found, err := a.inside.End(ctx, execID, grace)
	if err == nil && !found {
		return unknown
	}
	return err
}

func (a *sessions) list() *frame.Sessions {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := &frame.Sessions{}
	for _, s := range a.all {
		if s.exec.Keep == 0 || len(out.Sessions) == frame.MaxItems {
			continue
		}
		s.mu.Lock()
		out.Sessions = append(out.Sessions, frame.Session{
			ExecID: s.exec.ExecID, Label: s.exec.Label, PID: uint64(s.pid), Started: s.started.UnixNano(), Exit: s.exit,
		})
		s.mu.Unlock()
	}
	return out
}

// take makes a stream the view: what was kept goes there first, then what comes.
func (s *session) take(ctx context.Context, stream *mux.Stream) *view {
	v := &view{stream: stream, gone: make(chan error, 1)}
	v.ctx, v.end = context.WithCancelCause(ctx)
	go func() { // ends with v.ctx; the core may leave before it has all that was kept
		err := s.cmd.obey(v.ctx, stream)
		v.gone <- err
		v.end(err)
	}()
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.view != nil {
		s.view.end(errTaken)
	}
	s.view = v
	s.mu.Lock()
	pid := s.pid
	s.mu.Unlock()
	if pid != 0 {
		_ = stream.Send(v.ctx, &frame.Frame{Started: &frame.Started{PID: uint64(pid), Skipped: s.wrote - uint64(len(s.kept))}})
		_ = stream.Write(v.ctx, s.kept, false) // a view that is gone is found out soon
	}
	return v
}

func (s *session) leave(v *view) {
	v.end(errReset)
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.view == v {
		s.view = nil
	}
}

func (s *session) hasStarted(pid int64) {
	s.mu.Lock()
	s.pid = pid
	s.mu.Unlock()
	s.gate.Lock()
	defer s.gate.Unlock()
	if v := s.view; v != nil {
		_ = v.stream.Send(v.ctx, &frame.Frame{Started: &frame.Started{PID: uint64(pid)}})
	}
}

// sessionOutput keeps the last of the output and shows it to the view. It never
// fails: the command is not to notice that nobody looks.
type sessionOutput struct {
	session *session
	toErr   bool
}

// Write keeps and shows b.
func (o sessionOutput) Write(b []byte) (int, error) {
	s := o.session
	s.gate.Lock()
	defer s.gate.Unlock()
	s.wrote += uint64(len(b))
	if keep := int(s.exec.Keep); keep > 0 {
		if s.kept = append(s.kept, b...); len(s.kept) > 2*keep {
			s.kept = append([]byte(nil), s.kept[len(s.kept)-keep:]...)
		}
	}
	if v := s.view; v != nil && v.stream.Write(v.ctx, b, o.toErr) != nil {
		s.view = nil
	}
	return len(b), nil
}

func (o sessionOutput) stderr() io.Writer { return sessionOutput{o.session, true} }
