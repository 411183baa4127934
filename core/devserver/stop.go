package devserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

var errStop = driver.Errorf(driver.Canceled, "the dev server was stopped")

// Stop ends a server with everything that its command started: SIGTERM, and
// after the grace SIGKILL. Of a server that was found in a container it ends the
// process groups that listen on its port. It returns when the port is free. The
// record stays, as stopped; that of a server that failed ends. Stopping one that
// is down succeeds. Once begun it is carried through, also when ctx ends.
//
// Errors: NotFound and InvalidArgument for the Ref, Timeout when it cannot be
// ended.
func (s *Supervisor) Stop(ctx context.Context, ref Ref) (Server, error) {
	v, err := s.take(ctx, ref)
	if err != nil {
		return Server{}, err
	}
	defer func() { <-v.turn }()
	err = s.stop(context.WithoutCancel(ctx), v)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && v.status == StatusFailed {
		s.drop(v, "it failed and was stopped")
	}
	return v.snapshot(), err
}

// Remove ends a server as Stop does and forgets it with its output.
//
// Errors: those of Stop; the record stays then.
func (s *Supervisor) Remove(ctx context.Context, ref Ref) (Server, error) {
	v, err := s.take(ctx, ref)
	if err != nil {
		return Server{}, err
	}
	defer func() { <-v.turn }()
	err = s.stop(context.WithoutCancel(ctx), v)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.drop(v, "its record was removed")
		s.release(v.workspaceID)
	}
	return v.snapshot(), err
}

// Restart stops a server, waits for its port to be free, and runs its original
// command again in its directory with its environment. Its log goes on. It
// waits as Start does.
func (s *Supervisor) Restart(ctx context.Context, ref Ref, wait time.Duration, progress func(driver.Progress)) (Server, error) {
	v, err := s.take(ctx, ref)
	if err != nil {
		return Server{}, err
	}
	if err = s.restartable(v); err == nil {
		err = s.again(ctx, v, progress)
	}
	<-v.turn
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		return v.snapshot(), err
	}
	return s.await(ctx, v, wait)
}

// restartable refuses a server whose command is not known.
func (s *Supervisor) restartable(v *server) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(v.command) > 0 {
		return nil
	}
	why := fmt.Sprintf("was found listening on port %d; sero did not start it and", v.port)
	if v.run != nil {
		why = "was started by an earlier sero; this one"
	}
	return argument("dev_server", "%s %s does not know its command", v.name, why).
		Remedy("stop it", "sero", "dev", "stop", "-w", v.workspaceID, v.name).
		Remedy("then start it with its command", "sero", "run", "-w", v.workspaceID, "--name", v.name, "--", "COMMAND").
		Remedy("or name its command and port in devServers of sero.json")
}

// again stops and launches a server whose turn the caller has.
func (s *Supervisor) again(ctx context.Context, v *server, progress func(driver.Progress)) error {
	if err := s.stop(context.WithoutCancel(ctx), v); err != nil {
		return err
	}
	ws, err := s.runner.Up(ctx, workspace.UpOptions{Ref: workspace.Ref{ID: v.workspaceID}, Driver: v.driver}, progress)
	if err != nil {
		return err
	}
	v.log.mark("restarted at " + time.Now().Format(time.RFC3339))
	s.mu.Lock()
	v.failure = nil
	v.found = nil
	s.set(v, StatusStarting, "")
	s.mu.Unlock()
	return s.launch(ctx, v, ws)
}

