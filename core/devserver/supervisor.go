// Package devserver runs dev servers in workspaces: it starts their commands in
// the background, finds the ports they listen on, watches that they still do,
// keeps their output, and ends them with everything they started. Servers that
// listen in a container and that it did not start are found and shown too, and
// can be stopped. In host mode it never touches a listener that is not of a
// command it started.
//
// The registry is in memory and ends with the core. Servers in containers do
// not: the next core goes on with those whose commands are kept there.
package devserver

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/core/forward"
	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/internal/brief"
	"github.com/sero-labs/sero-runtime/internal/portowner"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Runner runs commands in workspaces; *workspace.Manager is one.
type Runner interface {
	// Get describes a workspace.
	Get(ctx context.Context, ref workspace.Ref) (workspace.Workspace, error)
	// DevServerEntries are the dev servers that a workspace's sero.json names. It fails
	// when its directory does not answer.
	DevServerEntries(ctx context.Context, workspaceID string) (map[string]config.DevServer, error)
	// Below is the directory of a Ref relative to its workspace's root, "." for that
	// itself or one elsewhere.
	Below(ref workspace.Ref) string
	// Up makes a workspace ready.
	Up(ctx context.Context, options workspace.UpOptions, report func(driver.Progress)) (workspace.Workspace, error)
	// Exec runs a command until it ends or ctx does.
	Exec(ctx context.Context, options workspace.ExecOptions, stdio driver.ExecIO,
		onStarted func(w workspace.Workspace, dir string, pid int64), progress func(driver.Progress)) (workspace.ExecResult, error)
	// Listeners watches the listening sockets of a workspace that is ready.
	Listeners(ctx context.Context, workspaceID string, report func([]driver.Listener) error) error
	// Dial connects to an address as the workspace sees it.
	Dial(ctx context.Context, workspaceID, address string) (net.Conn, error)
	// Sessions lists the commands that are kept in a workspace, AttachSession goes on
	// with one, and EndSession ends one with all that descends from it.
	Sessions(ctx context.Context, workspaceID string) ([]guest.Session, error)
	AttachSession(ctx context.Context, workspaceID, execID string, skipped func(bytes int64), stdio driver.ExecIO) (workspace.ExecResult, error)
	EndSession(ctx context.Context, workspaceID, execID string) error
	// StopListeners ends the processes that listen on a port inside a container,
	// by their process groups, and says which they were.
	StopListeners(ctx context.Context, workspaceID string, port uint16, grace time.Duration) ([]driver.Listener, error)
}

// Defaults and steps of time.
const (
	DefaultWait  = 60 * time.Second // for a server to listen
	DefaultGrace = 5 * time.Second  // between SIGTERM and SIGKILL

	tick        = 500 * time.Millisecond // between looks at what time changes
	probeEvery  = 20                     // ticks between two probes of a server
	probeLimit  = time.Second            // of one probe
	settleAfter = 1500 * time.Millisecond
	daemonGrace = 3 * time.Second // for a command that ended to have left a listener
	freeLimit   = 2 * time.Second // for a port to be seen free after its process ended
)

// Options are what a Supervisor works with. Runner is required.
type Options struct {
	Runner Runner
	Events *event.Bus    // may be nil
	Log    *slog.Logger  // nil: slog.Default
	Grace  time.Duration // between SIGTERM and SIGKILL; 0: DefaultGrace
	// Known is closed once the Runner knows the workspaces that an earlier core left
	// running, and Attend was called for each; nil: they are known.
	Known <-chan struct{}
	// KnownOf is Known for one workspace alone; nil: Known holds for it, too. A nil
	// channel means that it is known.
	KnownOf func(workspaceID string) <-chan struct{}
	// Forward opens a port of this machine for a server in a container, as
	// forward.Open does; nil: such a server is reached at its sandbox's address.
	Forward func(wanted uint16, dial func(ctx context.Context) (net.Conn, error)) (*forward.Forward, error)
	// PortOwner names who holds a port of this machine; nil: portowner.Name.
	PortOwner func(ctx context.Context, port uint16) string
}

