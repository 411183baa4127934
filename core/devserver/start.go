package devserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// run is one run of a server's command. It is guarded by the Supervisor's mu
// but for end and done.
type run struct {
	execID   string
	end      context.CancelCauseFunc
	done     chan struct{} // closed when the command has ended
	logStart int64
	out      output

	detached  bool        // in a container: it outlives the core
	takenUp   bool        // an earlier core began it
	signals   chan string // to its process group; nil: not possible
	before    []uint16    // ports that were open when it began
	started   bool
	ended     bool
	endedAt   time.Time
	code      int    // when it ended by itself
	err       error  // when it could not be run, or was lost
	outcome   string // one line
	stopping  bool   // Stop has taken over
	settled   bool   // nothing of it is left that listens
	cleared   bool   // nothing of it is left at all; guarded by the server's turn
	firstSeen time.Time
	answers   bool // the last probe connected
	refusals  int  // probes in a row that were refused
	extras    map[uint16]*extra
}

// StartResult is what Start found or did.
type StartResult struct {
	Server         Server
	Workspace      workspace.Workspace
	AlreadyRunning bool // the same command ran already
}

// Start runs a command as a dev server and waits until it listens, has failed,
// or wait is over (0: DefaultWait); then it is answered as starting and goes
// on. A server that failed is answered with its last lines, not an error. The
// same command in the same directory, scope and card is not started twice, and
// concurrent calls for it join. When ctx ends, the server goes on.
//
// Errors: InvalidArgument for a bad spec, PortInUse when the port is taken,
// Unsupported without a port where the driver cannot find it, CommandNotFound,
// and those of workspace.Manager.Up and of the driver.
func (s *Supervisor) Start(ctx context.Context, spec Spec, wait time.Duration, progress func(driver.Progress)) (StartResult, error) {
	here := spec.Dir == ""
	if err := spec.check(); err != nil {
		return StartResult{}, err
	}
	ws, err := s.runner.Up(ctx, workspace.UpOptions{Ref: spec.Workspace, Driver: spec.Driver}, progress)
	if err != nil {
		return StartResult{}, err
	}
	switch found, err := spec.configured(ctx, s.runner, ws.ID); {
	case err != nil:
		return StartResult{}, err
	case here && !found: // an entry of sero.json says where it runs, wherever it is started from
		spec.Dir = s.runner.Below(spec.Workspace)
	}
	s.meet(ctx, ws)
	if ws.Choice.HostMode && spec.Port == 0 && !slices.Contains(ws.Capabilities, driver.CapNetListeners) {
		return StartResult{}, driver.Lacks(ws.Choice.Actual, driver.CapNetListeners).
			Remedy("say which port the server will listen on")
	}
	v, joined, err := s.claim(ctx, ws, &spec)
	if err != nil {
		return StartResult{}, err
	}
	if !joined {
		err := s.launch(ctx, v, ws)
		<-v.turn
		if err != nil {
			return StartResult{}, err
		}
	}
	server, err := s.await(ctx, v, wait)
	return StartResult{Server: server, Workspace: ws, AlreadyRunning: joined}, err
}

// claim finds the server that a spec asks for and tells whether to join it, or
// makes an entry whose turn the caller then has.
func (s *Supervisor) claim(ctx context.Context, ws workspace.Workspace, spec *Spec) (v *server, joined bool, err error) {
	for {
		s.mu.Lock()
		if s.life.Err() != nil {
			s.mu.Unlock()
			return nil, false, errClosing
		}
		i := slices.IndexFunc(s.servers, func(v *server) bool { return v.workspaceID == ws.ID && (v.same(spec) || v.isFound(spec)) })
		if i < 0 {
			v := s.add(ws, spec)
			s.mu.Unlock()
			return v, false, nil
		}
		v := s.servers[i]
		if v.found != nil || len(v.command) == 0 {
			v.adopt(spec)
		}
		if stopping := v.run != nil && v.run.stopping; !stopping && (v.status == StatusStarting || v.live()) {
			s.mu.Unlock()
			return v, true, nil
		}
		s.mu.Unlock()
		select { // it is down: whoever has its turn may be stopping or starting it
		case v.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, false, driver.AsError(context.Cause(ctx))
		}
		s.mu.Lock()
		if !v.removed && !v.live() && v.status != StatusStarting {
			v.env, v.caller, v.driver, v.hearsay = spec.Env, spec.Caller, spec.Driver, false
			if spec.Port != 0 {
				v.requested = spec.Port
			}
			v.failure, v.found = nil, nil
			s.set(v, StatusStarting, "")
			s.mu.Unlock()
			return v, false, nil
		}
		s.mu.Unlock()
		<-v.turn
	}
}