// take finds a server and waits for its turn.
func (s *Supervisor) take(ctx context.Context, ref Ref) (*server, error) {
	v, err := s.seek(ctx, ref)
	if err != nil {
		return nil, err
	}
	select {
	case v.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, driver.AsError(context.Cause(ctx))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.removed {
		<-v.turn
		return nil, driver.Errorf(driver.NotFound, "dev server %s was removed meanwhile", v.name).About(v.name).
			Remedy("see the dev servers there are", listCommand(v.workspaceID)...)
	}
	return v, nil
}

// stop ends what runs of a server. The caller has its turn.
func (s *Supervisor) stop(ctx context.Context, v *server) error {
	s.mu.Lock()
	r := v.run
	if !v.live() {
		s.mu.Unlock()
		s.endLeft(ctx, v, r)
		return nil
	}
	if v.found != nil {
		s.mu.Unlock()
		return s.stopFound(ctx, v)
	}
	r.stopping = true
	left := r.ended // so what listens was left behind, and nothing else will end it
	s.mu.Unlock()

	err := s.endCommand(ctx, v, r)
	if err == nil {
		err = s.freePort(ctx, v, left)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.stopping = false
	if err != nil {
		s.judge(v)
		return err
	}
	r.settled, r.cleared = true, true
	v.pid = 0
	s.set(v, StatusStopped, "stopped")
	s.release(v.workspaceID)
	return nil
}

// endLeft ends what the command of a server that is down left behind in a
// container, once. The caller has the server's turn, which guards cleared.
func (s *Supervisor) endLeft(ctx context.Context, v *server, r *run) {
	if r == nil || !r.detached || !r.over() || r.cleared {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.grace+10*time.Second, errors.New("ending what is left takes too long"))
	defer cancel()
	err := s.runner.EndSession(ctx, v.workspaceID, r.execID)
	if r.cleared = err == nil || isLost(err); !r.cleared {
		s.log.Warn("what a dev server left behind cannot be ended", "server", v.name, "error", err)
	}
}

// endCommand ends a server's command with all that descends from it, by the
// driver's own rules for a cancelled command, and waits for it.
func (s *Supervisor) endCommand(ctx context.Context, v *server, r *run) error {
	const patience = 15 * time.Second
	limit := s.grace + patience
	if r.detached { // the end of its context would leave it running
		return s.endKept(ctx, v, r, limit)
	}
	r.end(errStop)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-r.done:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return errNoEnd(v, limit)
}

// endKept ends a command that goes on by itself in a container, with all that
// descends from it. Where neither the helper nor a script in the sandbox can, it
// ends the process group.
func (s *Supervisor) endKept(ctx context.Context, v *server, r *run, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errNoEnd(v, limit))
	defer cancel()
	for pause := rejoinFirst; ; pause = min(2*pause, rejoinMost) {
		err := s.runner.EndSession(ctx, v.workspaceID, r.execID)
		if err == nil {
			select {
			case <-r.done:
				return nil
			case <-ctx.Done():
				return errNoEnd(v, limit)
			}
		}
		switch {
		case !isLost(err):
		case r.over():
			return nil
		case s.begun(r): // what descends from it is not known
			if r.signalled(ctx, "SIGTERM", s.grace) || r.signalled(ctx, "SIGKILL", limit) {
				return nil
			}
			return errNoEnd(v, limit)
		}
		if !sleep(ctx, pause) { // the connection is broken, or it has not begun yet
			return errNoEnd(v, limit)
		}
	}
}

func (s *Supervisor) begun(r *run) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.started
}

// over reports whether the command has ended.
func (r *run) over() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func errNoEnd(v *server, limit time.Duration) error {
	err := driver.Errorf(driver.Timeout, "the command of dev server %s did not end in %s", v.name, limit).About(v.name).
		Remedy("stop the workspace", "sero", "stop", "-w", v.workspaceID)
	err.Retryable = true
	return err
}