// Supervisor runs dev servers and knows them. It is safe for concurrent use.
type Supervisor struct {
	options   Options
	portOwner func(ctx context.Context, port uint16) string
	runner    Runner
	events    *event.Bus
	log       *slog.Logger
	grace     time.Duration
	born      int64
	runs      atomic.Uint64

	life context.Context // ends with Close
	end  context.CancelCauseFunc
	work sync.WaitGroup

	mu      sync.Mutex // guards what follows and the servers' state
	servers []*server  // in the order they were first started
	watches map[string]*watch
}

var errClosing = driver.Errorf(driver.Canceled, "sero is shutting down")

// New makes a Supervisor. It ends with Close.
func New(options Options) *Supervisor {
	s := &Supervisor{
		options: options, runner: options.Runner, events: options.Events, log: cmp.Or(options.Log, slog.Default()),
		grace: cmp.Or(options.Grace, DefaultGrace), born: time.Now().UnixNano(),
		watches: map[string]*watch{}, portOwner: options.PortOwner,
	}
	if s.portOwner == nil {
		s.portOwner = portowner.Name
	}
	s.life, s.end = context.WithCancelCause(context.Background())
	if s.events != nil {
		s.work.Go(s.attend)
	}
	return s
}

// Close ends every server of the host, leaves those in containers running, and
// waits until all is over.
func (s *Supervisor) Close() {
	s.mu.Lock()
	s.end(errClosing) // nothing new begins after this
	s.mu.Unlock()
	s.work.Wait()
	s.mu.Lock()
	for _, v := range s.servers {
		v.log.close()
		s.unlead(v)
	}
	s.mu.Unlock()
	s.work.Wait()
}

// knownLimit is how long a caller waits for what an earlier core left.
const knownLimit = 10 * time.Second

// AwaitKnown waits for a while until it is known what an earlier core left in a
// workspace, or with an empty id in any: until
// then there may be more servers than List gives.
func (s *Supervisor) AwaitKnown(ctx context.Context, workspaceID string) {
	known := s.options.Known
	if workspaceID != "" && s.options.KnownOf != nil {
		known = s.options.KnownOf(workspaceID)
	}
	if known == nil {
		return
	}
	timer := time.NewTimer(knownLimit)
	defer timer.Stop()
	select {
	case <-known:
	case <-timer.C: // a driver does not answer
	case <-ctx.Done():
	case <-s.life.Done():
	}
}

// List describes the servers of a workspace, or of all with an empty id,
// ordered by id, then name.
func (s *Supervisor) List(workspaceID string) []Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Server
	for _, v := range s.servers {
		if v.isKnown() && (workspaceID == "" || v.workspaceID == workspaceID) {
			list = append(list, v.snapshot())
		}
	}
	slices.SortFunc(list, func(a, b Server) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Name, b.Name)) })
	return list
}

// Get describes one server; see Ref for how it is found.
func (s *Supervisor) Get(ref Ref) (Server, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.find(ref)
	if err != nil {
		return Server{}, err
	}
	return v.snapshot(), nil
}

// Named is the server that has a name in a workspace. Names are unique there.
func (s *Supervisor) Named(workspaceID, name string) (Server, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.servers {
		if v.isKnown() && v.workspaceID == workspaceID && v.name == name {
			return v.snapshot(), true
		}
	}
	return Server{}, false
}

// Running counts the servers that run or are being started.
func (s *Supervisor) Running() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, v := range s.servers {
		if v.live() && v.parent == nil {
			n++
		}
	}
	return n
}

// Ref names a server.
type Ref struct {
	Key         string // its uid or id or, in a workspace, its name or port
	WorkspaceID string // where a name or port is looked up; empty: everywhere
}

// find gives the server that a Ref names. mu must be held.
func (s *Supervisor) find(ref Ref) (*server, error) {
	if ref.Key == "" {
		return nil, argument("dev_server", "no dev server is named").Remedy("give its name, port or id", "sero", "dev", "ls")
	}
	port, _ := strconv.ParseUint(ref.Key, 10, 16)
	var matches []*server
	for _, v := range s.servers {
		here := ref.WorkspaceID == "" || v.workspaceID == ref.WorkspaceID
		if !v.isKnown() {
			continue
		}
		if v.uid == ref.Key {
			return v, nil
		}
		if v.id() == ref.Key || here && (v.name == ref.Key || port > 0 && uint64(v.port) == port) {
			matches = append(matches, v)
		}
	}
	if alive := slices.DeleteFunc(slices.Clone(matches), func(v *server) bool { return !v.live() }); len(alive) == 1 {
		return alive[0], nil
	}
	switch len(matches) {
	case 1:
		return matches[0], nil
	case 0:
		return nil, driver.Errorf(driver.NotFound, "there is no dev server %s", shown(ref.Key)).About(shown(ref.Key)).
			Remedy("see the dev servers there are", listCommand(ref.WorkspaceID)...)
	}
	var candidates []string
	for _, v := range matches {
		candidates = append(candidates, fmt.Sprintf("%s (%s)", v.name, v.id()))
	}
	slices.Sort(candidates)
	return nil, argument("dev_server", "%s means several dev servers: %s", shown(ref.Key), strings.Join(candidates, ", ")).
		Remedy("use the name of one of them, and its workspace")
}