// add makes an entry that is starting, with its turn taken. It takes over the name
// of one that does not run, whose record ends. mu must be held.
func (s *Supervisor) add(ws workspace.Workspace, spec *Spec) *server {
	name := cmp.Or(spec.Name, guessName(spec.Command))
	if i := slices.IndexFunc(s.servers, func(v *server) bool {
		isFree := len(v.turn) == 0 // it is not being stopped, restarted or removed
		return v.workspaceID == ws.ID && v.name == name && v.isKnown() && !v.live() && v.status != StatusStarting && isFree
	}); i >= 0 {
		s.drop(s.servers[i], "its name is given to another command")
	}
	v := s.entry(ws, spec, name)
	v.turn <- struct{}{}
	s.set(v, StatusStarting, "")
	return v
}

// entry adds a server to the registry, under a name that is free. mu must be
// held.
func (s *Supervisor) entry(ws workspace.Workspace, spec *Spec, name string) *server {
	name = uniqueName(name, func(n string) bool {
		return slices.ContainsFunc(s.servers, func(v *server) bool { return v.workspaceID == ws.ID && v.name == n })
	})
	v := &server{
		uid: s.uniqueUID(spec.uid), workspaceID: ws.ID, scope: cmp.Or(spec.Scope, DefaultScope), card: cmp.Or(spec.CardID, DefaultCardID), name: name,
		command: slices.Clone(spec.Command), dir: cmp.Or(spec.Dir, "."), requested: spec.Port, env: slices.Clone(spec.Env), caller: slices.Clone(spec.Caller), driver: spec.Driver,
		turn: make(chan struct{}, 1), changed: make(chan struct{}), place: ws,
	}
	s.servers = append(s.servers, v)
	return v
}

// launch runs a server's command. The caller has its turn, and the server is
// starting; when launch fails it is not any more.
func (s *Supervisor) launch(ctx context.Context, v *server, ws workspace.Workspace) error {
	err := s.checkHearsay(v, ws)
	if err == nil {
		err = s.checkPort(ctx, v, ws)
	}
	if err != nil {
		s.mu.Lock()
		s.neverRan(v, err)
		s.mu.Unlock()
		return err
	}
	var before []driver.Listener
	if !ws.Choice.HostMode {
		before, _ = s.listeners(ctx, v.workspaceID) // where the driver cannot tell, nothing is found either
	}
	runContext, end := context.WithCancelCause(s.life)
	r := &run{
		execID: execID(v, s.born, s.runs.Add(1)),
		end:    end, done: make(chan struct{}), logStart: v.log.position(), out: output{log: &v.log}, before: portsOf(before),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !ws.Choice.HostMode && slices.Contains(ws.Capabilities, driver.CapExecSignal) {
		r.detached, r.signals = true, make(chan string)
	}
	v.place, v.run, v.started, v.found = ws, r, time.Now(), nil
	v.port, v.url, v.address, v.dials, v.pid = 0, "", "", nil, 0
	if s.life.Err() != nil {
		end(nil)
		r.settled = true
		s.neverRan(v, errClosing)
		return errClosing
	}
	s.observe(v.workspaceID).stir()
	s.work.Go(func() {
		defer end(nil)
		s.execute(runContext, v, r)
	})
	return nil
}

// neverRan takes back a start: a server that had never run is forgotten. mu
// must be held.
func (s *Supervisor) neverRan(v *server, err error) {
	v.failure = err
	if !v.ran {
		s.drop(v, driver.AsError(err).Message)
		return
	}
	s.set(v, StatusFailed, driver.AsError(err).Message)
}

// checkPort refuses a port that is taken, before anything is done.
func (s *Supervisor) checkPort(ctx context.Context, v *server, ws workspace.Workspace) error {
	port := v.requested
	if port == 0 {
		return nil
	}
	s.mu.Lock()
	for _, other := range s.servers {
		shared := other.workspaceID == v.workspaceID || ws.Choice.HostMode && other.place.Choice.HostMode
		leads := ws.Choice.HostMode && other.forward.Port() == port
		if other != v && other.live() && (shared && other.port == port || leads) {
			stop := driver.Remedy{Text: "stop it", Command: []string{"sero", "dev", "stop", "-w", other.workspaceID, other.name}}
			err := errPortInUse(port, fmt.Sprintf("dev server %s of workspace %s", other.name, other.workspaceID))
			err.Remedies = slices.Insert(err.Remedies, 0, stop)
			s.mu.Unlock()
			return err
		}
	}
	s.mu.Unlock()
	if holder, found := s.holder(ctx, v.workspaceID, port); found {
		return errPortInUse(port, holder)
	}
	if !ws.Choice.HostMode {
		return nil
	}
	for _, address := range []string{"127.0.0.1", "::1"} {
		if s.probe(ctx, v.workspaceID, net.JoinHostPort(address, strconv.Itoa(int(port)))) == nil {
			return errPortInUse(port, s.portOwner(ctx, port))
		}
	}
	return nil
}

func errPortInUse(port uint16, holder string) *driver.Error {
	return driver.Errorf(driver.PortInUse, "port %d is in use by %s", port, holder).About(strconv.Itoa(int(port))).
		Remedy("choose another port, or leave it out to have one found")
}

var errSeen = errors.New("seen")

// holder asks the driver once who listens on a port in a workspace.
func (s *Supervisor) holder(ctx context.Context, workspaceID string, port uint16) (string, bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, freeLimit, errors.New("the driver does not tell"))
	defer cancel()
	holder := ""
	_ = s.runner.Listeners(ctx, workspaceID, func(listeners []driver.Listener) error {
		if at := listenersAt(listeners, port); len(at) > 0 {
			holder = "another process of the workspace"
			if at[0].Command != "" {
				holder = fmt.Sprintf("%s of the workspace (pid %d)", shown(at[0].Command), at[0].PID)
			}
		}
		return errSeen
	})
	return holder, holder != ""
}

