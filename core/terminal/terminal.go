// Package terminal runs terminals that outlive their viewers: any number may
// look at one, one at a time writes, and who comes later first sees the screen as
// it is. In containers they outlive the core, too.
package terminal

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/internal/oneline"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Bounds of what is kept.
const (
	MaxLines    = 10_000  // of scrollback
	MaxBytes    = 1 << 20 // of scrollback
	maxSessions = 256
	maxViewers  = 32 // of one terminal

	maxOfWorkspace = 32 // terminals; a sandbox may say that there are more
)

// Runner runs commands in workspaces; it is a workspace.Manager.
type Runner interface {
	Exec(ctx context.Context, options workspace.ExecOptions, stdio driver.ExecIO,
		onStarted func(w workspace.Workspace, dir string, pid int64), progress func(driver.Progress)) (workspace.ExecResult, error)
	// ID is the id of a known workspace.
	ID(ref workspace.Ref) (string, error)
	// Ready lists the workspaces that run.
	Ready() []string
	// Sessions, AttachSession and EndSession are about what an earlier core left.
	Sessions(ctx context.Context, id string) ([]guest.Session, error)
	AttachSession(ctx context.Context, id, execID string, skipped func(bytes int64), stdio driver.ExecIO) (workspace.ExecResult, error)
	EndSession(ctx context.Context, id, execID string) error
}

// Service knows the terminals. It is safe for concurrent use.
type Service struct {
	runner Runner
	known  <-chan struct{} // closed when the runner knows what an earlier core left
	log    *slog.Logger
	life   context.Context // ends with Close
	end    context.CancelCauseFunc
	work   sync.WaitGroup

	mu       sync.Mutex
	sessions map[string]*session
}

// Terminal is a terminal as it was at one moment.
type Terminal struct {
	ID          string
	WorkspaceID string
	Title       string // what runs in it
	Started     time.Time
	Viewers     int
	Written     bool // one of the viewers writes
}

// New makes a Service. known is closed once the runner knows what an earlier core
// left; nil if it does already.
func New(runner Runner, known <-chan struct{}, log *slog.Logger) *Service {
	s := &Service{runner: runner, known: known, log: cmp.Or(log, slog.Default()), sessions: map[string]*session{}}
	s.life, s.end = context.WithCancelCause(context.Background())
	return s
}

var errClosed = driver.Errorf(driver.Canceled, "sero is shutting down")

// Close lets go of all terminals: those of the host end, others go on.
func (s *Service) Close() {
	s.mu.Lock()
	s.end(errClosed)
	s.mu.Unlock()
	s.work.Wait()
}

// idPrefix makes the exec id of a terminal from its id.
const idPrefix = "terminal-"

// label is what is kept with a session in a sandbox.
type label struct {
	Title string `json:"title"`
}

// List describes the terminals of one workspace, or of all for an empty id,
// oldest first. It finds those that an earlier core left in containers.
func (s *Service) List(ctx context.Context, workspaceID string) []Terminal {
	s.adopt(ctx, workspaceID)
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Terminal
	for _, t := range s.sessions {
		if workspaceID == "" || t.about.WorkspaceID == workspaceID {
			list = append(list, t.describe())
		}
	}
	slices.SortFunc(list, func(a, b Terminal) int { return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID)) })
	return list
}

// How long a list waits for what an earlier core left.
const (
	knownLimit = 10 * time.Second // for the workspaces that there are
	askLimit   = 5 * time.Second  // for what runs in them
)

// adopt takes up the terminals that run in containers and are not known.
func (s *Service) adopt(ctx context.Context, workspaceID string) {
	if s.known != nil {
		timer := time.NewTimer(knownLimit)
		defer timer.Stop()
		select {
		case <-s.known:
		case <-timer.C: // a driver does not answer
		case <-ctx.Done():
			return
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, askLimit, errSilent)
	defer cancel()
	var asked sync.WaitGroup
	for _, id := range s.runner.Ready() {
		if workspaceID == "" || id == workspaceID {
			asked.Go(func() { s.adoptFrom(ctx, id) })
		}
	}
	asked.Wait()
}

var errSilent = errors.New("the workspace does not say what runs in it")

// adoptFrom takes up those of one workspace.
func (s *Service) adoptFrom(ctx context.Context, id string) {
	left, err := s.runner.Sessions(ctx, id)
	if err != nil {
		s.log.Info("terminals of a workspace cannot be listed", "workspace", id, "error", err)
		return
	}
	for _, l := range left {
		name, ours := strings.CutPrefix(l.ExecID, idPrefix)
		if !ours || !validID(name) {
			continue
		}
		var about label
		_ = json.Unmarshal([]byte(l.Label), &about) // without a title it is one all the same
		t := Terminal{ID: name, WorkspaceID: id, Title: titleOf(about.Title), Started: l.Started}
		_, _ = s.begin(t, true, func(ctx context.Context, t *session) (workspace.ExecResult, error) {
			return s.runner.AttachSession(ctx, id, l.ExecID, nil, t.io(nil))
		})
	}
}

// titleOf is what a sandbox or a person says of what runs as a title.
func titleOf(text string) string { return oneline.Of(text, 200, ' ') }

func validID(id string) bool {
	return len(id) >= 4 && len(id) <= 32 && !strings.ContainsFunc(id, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '2' || r > '7') })
}