// signalled sends a signal to the command's process group and tells whether the
// command has ended in time.
func (r *run) signalled(ctx context.Context, signal string, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	signals := r.signals
	for {
		select {
		case <-r.done:
			return true
		case signals <- signal:
			signals = nil
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// stopFound ends what listens on the port of a server that was found.
func (s *Supervisor) stopFound(ctx context.Context, v *server) error {
	bounded, cancel := context.WithTimeoutCause(ctx, s.grace+freeLimit+10*time.Second, errors.New("stopping takes too long"))
	defer cancel()
	if _, err := s.runner.StopListeners(bounded, v.workspaceID, v.port, s.grace); err != nil {
		return err
	}
	if !s.waitFree(ctx, v, freeLimit) {
		return stillListens(v)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v.pid = 0
	if v.found != nil { // else it was seen to be down meanwhile
		v.found.gone = time.Now()
	}
	s.set(v, StatusStopped, "stopped")
	return nil
}

func stillListens(v *server) error {
	return driver.Errorf(driver.Timeout, "dev server %s still listens after it was killed", v.name).About(v.name).
		Remedy("stop the workspace", "sero", "stop", "-w", v.workspaceID)
}

// freePort waits until no process of a server's command listens, and ends those
// that the command left behind.
func (s *Supervisor) freePort(ctx context.Context, v *server, left bool) error {
	if left {
		s.endListeners(ctx, v)
	}
	for range 3 {
		if s.waitFree(ctx, v, freeLimit) {
			return nil
		}
		s.endListeners(ctx, v)
	}
	if s.waitFree(ctx, v, freeLimit) {
		return nil
	}
	return stillListens(v)
}

func (s *Supervisor) waitFree(ctx context.Context, v *server, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		s.mu.Lock()
		w := s.watches[v.workspaceID]
		if w == nil || w.blind || !w.known || len(s.own(v)) == 0 {
			s.mu.Unlock()
			return true
		}
		changed := w.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// endScript ends the process group of a pid, in the sandbox: SIGTERM, and
// SIGKILL for what is left after so many tenths of a second. It never signals
// group 0 or 1; where the group cannot be told, it ends the process alone.
const endScript = `g=$(ps -o pgid= -p "$1" 2>/dev/null | tr -d ' ')
case "$g" in ''|0|1) t=$1 ;; *) t=-$g ;; esac
kill -s TERM -- "$t" || exit 0
n=$2
while kill -s 0 -- "$t" 2>/dev/null; do
	[ "$n" -gt 0 ] || { kill -s KILL -- "$t"; exit 0; }
	n=$((n - 1))
	sleep 0.1
done`

// endListeners ends the processes that a command left behind and that listen:
// those that the driver names as its descendants, and no others.
func (s *Supervisor) endListeners(ctx context.Context, v *server) {
	s.mu.Lock()
	if !v.place.Choice.HostMode {
		ports := portsOf(s.own(v))
		s.mu.Unlock()
		s.endPorts(ctx, v, ports)
		return
	}
	var pids []int64
	for _, l := range s.own(v) {
		if l.PID > 1 && !slices.Contains(pids, l.PID) {
			pids = append(pids, l.PID)
		}
	}
	s.mu.Unlock()
	for _, pid := range pids {
		bounded, cancel := context.WithTimeoutCause(ctx, s.grace+10*time.Second, errors.New("kill does not return"))
		_, err := s.runner.Exec(bounded, workspace.ExecOptions{
			Ref: workspace.Ref{ID: v.workspaceID},
			Argv: []string{
				"sh", "-c", endScript, "sero-stop", strconv.FormatInt(pid, 10),
				strconv.FormatInt(int64(s.grace/(100*time.Millisecond)), 10),
			},
		}, driver.ExecIO{}, nil, nil)
		cancel()
		if err != nil {
			s.log.Warn("a process that a dev server left behind cannot be ended", "server", v.name, "pid", pid, "error", err)
		}
	}
}

// endPorts ends what listens on ports inside a container.
func (s *Supervisor) endPorts(ctx context.Context, v *server, ports []uint16) {
	for _, port := range ports {
		bounded, cancel := context.WithTimeoutCause(ctx, s.grace+10*time.Second, errors.New("stopping takes too long"))
		_, err := s.runner.StopListeners(bounded, v.workspaceID, port, s.grace)
		cancel()
		if err != nil {
			s.log.Warn("what a dev server left behind cannot be ended", "server", v.name, "port", port, "error", err)
		}
	}
}

func portsOf(listeners []driver.Listener) []uint16 {
	var ports []uint16
	for _, l := range listeners {
		if !slices.Contains(ports, l.Port) {
			ports = append(ports, l.Port)
		}
	}
	return ports
}

// StopWorkspace stops every server of a workspace that sero started, all at the
// same time, and says in one line each what it ended. What was found ends with
// the sandbox.
func (s *Supervisor) StopWorkspace(ctx context.Context, workspaceID string) ([]string, error) {
	s.mu.Lock()
	var live []*server
	for _, v := range s.servers {
		if v.workspaceID == workspaceID && v.found == nil && v.parent == nil && (v.live() || v.status == StatusStarting) {
			live = append(live, v)
		}
	}
	s.mu.Unlock()
	lines, errs := make([]string, len(live)), make([]error, len(live))
	var all sync.WaitGroup
	for i, v := range live {
		all.Go(func() { lines[i], errs[i] = s.stopOne(ctx, v) })
	}
	all.Wait()
	lines = slices.DeleteFunc(lines, func(line string) bool { return line == "" })
	for _, err := range errs {
		if err != nil {
			return lines, err
		}
	}
	return lines, nil
}

func (s *Supervisor) stopOne(ctx context.Context, v *server) (string, error) {
	select {
	case v.turn <- struct{}{}:
	case <-ctx.Done():
		return "", driver.AsError(context.Cause(ctx))
	}
	defer func() { <-v.turn }()
	s.mu.Lock()
	was, id := v.live(), v.id()
	s.mu.Unlock()
	if !was {
		return "", nil
	}
	if err := s.stop(context.WithoutCancel(ctx), v); err != nil {
		return "", err
	}
	return fmt.Sprintf("dev server %s (%s)", v.name, id), nil
}

// ForgetWorkspace drops the records of a workspace that was removed. What still
// runs is ended.
func (s *Supervisor) ForgetWorkspace(workspaceID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range slices.Clone(s.servers) {
		if v.workspaceID != workspaceID {
			continue
		}
		if v.live() && v.run != nil {
			v.run.settled = true
			v.run.end(errStop)
		}
		s.drop(v, "its workspace was removed")
	}
	s.unattend(workspaceID)
	s.release(workspaceID)
}
