// Package workspace opens directories as workspaces: it gives them ids, makes
// their sandboxes when something first needs them, runs commands in them, and
// takes the sandboxes away. Files in a workspace are never touched.
//
// What runs is known by asking drivers; all that is kept is which directories
// were opened, under which ids.
package workspace

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/environ"
	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/core/trust"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Defaults of Options.
const (
	DefaultEnsureTimeout = 15 * time.Minute // an image may have to be pulled
	DefaultCallTimeout   = time.Minute      // of one call to a driver
	DefaultListTimeout   = time.Second      // of asking a driver what runs
	DefaultStopGrace     = 10 * time.Second // before processes are killed
	DefaultLookPatience  = 10 * time.Second // for a directory's answer; a disk that sleeps takes most of it
)

// Options are what a Manager works with. The zero value of the others has a
// default; Drivers and Chooser are required.
type Options struct {
	StateDir     string // records are kept in workspaces below it
	Installation string // whose sandboxes are ours: the label's value
	Drivers      Drivers
	Chooser      Chooser
	Images       Images // nil: the driver alone makes images available
	// Lasting names the drivers whose sandboxes may outlive them. They are asked
	// for sandboxes of ours whose records are lost. May be nil.
	Lasting func() []string
	Machine config.Machine
	Events  *event.Bus   // may be nil
	Log     *slog.Logger // nil: slog.Default

	Private       []string // sero's own directories, which no sandbox may see
	GuestDir      string   // where the guest helper is written to; empty: sandboxes get none
	UserHome      string   // refused as a workspace; empty: the user's home directory
	Shell         string   // login shell in host mode; empty: $SHELL, else /bin/sh
	EnsureTimeout time.Duration
	CallTimeout   time.Duration
	ListTimeout   time.Duration
	LookPatience  time.Duration
}

// DevServers is who runs dev servers in workspaces. They are ended before a
// sandbox is.
type DevServers interface {
	// StopWorkspace ends those of a workspace and says what it ended.
	StopWorkspace(ctx context.Context, id string) ([]string, error)
	// SuspendWorkspace ends them as StopWorkspace does; resume starts them again,
	// without waiting until they listen, and says which it started.
	SuspendWorkspace(ctx context.Context, id string) (ended []string, resume func(context.Context) ([]string, error), err error)
	// Commands are the exec ids of the commands that dev servers of a workspace
	// run as.
	Commands(id string) []string
	// ForgetWorkspace drops what is known of them.
	ForgetWorkspace(id string)
}

// Manager knows the workspaces. It is safe for concurrent use.
type Manager struct {
	options  Options
	log      *slog.Logger
	trust    *trust.Store
	userHome string
	helperAt atomic.Pointer[driver.Mount] // of the guest helper, once it was written
	notices  []string
	born     int64 // keeps exec ids of different daemons apart
	execs    atomic.Uint64

	life context.Context // ends with Close
	end  context.CancelCauseFunc
	work sync.WaitGroup
	door sync.Mutex // orders the begin of work and its end by Close

	adoption adoption
	looks    *looks

	store   *store
	writing sync.Mutex // orders the changes of records and their files; mu is taken after it, and never held for a file

	mu         sync.Mutex // guards what follows
	byID       map[string]*entry
	byDir      map[string]*entry
	foreign    map[string]bool // ids that another sero's sandboxes have
	devServers DevServers
	egress     Egress
}

// entry is one known workspace.
type entry struct {
	id        string
	directory string
	created   time.Time
	turn      chan struct{} // holds one token; whoever takes it may change the sandbox
	looks     *looks        // the manager's
	file      config.Reader // of the directory: see config
	named     bool          // a person chose the id

	mu          sync.Mutex // guards what follows
	wish        string     // the driver asked for with up, kept
	last        lastUse
	before      []string // drivers in which a sandbox that isolates was made, the newest last
	attached    []attached
	current     *sandbox // nil: not known to be ready
	choice      negotiate.Choice
	phase       State // StateStarting or StateStopping while that goes on
	failure     error // of the last attempt to make it ready
	flight      *flight
	newHost     bool                               // new, and on the host: the first command's caller has to hear of it
	commands    map[string]context.CancelCauseFunc // running, by exec id
	removed     bool
	stops       int // how often it was stopped
	warnings    []string
	drift       []Drift      // of the sandbox, when it was last made ready
	inside      *guest.Guest // works in the sandbox; nil: not made yet
	insideOf    string       // the instance that it works in
	imagePath   string       // PATH of the sandbox imagePathOf
	imagePathOf string
	rejoined    chan struct{} // closed once it is known what an earlier core left; nil: it is known
}

