package egress

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/egress/policy"
	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/internal/ownpath"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Options are what a Service works with. StateDir is required.
type Options struct {
	StateDir string        // what lasts is kept in egress below it
	Machine  config.Egress // config.json's
	// Listen accepts connections that are made inside a workspace's sandbox to
	// its 127.0.0.1:port; nil or an error where it cannot.
	Listen func(ctx context.Context, workspaceID string, port uint16) (net.Listener, error)
	// Current tells at once whether a sandbox is the one that a workspace is known
	// to run in; nil: it always is.
	Current func(workspaceID string, sandbox driver.Sandbox) bool
	// Gone asks whether a sandbox has ended; false where that cannot be told. nil:
	// it never has.
	Gone   func(ctx context.Context, workspaceID string, sandbox driver.Sandbox) bool
	Events *event.Bus   // may be nil
	Log    *slog.Logger // nil: slog.Default

	Resolver Resolver                                                // nil: the system's
	Dial     func(context.Context, netip.AddrPort) (net.Conn, error) // nil: TCP

	LookEvery time.Duration // between looks at whether a sandbox has gone that would not tell; 0: a minute
}

// Service runs the proxies of all workspaces: one for each that has egress rules,
// from its first command until its sandbox stops. It is safe for concurrent use.
type Service struct {
	options Options
	log     *slog.Logger
	machine policy.List
	dir     string

	life context.Context // ends with Close
	end  context.CancelCauseFunc

	writing sync.Mutex // orders what is done to files, and the changes of what is kept; comes before mu

	mu         sync.Mutex // comes before a workspace's; neither is held for a file
	workspaces map[string]*workspace
	closed     bool
}

// workspace is what is known of one.
type workspace struct {
	id      string
	turn    chan struct{} // holds one token; whoever takes it may open or close the session
	journal journal

	mu      sync.Mutex // guards what follows
	kept    kept
	granted []policy.Rule // kept.Granted, read
	session *session      // nil: no proxy
	over    error         // why nothing is opened or written any more
}

// New makes a Service; nothing listens yet.
func New(o Options) (*Service, error) {
	dir := filepath.Join(o.StateDir, "egress")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, stateError(dir, err)
	}
	if refusal := ownpath.Refusal("what is kept of egress", ownpath.Directory(dir)); refusal != nil {
		return nil, refusal
	}
	machine, err := listOf("config.json", o.Machine)
	if err != nil {
		return nil, err
	}
	o.LookEvery = cmp.Or(o.LookEvery, lookEvery)
	if o.Current == nil {
		o.Current = func(string, driver.Sandbox) bool { return true }
	}
	if o.Gone == nil {
		o.Gone = func(context.Context, string, driver.Sandbox) bool { return false }
	}
	s := &Service{options: o, log: cmp.Or(o.Log, slog.Default()), machine: machine, dir: dir, workspaces: map[string]*workspace{}}
	s.life, s.end = context.WithCancelCause(context.Background())
	return s, nil
}

// listOf reads the rules of a configuration that package config has checked.
func listOf(file string, e config.Egress) (policy.List, error) {
	l := policy.List{File: file, Mode: e.Chosen()}
	var err error
	if l.Allow, err = policy.ParseRules(e.Allow); err == nil {
		l.Deny, err = policy.ParseRules(e.Deny)
	}
	if err != nil {
		return l, driver.Errorf(driver.ConfigInvalid, "the egress rules of %s: %w", file, err).About(file).Remedy("correct the file")
	}
	return l, nil
}

// Environment is what a command in a running sandbox needs to find its
// workspace's proxy, which is opened if it is not there yet. It is nil for a
// workspace without rules. file is what sero.json says now; a sandbox keeps to
// what it said when its proxy was first opened, so that nothing inside can open
// a door by writing to the file.
func (s *Service) Environment(ctx context.Context, id string, sandbox driver.Sandbox, file config.Egress) ([]driver.EnvVar, error) {
	w := s.workspace(id)
	if w == nil {
		return nil, errClosing
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.life, func() { cancel(errClosing) })()
	if err := w.take(ctx); err != nil {
		return nil, err
	}
	defer w.leave()
	w.mu.Lock()
	current, before, over := w.session, w.kept.Life, w.over
	w.mu.Unlock()
	switch { // while this waited for its turn
	case over != nil:
		return nil, over
	case !s.options.Current(id, sandbox):
		return nil, errNotCurrent(id)
	}
	life := Life{Instance: sandbox.Instance, Started: sandbox.Started, Rules: file}
	switch {
	case before != nil && before.of(sandbox):
		life = *before // also of an earlier daemon: running programs know its address
	case !file.Asked() && !s.options.Machine.Asked():
		w.close()
		return nil, nil
	}
	if current == nil || !current.life.of(sandbox) || !current.alive() {
		w.close()
		opened, err := s.open(ctx, w, sandbox, life)
		switch {
		case err != nil && s.life.Err() != nil:
			return nil, errClosing
		case err != nil:
			return nil, err
		}
		current = opened
	}
	return current.environment(sandbox), nil
}

var errClosing = driver.Errorf(driver.Canceled, "sero is shutting down")

func errForgotten(id string) error {
	return driver.Errorf(driver.NotFound, "workspace %s was removed", id).About(id).
		Remedy("open its directory again", "sero", "up")
}

// errNotCurrent is for a command whose sandbox has stopped since it was found.
func errNotCurrent(id string) error {
	return driver.Errorf(driver.NotRunning, "the sandbox of workspace %s has stopped", id).About(id).
		Remedy("make it ready", "sero", "up", "-w", id)
}