// begin makes a session known and runs it in the background. One that is adopted
// has run before. An id that is known already is AlreadyExists.
func (s *Service) begin(about Terminal, adopted bool, run func(context.Context, *session) (workspace.ExecResult, error)) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.life.Err() != nil:
		return nil, errClosed
	case s.sessions[about.ID] != nil:
		return nil, driver.Errorf(driver.AlreadyExists, "there is a terminal %s already", about.ID)
	case len(s.sessions) >= maxSessions:
		return nil, driver.Errorf(driver.InvalidArgument, "%d terminals are open", maxSessions).
			Remedy("see them", "sero", "terminal", "ls")
	case about.WorkspaceID != "" && s.ofWorkspace(about.WorkspaceID) >= maxOfWorkspace:
		return nil, driver.Errorf(driver.InvalidArgument, "workspace %s has %d terminals", about.WorkspaceID, maxOfWorkspace)
	}
	ctx, end := context.WithCancelCause(s.life)
	t := newSession(about, end)
	t.adopted, t.begun, t.written = adopted, adopted, time.Now()
	s.work.Go(t.answer)
	s.sessions[about.ID] = t
	s.work.Go(func() {
		defer end(nil)
		result, err := run(ctx, t)
		s.mu.Lock()
		delete(s.sessions, about.ID)
		s.mu.Unlock()
		t.finish(result, err)
	})
	return t, nil
}

// ofWorkspace counts a workspace's terminals. mu must be held.
func (s *Service) ofWorkspace(id string) (n int) {
	for _, t := range s.sessions {
		if t.about.WorkspaceID == id {
			n++
		}
	}
	return n
}

// Open starts a terminal and looks at it, as View does.
func (s *Service) Open(ctx context.Context, options workspace.ExecOptions, v Viewer) (workspace.ExecResult, error) {
	if options.Terminal == nil {
		return workspace.ExecResult{}, driver.Errorf(driver.InvalidArgument, "a terminal needs a size")
	}
	if err := options.Check(); err != nil {
		return workspace.ExecResult{}, err
	}
	title := "login shell"
	if len(options.Argv) > 0 {
		title = strings.Join(options.Argv, " ")
	}
	title = titleOf(title)
	text, err := json.Marshal(label{Title: title})
	if err != nil {
		return workspace.ExecResult{}, err
	}
	about := Terminal{ID: strings.ToLower(rand.Text()[:6]), Title: title, Started: time.Now()}
	options.ExecID, options.Keep = idPrefix+about.ID, guest.Keep{Bytes: MaxBytes, Label: string(text)}
	t, err := s.begin(about, false, func(ctx context.Context, t *session) (workspace.ExecResult, error) {
		return s.runner.Exec(ctx, options, t.io(v.Started), func(w workspace.Workspace, dir string, pid int64) {
			s.mu.Lock()
			t.about.WorkspaceID = w.ID
			s.mu.Unlock()
			if v.Opened != nil {
				v.Opened(w, dir, pid)
			}
		}, v.Progress)
	})
	if err != nil {
		return workspace.ExecResult{}, err
	}
	return t.look(ctx, v)
}

// View looks at a terminal, by its id or the beginning of it, until it ends, with
// how it ended, or until ctx ends or the viewer leaves (ErrDetached). An empty id
// is the only terminal of the workspace.
func (s *Service) View(ctx context.Context, ref workspace.Ref, id string, v Viewer) (workspace.ExecResult, error) {
	t, err := s.find(ctx, ref, id)
	if err != nil {
		return workspace.ExecResult{}, err
	}
	return t.look(ctx, v)
}

// ErrDetached is the error of a viewer that has left.
var ErrDetached = errors.New("the viewer has left the terminal")

// Kill ends a terminal with all that runs in it.
func (s *Service) Kill(ctx context.Context, ref workspace.Ref, id string) (Terminal, error) {
	t, err := s.find(ctx, ref, id)
	if err != nil {
		return Terminal{}, err
	}
	s.mu.Lock()
	about := t.describe()
	s.mu.Unlock()
	err = s.runner.EndSession(ctx, about.WorkspaceID, idPrefix+about.ID)
	switch driver.ReasonOf(err) {
	case "", driver.NotFound, driver.Unsupported, driver.NotRunning:
		t.end(driver.Errorf(driver.Canceled, "the terminal was ended"))
	default:
		return about, err
	}
	select {
	case <-t.done:
		return about, nil
	case <-ctx.Done():
		return about, driver.AsError(context.Cause(ctx))
	}
}

func (s *Service) find(ctx context.Context, ref workspace.Ref, id string) (*session, error) {
	workspaceID := ""
	if id == "" {
		var err error
		if workspaceID, err = s.runner.ID(ref); err != nil {
			return nil, err
		}
	}
	list := s.List(ctx, workspaceID)
	list = slices.DeleteFunc(list, func(t Terminal) bool { return !strings.HasPrefix(t.ID, id) })
	switch {
	case len(list) == 0 && id == "":
		return nil, driver.Errorf(driver.NotFound, "workspace %s has no terminal", workspaceID).About(workspaceID).
			Remedy("open one", "sero", "shell")
	case len(list) == 0:
		return nil, driver.Errorf(driver.NotFound, "there is no terminal %s", id).About(id).
			Remedy("see those that are open", "sero", "terminal", "ls")
	case len(list) > 1:
		return nil, driver.Errorf(driver.InvalidArgument, "which of %d terminals is not clear", len(list)).About(id).
			Remedy("see them, and name one", "sero", "terminal", "ls")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.sessions[list[0].ID]; t != nil {
		return t, nil
	}
	return nil, driver.Errorf(driver.NotFound, "terminal %s has ended", list[0].ID).About(list[0].ID)
}
