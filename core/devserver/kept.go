package devserver

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// The commands of servers in containers are kept there by the guest helper, with
// their last output. They outlive the connection with it, and the core: this one
// goes on with them when a connection broke, the next one takes them up.

// label is what is kept with a server's command for a later core. It comes back
// from a sandbox, which may say there what it likes.
type label struct {
	Scope   string   `json:"scope,omitempty"`
	CardID  string   `json:"card,omitempty"`
	Port    uint16   `json:"port,omitempty"` // that was asked for
	Dir     string   `json:"dir,omitempty"`
	Command []string `json:"command,omitempty"`
	Env     []string `json:"env,omitempty"` // NAME=VALUE
}

// maxLabel is how long a label is let be, in bytes.
const maxLabel = 1000

// label is the server's as it is being started. A command that is too long for
// it, or no text, is left out: a later core does not know it then.
func (v *server) label() string {
	l := label{Scope: v.scope, CardID: v.card, Port: v.requested, Dir: v.dir, Command: v.command}
	for _, e := range v.env {
		l.Env = append(l.Env, e.Name+"="+e.Value)
	}
	said := strings.Join(slices.Concat(l.Command, l.Env, []string{l.Dir}), "")
	text, err := json.Marshal(l)
	if err != nil || len(text) > maxLabel || !utf8.ValidString(said) {
		text, _ = json.Marshal(label{Scope: v.scope, CardID: v.card, Port: v.requested})
	}
	return string(text)
}

// specOf reads a label, of a command whose exec id tells a name. What makes no
// sense is left out.
func specOf(name, text string) Spec {
	var l label
	if json.Unmarshal([]byte(text), &l) != nil {
		l = label{}
	}
	spec := Spec{Name: name, Command: l.Command, Scope: l.Scope, CardID: l.CardID, Port: l.Port, Dir: l.Dir}
	for _, assignment := range l.Env {
		name, value, _ := strings.Cut(assignment, "=")
		spec.Env = append(spec.Env, driver.EnvVar{Name: name, Value: value, Secret: true})
	}
	if spec.check() == nil {
		return spec
	}
	bare := Spec{Name: name, Command: []string{name}, Scope: l.Scope, CardID: l.CardID, Port: l.Port}
	if bare.check() != nil {
		bare = Spec{Name: name, Command: []string{name}}
		_ = bare.check() // fills in the defaults
	}
	bare.Command = nil
	return bare
}

// output is what a run writes to its server's log: each byte once, however often
// a sandbox gives it.
type output struct {
	log *outputLog

	mu    sync.Mutex
	taken int64 // bytes of the command's output that came or are lost
	again int64 // bytes to come that came already
}

// Write adds output.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	known := min(o.again, int64(len(p)))
	o.again -= known
	o.taken += int64(len(p)) - known
	_, _ = o.log.Write(p[known:]) // it never fails
	return len(p), nil
}

// resume says that what comes next begins so many bytes after the beginning.
func (o *output) resume(at int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.again = max(0, o.taken-at)
	if lost := at - o.taken; lost > 0 {
		o.taken = at
		o.log.mark(fmt.Sprintf("%d bytes of output are not kept any more", lost))
	}
}

const (
	rejoinFirst = 50 * time.Millisecond // between two attempts to go on with a command
	rejoinMost  = 5 * time.Second
)

// rejoin goes on with a kept command until it ends, cannot be found any more, or
// ctx ends.
func (s *Supervisor) rejoin(ctx context.Context, v *server, r *run) (workspace.ExecResult, error) {
	pause := rejoinFirst
	for {
		stdio, done := r.io(ctx)
		result, err := s.runner.AttachSession(ctx, v.workspaceID, r.execID, func(bytes int64) {
			pause = rejoinFirst
			r.out.resume(bytes)
		}, stdio)
		done()
		if err == nil || ctx.Err() != nil || isLost(err) {
			return result, err
		}
		if pause == rejoinFirst {
			s.log.Info("the connection with a dev server's command broke", "workspace", v.workspaceID, "server", v.name, "error", err)
		}
		if !sleep(ctx, pause) {
			return result, driver.AsError(context.Cause(ctx))
		}
		pause = min(2*pause, rejoinMost)
	}
}

// isLost tells whether an attempt to go on with a command says that there will be
// no way to.
func isLost(err error) bool {
	switch driver.ReasonOf(err) {
	case driver.NotFound, driver.NotRunning:
		return true
	case driver.Unsupported:
		return !driver.AsError(err).Retryable
	default:
		return false
	}
}