// workspace finds what is known of one, or makes it unless the Service is closed.
func (s *Service) workspace(id string) *workspace {
	if w, known := s.known(id); known {
		return w
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if w, known := s.known(id); known {
		return w
	}
	w := &workspace{id: id, turn: make(chan struct{}, 1)}
	w.kept = s.read(id)
	w.granted, _ = policy.ParseRules(w.kept.Granted) // read checked it
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.workspaces[id] = w
	return w
}

// known finds what is known of a workspace; it is nil once the Service is closed.
func (s *Service) known(id string) (w *workspace, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w = s.workspaces[id]
	return w, w != nil || s.closed
}

func (w *workspace) take(ctx context.Context) error {
	select {
	case w.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return driver.AsError(context.Cause(ctx))
	}
}

func (w *workspace) leave() { <-w.turn }

// close ends the workspace's proxy. The caller has its turn.
func (w *workspace) close() {
	w.mu.Lock()
	old := w.session
	w.session = nil
	w.mu.Unlock()
	if old != nil {
		old.close()
	}
}

// Grant lets a workspace reach what rules name, from now on, and gives all that
// it was granted. InvalidArgument for what is no rule.
func (s *Service) Grant(id string, rules []string) ([]string, error) {
	return s.changeGrants(id, func(granted []string) []string { return append(granted, rules...) })
}

// Revoke takes grants back, those that are there, and gives what is left.
func (s *Service) Revoke(id string, rules []string) ([]string, error) {
	return s.changeGrants(id, func(granted []string) []string { return without(granted, rules) })
}

func (s *Service) changeGrants(id string, change func([]string) []string) ([]string, error) {
	w := s.workspace(id)
	if w == nil {
		return nil, errClosing
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	w.mu.Lock()
	over, next := w.over, w.kept
	w.mu.Unlock()
	if over != nil {
		return nil, over
	}
	before := next.Granted
	next.Granted = nil
	seen := map[string]bool{}
	var parsed []policy.Rule
	for _, text := range change(append([]string(nil), before...)) {
		r, err := policy.ParseRule(text)
		if err != nil {
			bad := driver.Errorf(driver.InvalidArgument, "%s: %w", shown(text), err).About(shown(text)).
				Remedy("give a rule such as registry.npmjs.org, '*.github.com:443' or 10.0.0.5:5432")
			bad.Field = "rules"
			return nil, bad
		}
		if !seen[r.String()] {
			seen[r.String()] = true
			parsed, next.Granted = append(parsed, r), append(next.Granted, r.String())
		}
	}
	if len(next.Granted) > maxGrants {
		return nil, driver.Errorf(driver.InvalidArgument, "a workspace is granted at most %d rules", maxGrants).About(id).
			Remedy("write a network or a *.domain, or put the rules into sero.json")
	}
	if err := s.write(id, next); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept, w.granted = next, parsed
	return append([]string(nil), next.Granted...), nil
}

// without is all of list that is not in gone, whatever its letters' case.
func without(list, gone []string) []string {
	var left []string
	for _, rule := range list {
		found := false
		for _, g := range gone {
			found = found || strings.EqualFold(g, rule)
		}
		if !found {
			left = append(left, rule)
		}
	}
	return left
}

// Running counts the proxies that serve.
func (s *Service) Running() int {
	n := 0
	for _, w := range s.all() {
		w.mu.Lock()
		if w.session != nil && w.session.alive() {
			n++
		}
		w.mu.Unlock()
	}
	return n
}

func (s *Service) all() []*workspace {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*workspace, 0, len(s.workspaces))
	for _, w := range s.workspaces {
		all = append(all, w)
	}
	return all
}

// StopWorkspace ends the proxy of a workspace whose sandbox has stopped.
func (s *Service) StopWorkspace(id string) {
	s.mu.Lock()
	w := s.workspaces[id]
	s.mu.Unlock()
	if w == nil {
		return
	}
	w.turn <- struct{}{}
	defer w.leave()
	w.close()
}

// ForgetWorkspace ends its proxy and drops all that is known of it, grants too.
// Who waits for the workspace's turn gets an error.
func (s *Service) ForgetWorkspace(id string) {
	w := s.workspace(id)
	if w != nil {
		w.turn <- struct{}{}
		defer w.leave()
		w.close()
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if w != nil {
		s.mu.Lock()
		present := s.workspaces[id] == w
		if present {
			w.finish(errForgotten(id))
			delete(s.workspaces, id)
		}
		s.mu.Unlock()
		if !present {
			return // it was forgotten before
		}
	}
	if err := os.Remove(s.file(id)); err != nil && !os.IsNotExist(err) {
		s.log.Warn("what was granted to a workspace stays", "workspace", id, "error", err)
	}
}

// finish makes sure that nothing of a workspace is opened or written any more.
func (w *workspace) finish(why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over == nil {
		w.over = why
	}
}

// Close ends all proxies and waits for them.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end(errClosing)
	for _, w := range s.all() {
		w.turn <- struct{}{}
		w.finish(errClosing)
		w.close()
		w.leave()
	}
}

// refused notes what a proxy did not let through. What is the same again and
// again, and floods, are told of now and then only.
func (s *Service) refused(w *workspace, r Refusal) {
	if tell, count := w.journal.add(r, time.Now()); tell {
		line := fmt.Sprintf("%s %s was refused: %s", r.Method, r.Target, r.Why)
		if r.Rule != "" {
			line += " (" + r.Rule + ")"
		}
		if r.Allow != "" {
			line += "; to allow it: sero egress allow -w " + w.id + " " + quoted(r.Allow)
		}
		s.log.Warn("egress", "workspace", w.id, "refused", r.Target, "why", r.Why, "rule", r.Rule, "allow", r.Allow, "count", count)
		s.options.Events.Publish(event.Event{Type: event.EgressRefused, WorkspaceID: w.id, Subject: r.Target, Message: line})
	}
}