// execute runs the command to its end.
func (s *Supervisor) execute(ctx context.Context, v *server, r *run) {
	env := slices.Clone(v.env)
	if v.requested != 0 {
		env = append(env, driver.EnvVar{Name: "PORT", Value: strconv.Itoa(int(v.requested))})
	}
	options := workspace.ExecOptions{
		Ref: workspace.Ref{ID: v.workspaceID}, Argv: v.command, Env: env, Caller: v.caller, Dir: v.dir, Driver: v.driver,
		ExecID: r.execID, KillGrace: s.grace, Detach: r.detached,
	}
	if r.detached {
		options.Keep = guest.Keep{Bytes: logSize, Label: v.label()}
	}
	stdio, done := r.io(ctx)
	result, err := s.runner.Exec(ctx, options, stdio, func(w workspace.Workspace, _ string, _ int64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		r.started, v.ran = true, true
		v.place = w
	}, nil)
	done()
	if err != nil && s.mayGoOn(ctx, r, err) {
		if later, failure := s.rejoin(ctx, v, r); !isLost(failure) {
			result, err = later, failure
		}
	}
	s.hasEnded(v, r, result, err)
}

// hasEnded takes down how a command ended, or that it is lost.
func (s *Supervisor) hasEnded(v *server, r *run, result workspace.ExecResult, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.ended, r.endedAt, r.code, r.err = true, time.Now(), result.Code, err
	if r.detached && s.life.Err() != nil { // it goes on without this core
		r.settled = true
		close(r.done)
		return
	}
	switch {
	case err != nil:
		r.outcome = "the command was lost: " + driver.AsError(err).Error()
	case result.Signal != "":
		r.code = -1
		r.outcome = "the command was ended by " + result.Signal
	default:
		r.outcome = fmt.Sprintf("the command exited with code %d", result.Code)
	}
	if result.OutOfMemory {
		r.outcome += ": the sandbox has no memory left, see resources.memory in sero.json"
	}
	close(r.done)
	if err != nil && !r.started && !r.stopping {
		r.settled = true
		s.neverRan(v, err)
		s.release(v.workspaceID)
		return
	}
	s.judge(v)
}

// io connects a run's command until done is called.
func (r *run) io(ctx context.Context) (stdio driver.ExecIO, done func()) {
	ctx, end := context.WithCancelCause(ctx)
	return driver.ExecIO{Stdin: endless{ctx}, Stdout: &r.out, Stderr: &r.out, Signals: r.signals}, func() { end(nil) }
}

// endless is an input without bytes and without an end: some dev servers end
// with their input.
type endless struct{ ctx context.Context } //nolint:containedctx // it is the life of the reader

// Read waits until nobody is connected with the command any more, which is not
// the end of its input: it may go on.
func (e endless) Read([]byte) (int, error) {
	<-e.ctx.Done()
	return 0, context.Cause(e.ctx)
}

// await waits until a server is not starting any more, or wait is over.
func (s *Supervisor) await(ctx context.Context, v *server, wait time.Duration) (Server, error) {
	if wait <= 0 {
		wait = DefaultWait
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		s.mu.Lock()
		now, changed, failure, asks := v.snapshot(), v.changed, v.failure, v.asksHolder
		s.mu.Unlock()
		if failure != nil {
			return now, failure
		}
		if now.Status != StatusStarting && !asks {
			return now, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return now, nil
		case <-ctx.Done():
			return now, driver.AsError(context.Cause(ctx))
		}
	}
}