// listCommand is what shows the servers of a workspace, wherever it is typed.
func listCommand(workspaceID string) []string {
	command := []string{"sero", "dev", "ls"}
	if workspaceID != "" {
		command = append(command, "-w", workspaceID)
	}
	return command
}

// seek is find for a caller that can wait. It returns the server of a part.
func (s *Supervisor) seek(ctx context.Context, ref Ref) (*server, error) {
	s.mu.Lock()
	v, err := s.find(ref)
	s.mu.Unlock()
	if driver.ReasonOf(err) == driver.NotFound {
		s.AwaitKnown(ctx, ref.WorkspaceID)
		s.mu.Lock()
		v, err = s.find(ref)
		s.mu.Unlock()
	}
	if err != nil {
		return nil, err
	}
	return v.whole(), nil
}

// Logs calls report with what a server wrote: its last tail lines, all that is
// kept for 0, none of it for less, and with follow what comes after, until ctx
// ends, report fails or the server is forgotten. A reader that is too slow is told what it missed.
func (s *Supervisor) Logs(ctx context.Context, ref Ref, follow bool, tail int, report func([]byte) error) error {
	v, err := s.seek(ctx, ref)
	if err != nil {
		return err
	}
	s.mu.Lock()
	if v.found != nil && v.run == nil {
		err = driver.Errorf(driver.NotFound, "what %s writes is not known: it was found, not started by this sero", v.name).About(v.name).
			Remedy("restart it, and its output is kept from then on", "sero", "dev", "restart", "-w", v.workspaceID, v.name)
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return v.log.read(ctx, v.log.tail(tail, 0), follow, report)
}

// set changes a server's status and tells everyone. mu must be held.
func (s *Supervisor) set(v *server, status Status, message string) {
	before := v.status
	v.status, v.message = status, message
	if status != StatusRunning {
		v.probed = probed{}
		s.unlead(v)
	}
	if !v.live() {
		s.dropParts(v, v.name+" is "+status.String())
	}
	v.tail = nil
	if status == StatusFailed && v.run != nil {
		v.tail = v.log.lastLines(failureLines, v.run.logStart)
	}
	if before != status {
		text := v.name + " is " + status.String()
		switch {
		case message != "":
			text += ": " + message
		case status == StatusRunning:
			text += " at " + v.url
		}
		s.events.Publish(event.Event{Type: eventOf[status], WorkspaceID: v.workspaceID, Subject: v.id(), Name: v.name, UID: v.uid, Message: text})
	}
	v.wake()
}

// failureLines is how many lines of output a failed server shows.
const failureLines = 20

func (v *server) wake() {
	close(v.changed)
	v.changed = make(chan struct{})
}

// drop takes a server out of the registry. mu must be held.
func (s *Supervisor) drop(v *server, why string) {
	if v.removed {
		return
	}
	s.servers = slices.DeleteFunc(s.servers, func(other *server) bool { return other == v })
	v.removed = true
	s.unlead(v)
	s.dropParts(v, v.name+" is removed")
	v.log.close()
	s.events.Publish(event.Event{Type: event.DevServerRemoved, WorkspaceID: v.workspaceID, Subject: v.id(), Name: v.name, UID: v.uid, Message: v.name + " is removed: " + why})
	v.wake()
}

func argument(field, format string, args ...any) *driver.Error {
	err := driver.Errorf(driver.InvalidArgument, format, args...)
	err.Field = field
	return err
}

// shown is text from outside as a message may carry it.
func shown(s string) string { return brief.Text(s) }