// mayGoOn tells whether a command whose connection was lost may still run.
func (s *Supervisor) mayGoOn(ctx context.Context, r *run, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended := r.stopping && driver.ReasonOf(err) == driver.Canceled // by Stop
	return r.detached && r.started && !ended && ctx.Err() == nil
}

// meet takes up what an earlier core left in a workspace before anything is
// started there.
func (s *Supervisor) meet(ctx context.Context, ws workspace.Workspace) {
	s.mu.Lock()
	w := s.watches[ws.ID]
	met := w != nil && w.place != nil
	s.mu.Unlock()
	if !met {
		s.Attend(ctx, ws.ID)
	}
}

// takeUp makes the servers known that an earlier core left running in a
// container, and goes on with their commands.
func (s *Supervisor) takeUp(ctx context.Context, ws workspace.Workspace) {
	sessions, err := s.runner.Sessions(ctx, ws.ID)
	if err != nil {
		s.log.Info("the dev servers that an earlier sero left cannot be listed", "workspace", ws.ID, "error", err)
		return
	}
	sessions = slices.DeleteFunc(sessions, func(kept guest.Session) bool { return nameInExecID(kept.ExecID) == "" })
	if len(sessions) == 0 {
		return
	}
	listeners, err := s.listeners(ctx, ws.ID)
	var entries map[string]config.DevServer
	if slices.ContainsFunc(sessions, func(kept guest.Session) bool {
		return len(specOf(nameInExecID(kept.ExecID), kept.Label).Command) == 0
	}) {
		entries = s.entries(ctx, ws.ID)
	}
	s.mu.Lock()
	if s.life.Err() != nil {
		s.mu.Unlock()
		return
	}
	w := s.observe(ws.ID)
	if !w.known && err == nil {
		w.known, w.listeners = true, listeners
	}
	for _, kept := range sessions {
		s.takeUpOne(w, ws, kept, entries)
	}
	s.release(ws.ID)
	var probing []chan struct{}
	for _, v := range s.servers {
		if v.workspaceID == ws.ID && v.probing != nil {
			probing = append(probing, v.probing)
		}
	}
	s.mu.Unlock()
	for _, done := range probing { // each has a limit of its own
		<-done
	}
}

// takeUpOne goes on with a kept command, unless another call does; entries are those of
// sero.json. mu must be held.
func (s *Supervisor) takeUpOne(w *watch, ws workspace.Workspace, kept guest.Session, entries map[string]config.DevServer) {
	spec := specOf(nameInExecID(kept.ExecID), kept.Label)
	spec.uid = uidInExecID(kept.ExecID)
	taken := 0
	for _, other := range slices.Clone(s.servers) {
		switch {
		case other.workspaceID != ws.ID:
		case other.run != nil && other.run.execID == kept.ExecID:
			return
		case other.run != nil && other.run.takenUp:
			taken++
		case other.found != nil && other.name == spec.Name: // it was found before it could be taken up
			s.drop(other, "sero goes on with its command")
		}
	}
	if taken >= maxFound {
		return
	}
	hearsay := len(spec.Command) > 0
	if !hearsay {
		known, _ := recognise(driver.Listener{Port: spec.Port, ExecID: kept.ExecID}, entries)
		spec.Command, spec.Dir, spec.Env = known.Command, known.Dir, known.Env
	}
	v := s.entry(ws, &spec, spec.Name)
	ctx, end := context.WithCancelCause(s.life)
	r := &run{
		execID: kept.ExecID, end: end, done: make(chan struct{}), out: output{log: &v.log},
		detached: true, takenUp: true, started: true, signals: make(chan string),
	}
	for _, l := range w.listeners {
		if l.ExecID != r.execID {
			r.before = append(r.before, l.Port)
		}
	}
	v.run, v.ran, v.started, v.status, v.hearsay = r, true, kept.Started, StatusStarting, hearsay
	w.stir()
	s.work.Go(func() {
		defer end(nil)
		result, err := s.rejoin(ctx, v, r)
		s.hasEnded(v, r, result, err)
	})
	s.judge(v)
}

// checkHearsay refuses to run on the host what a sandbox said that a server's
// command was.
func (s *Supervisor) checkHearsay(v *server, ws workspace.Workspace) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !v.hearsay || !ws.Choice.HostMode {
		return nil
	}
	return argument("dev_server", "the command of %s is known from its sandbox alone, and is not run outside of one", v.name).
		Remedy("start it with its command", "sero", "run", "-w", v.workspaceID, "--name", v.name, "--", "COMMAND")
}