// sandbox is one that was ready when last looked at.
type sandbox struct {
	choice  negotiate.Choice
	state   driver.Sandbox
	caps    []driver.Capability
	user    environ.User // who commands run as; the zero value: the sandbox's own user
	looked  bool         // user is known
	exposes exposed      // nil: not known
}

// errClosed ends everything when the Manager closes.
var errClosed = driver.Errorf(driver.Canceled, "sero is shutting down")

// NewManager reads the known workspaces. Broken records are put aside; see
// Notices. It fails when the state directory cannot be used.
func NewManager(options Options) (*Manager, error) {
	options.EnsureTimeout = cmp.Or(options.EnsureTimeout, DefaultEnsureTimeout)
	options.CallTimeout = cmp.Or(options.CallTimeout, DefaultCallTimeout)
	options.ListTimeout = cmp.Or(options.ListTimeout, DefaultListTimeout)
	options.LookPatience = cmp.Or(options.LookPatience, DefaultLookPatience)
	log := cmp.Or(options.Log, slog.Default())
	m := &Manager{
		options:  options,
		log:      log,
		trust:    trust.Open(options.StateDir, func(problem string) { log.Warn("trust", "problem", problem) }),
		userHome: homeDirectory(options.UserHome),
		looks:    newLooks(options.LookPatience),
		born:     time.Now().UnixNano(),
		byID:     map[string]*entry{},
		byDir:    map[string]*entry{},
		foreign:  map[string]bool{},
	}
	st, records, err := openStore(filepath.Join(options.StateDir, recordsDir))
	if err != nil {
		return nil, err
	}
	m.store, m.notices = st, st.notices
	for _, notice := range m.notices {
		m.log.Warn("a workspace record was left out", "notice", notice)
	}
	for _, r := range records {
		if e := m.know(r); e.mayStillRun() {
			e.rejoined = make(chan struct{})
		}
	}
	m.life, m.end = context.WithCancelCause(context.Background())
	return m, nil
}

// homeDirectory is the directory that is refused as a workspace, with symlinks
// resolved as they are in workspaces' directories.
func homeDirectory(dir string) string {
	if dir == "" {
		dir, _ = os.UserHomeDir()
	}
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		return resolved
	}
	return filepath.Clean(dir)
}

// Notices are lines about records that were left out when the Manager started.
func (m *Manager) Notices() []string { return slices.Clone(m.notices) }

// SetDevServers says who runs dev servers. It is called once, before use.
func (m *Manager) SetDevServers(d DevServers) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.devServers = d
}

// Close ends what the Manager does and waits for it. Sandboxes are left as they
// are: those of the host end with their driver, containers go on.
func (m *Manager) Close() {
	m.door.Lock()
	m.end(errClosed)
	m.door.Unlock()
	for _, e := range m.entries() {
		e.endCommands(errClosed)
	}
	m.closeGuests()
	m.work.Wait()
}

// begin runs f on its own, unless the Manager is closing.
func (m *Manager) begin(f func()) bool {
	m.door.Lock()
	defer m.door.Unlock()
	if m.life.Err() != nil {
		return false
	}
	m.work.Go(f)
	return true
}

// Running counts the workspaces that were made ready and not stopped, and the
// commands that run in workspaces.
func (m *Manager) Running() (workspaces, commands int) {
	for _, e := range m.entries() {
		e.mu.Lock()
		if e.current != nil || e.phase != StateUnknown {
			workspaces++
		}
		commands += len(e.commands)
		e.mu.Unlock()
	}
	return workspaces, commands
}

// ID is the id of the known workspace that a Ref leads to, or NotFound.
func (m *Manager) ID(ref Ref) (string, error) {
	e, _, err := m.find(ref)
	if err != nil {
		return "", err
	}
	return e.id, nil
}

// entries are the known workspaces, ordered by id.
func (m *Manager) entries() []*entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	entries := make([]*entry, 0, len(m.byID))
	for _, e := range m.byID {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b *entry) int { return cmp.Compare(a.id, b.id) })
	return entries
}

// know adds a record's workspace. mu must be held, or the Manager be new.
func (m *Manager) know(r record) *entry {
	e := &entry{
		id: r.ID, directory: r.Directory, looks: m.looks, created: r.Created, wish: r.Driver, last: r.Last, before: r.Before, attached: r.Mounts,
		turn: make(chan struct{}, 1), commands: map[string]context.CancelCauseFunc{},
	}
	m.byID[e.id], m.byDir[e.directory] = e, e
	return e
}

// add makes a directory a known workspace, or finds that it has just become one.
func (m *Manager) add(root, newID string) (*entry, error) {
	read, err := loadChecked(m.looks, root)
	if err != nil {
		return nil, err
	}
	m.writing.Lock()
	defer m.writing.Unlock()
	e, id, err := m.place(root, newID, read.file.ID)
	if e != nil || err != nil {
		return e, err
	}
	r := record{ID: id, Directory: root, Created: time.Now().UTC().Truncate(time.Millisecond)}
	if err := m.store.save(r); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e = m.know(r)
	e.named = newID != "" || read.file.ID != ""
	return e, nil
}

// place finds the workspace of a directory, or the id for a new one: newID, else
// the file's, else one made from the directory's name.
func (m *Manager) place(root, newID, fileID string) (e *entry, id string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.byDir[root]; e != nil {
		if newID != "" && newID != e.id {
			return nil, "", errOtherID(e, newID)
		}
		return e, "", nil
	}
	id = cmp.Or(newID, fileID)
	if id != "" {
		if taken := m.byID[id]; taken != nil {
			return nil, "", driver.Errorf(driver.AlreadyExists, "the id %s belongs to the workspace in %s", id, shown(taken.directory)).About(id).
				Remedy("choose another id", "sero", "up", "--id", idFromPath(id, root), root).
				Remedy("remove the other workspace, which keeps its files", "sero", "rm", "-w", id)
		}
	} else if id, err = m.freeID(root); err != nil {
		return nil, "", err
	}
	if taken := m.byID[id]; taken != nil { // two paths with one hash
		return nil, "", driver.Errorf(driver.AlreadyExists, "the id %s belongs to the workspace in %s", id, shown(taken.directory)).About(id).
			Remedy("give the workspace an id", "sero", "up", "--id", "another-id", root)
	}
	return nil, id, nil
}

// keep writes an entry's record when what lasts has changed.
func (m *Manager) keep(e *entry, wish string, last lastUse) error {
	e.mu.Lock()
	same := e.wish == wish && e.last == last
	e.mu.Unlock()
	if same {
		return nil
	}
	return m.rewrite(e, func(r *record) {
		if was := r.Last; was.Driver != "" && !was.HostMode && was.Driver != last.Driver {
			r.Before = newestLast(r.Before, was.Driver)
		}
		r.Driver, r.Last = wish, last
	})
}

// rewrite changes an entry's record, in its file first. It does nothing for one that
// was removed meanwhile.
func (m *Manager) rewrite(e *entry, change func(*record)) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	if m.named(e.id) != e {
		return nil
	}
	e.mu.Lock()
	r := e.record()
	e.mu.Unlock()
	change(&r) // of what only those change who hold m.writing
	if err := m.store.save(r); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wish, e.last, e.before, e.attached = r.Driver, r.Last, r.Before, r.Mounts
	return nil
}

func (m *Manager) publish(t event.Type, id, format string, args ...any) {
	m.options.Events.Publish(event.Event{Type: t, WorkspaceID: id, Message: fmt.Sprintf(format, args...)})
}

// noteIsolated keeps that a sandbox that isolates is about to be made in a driver.
// It is kept before the sandbox is there, so that no crash forgets it.
func (m *Manager) noteIsolated(e *entry, name string) error {
	e.mu.Lock()
	known := e.livesIn() == name
	e.mu.Unlock()
	if known {
		return nil
	}
	return m.rewrite(e, func(r *record) { r.Before = newestLast(r.Before, name) })
}

// newestLast is a list of drivers with one more, which comes last.
func newestLast(names []string, name string) []string {
	return append(slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s == name }), name)
}

// livesIn is the driver of the newest sandbox that isolates, or empty if there
// never was one. e.mu must be held.
func (e *entry) livesIn() string {
	switch {
	case e.last.Driver != "" && !e.last.HostMode:
		return e.last.Driver
	case len(e.before) > 0:
		return e.before[len(e.before)-1]
	default:
		return ""
	}
}

// take waits for the right to change a workspace's sandbox. The caller gives it
// back with leave.
func (e *entry) take(ctx context.Context) error {
	select {
	case e.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return driver.AsError(context.Cause(ctx))
	}
}

func (e *entry) leave() { <-e.turn }

func (e *entry) endCommands(cause error) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, end := range e.commands {
		end(cause)
	}
	return len(e.commands)
}
