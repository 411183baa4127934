package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/internal/loopback"
	"github.com/sero-labs/sero-runtime/internal/portowner"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Workspaces are where ports lead to; *workspace.Manager is one.
type Workspaces interface {
	// Up makes a workspace ready.
	Up(ctx context.Context, options workspace.UpOptions, report func(driver.Progress)) (workspace.Workspace, error)
	// Get describes a workspace.
	Get(ctx context.Context, ref workspace.Ref) (workspace.Workspace, error)
	// Choice is the driver that a workspace is known to run in.
	Choice(id string) negotiate.Choice
	// Dial connects to an address as the workspace sees it.
	Dial(ctx context.Context, workspaceID, address string) (net.Conn, error)
}

// Wish is a port of a workspace that somebody wants on this machine.
type Wish struct {
	Port  uint16 // inside
	Local uint16 // of this machine; 0: a free one
}

// Request says which ports of which workspace are to be had here.
type Request struct {
	Workspace workspace.Ref
	Driver    string // as in workspace.UpOptions
	Wishes    []Wish
}

// Bounds of a Service.
const (
	mostWishes  = 32               // ports of one Request
	mostOpen    = 256              // ports of all of them
	addressTime = 5 * time.Second  // of one attempt to connect inside
	probeTime   = 15 * time.Second // of the look at whether connections can be made at all
)

// Service opens ports that a person asks for. It is safe for concurrent use.
type Service struct {
	workspaces Workspaces
	events     *event.Bus

	life context.Context // ends with Close
	end  context.CancelCauseFunc

	mu   sync.Mutex
	open int // ports
}

var errClosing = driver.Errorf(driver.Canceled, "sero is shutting down")

// New makes a Service; nothing listens yet.
func New(workspaces Workspaces, events *event.Bus) *Service {
	s := &Service{workspaces: workspaces, events: events}
	s.life, s.end = context.WithCancelCause(context.Background())
	return s
}

// Close ends every wait for a Set.
func (s *Service) Close() { s.end(errClosing) }

// Set is what one Request opened. It ends with Close.
type Set struct {
	WorkspaceID string
	Opened      []Wish // each with its port of this machine

	service  *Service
	forwards []*Forward
	count    int
	ready    chan struct{} // closed once WorkspaceID and addresses are known
	others   []string      // the sandbox's own addresses, for what does not listen on loopback
	notices  chan string
	close    sync.Once
}

// Open makes the workspace ready and opens its ports here, all or none: a port that
// is wanted is had or refused, never another one. Whether anything listens inside
// is asked with each connection.
//
// Errors: InvalidArgument for a bad Request, PortInUse and PermissionDenied for a
// port that cannot be had here, Unsupported where the port is on this machine
// already or nothing in the sandbox can connect, and those of Up.
func (s *Service) Open(ctx context.Context, r Request, progress func(driver.Progress)) (*Set, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	set, err := s.listen(r)
	if err != nil {
		// In host mode the server itself may hold the port.
		if w, unknown := s.workspaces.Get(ctx, r.Workspace); unknown == nil && w.Choice.HostMode && driver.ReasonOf(err) == driver.PortInUse {
			return nil, errIsHere(w, r.Wishes[0].Port)
		}
		return nil, err
	}
	w, err := s.workspaces.Up(ctx, workspace.UpOptions{Ref: r.Workspace, Driver: r.Driver}, progress)
	if err == nil && isHere(w) {
		err = errIsHere(w, r.Wishes[0].Port)
	}
	if err == nil {
		err = s.canConnect(ctx, w.ID)
	}
	if err != nil {
		set.Close()
		return nil, err
	}
	set.WorkspaceID, set.others = w.ID, w.Addresses
	close(set.ready)
	return set, nil
}

// check refuses what cannot be, before anything is done.
func (r *Request) check() error {
	if len(r.Wishes) == 0 {
		return argument("there is no port to forward")
	}
	if len(r.Wishes) > mostWishes {
		return argument("%d ports are too many, at most %d can be forwarded at a time", len(r.Wishes), mostWishes)
	}
	for i, w := range r.Wishes {
		switch {
		case w.Port == 0:
			return argument("0 is no port: one is from 1 to 65535")
		case w.Local != 0 && slices.ContainsFunc(r.Wishes[:i], func(o Wish) bool { return o.Local == w.Local }):
			return argument("port %d of this machine is wanted twice", w.Local)
		}
	}
	return nil
}

func argument(format string, args ...any) error {
	err := driver.Errorf(driver.InvalidArgument, format, args...)
	err.Field = "forwards"
	return err.Remedy("name a port, and another one of this machine after a colon if need be", "sero", "port", "forward", "5432:15432")
}

// listen takes the ports of this machine.
func (s *Service) listen(r Request) (*Set, error) {
	set := &Set{service: s, count: len(r.Wishes), ready: make(chan struct{}), notices: make(chan string, len(r.Wishes))}
	s.mu.Lock()
	if s.open+set.count > mostOpen {
		s.mu.Unlock()
		return nil, driver.Errorf(driver.Unsupported, "%d ports are forwarded already, and %d is the most", s.open, mostOpen).
			Remedy("end a forward that is not needed any more")
	}
	s.open += set.count
	s.mu.Unlock()
	for _, wish := range r.Wishes {
		listeners, err := loopback.Listen(wish.Local)
		if err != nil {
			set.Close()
			return nil, s.notHad(wish, err)
		}
		f := begin(listeners, wish.Local, set.dialer(wish.Port))
		set.forwards = append(set.forwards, f)
		set.Opened = append(set.Opened, Wish{Port: wish.Port, Local: f.Port()})
	}
	return set, nil
}

// notHad is why a port of this machine cannot be listened on.
func (s *Service) notHad(wish Wish, err error) error {
	local := strconv.Itoa(int(wish.Local))
	another := []string{"sero", "port", "forward", fmt.Sprintf("%d:%d", wish.Port, other(wish.Port))}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return driver.Errorf(driver.PortInUse, "port %s of this machine is in use by %s", local, portowner.Name(s.life, wish.Local)).About(local).
			Remedy("forward to another port of this machine", another...)
	case errors.Is(err, syscall.EACCES):
		return driver.Errorf(driver.PermissionDenied, "port %s of this machine is for the system's own programs", local).About(local).
			Remedy("forward to another port of this machine", another...)
	default:
		return driver.Errorf(driver.Internal, "port %s of this machine cannot be listened on: %w", local, err).About(local)
	}
}

// other is a port that may be free in place of one.
func other(port uint16) int {
	const above = 10000
	if p := int(port) + above; p <= 0xffff {
		return p
	}
	return int(port) - above
}

// isHere reports whether the ports of a workspace are ports of this machine.
func isHere(w workspace.Workspace) bool {
	return w.Choice.HostMode || !slices.Contains(w.Capabilities, driver.CapNetContainer)
}

func errIsHere(w workspace.Workspace, port uint16) error {
	why := "is in host mode"
	if !w.Choice.HostMode {
		why = "has the network of this machine"
	}
	return driver.Errorf(driver.Unsupported, "workspace %s %s: what listens on port %d there is on localhost:%d already", w.ID, why, port, port).About(w.ID).
		Remedy("connect to it", "sero", "port", "ls", "-w", w.ID)
}

// canConnect refuses a sandbox in which nothing can make connections for sero. It
// asks for port 0, where nothing ever listens: some servers end with their first
// connection.
func (s *Service) canConnect(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, probeTime, errSilent)
	defer cancel()
	connection, err := s.workspaces.Dial(ctx, id, "127.0.0.1:0")
	if err == nil {
		return connection.Close()
	}
	if driver.ReasonOf(err) == driver.Unsupported {
		return err
	}
	return nil
}

var errSilent = errors.New("no answer")

// dialer connects to a port inside.
func (s *Set) dialer(port uint16) func(ctx context.Context) (net.Conn, error) {
	var silent atomic.Bool // after a notice, until a connection is made
	return func(ctx context.Context) (net.Conn, error) {
		select {
		case <-s.ready:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		connection, err := s.dial(ctx, port)
		if err == nil {
			silent.Store(false)
			return connection, nil
		}
		if !silent.Swap(true) {
			select {
			case s.notices <- fmt.Sprintf("port %d of workspace %s: %s", port, s.WorkspaceID, driver.AsError(err).Message):
			default: // there are as many as ports
			}
		}
		return nil, err
	}
}

func (s *Set) dial(ctx context.Context, port uint16) (net.Conn, error) {
	var err error
	for _, host := range append([]string{"127.0.0.1", "::1"}, s.others...) {
		if s.service.workspaces.Choice(s.WorkspaceID).HostMode { // it would lead here again
			return nil, driver.Errorf(driver.NotRunning, "it is in host mode now")
		}
		bounded, cancel := context.WithTimeoutCause(ctx, addressTime, errSilent)
		var connection net.Conn
		connection, err = s.service.workspaces.Dial(bounded, s.WorkspaceID, net.JoinHostPort(host, strconv.Itoa(int(port))))
		cancel()
		if err == nil {
			return connection, nil
		}
		if driver.ReasonOf(err) != driver.NotFound {
			return nil, err
		}
	}
	return nil, driver.Errorf(driver.NotFound, "nothing accepts connections there")
}

// Wait returns when ctx ends, the Service closes, the workspace is removed or its
// ports are this machine's. It gives notices of connections that could not be made,
// one for each port until one is. A workspace that stops and starts again keeps its
// ports.
func (s *Set) Wait(ctx context.Context, notify func(string) error) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(s.service.life, func() { end(errClosing) })()
	var watching sync.WaitGroup
	defer watching.Wait()
	defer end(nil)
	watching.Go(func() {
		end(s.service.events.Watch(ctx, 0, true, func(e event.Event) error { return s.judge(ctx, e) }))
	})
	for {
		select {
		case <-ctx.Done():
			return driver.AsError(context.Cause(ctx))
		case text := <-s.notices:
			if err := notify(text); err != nil {
				return err
			}
		}
	}
}

// judge is why an event ends a Set, or nil.
func (s *Set) judge(ctx context.Context, e event.Event) error {
	switch {
	case e.WorkspaceID != s.WorkspaceID:
		return nil
	case e.Type == event.WorkspaceRemoved:
		return driver.Errorf(driver.NotFound, "workspace %s was removed", e.WorkspaceID).About(e.WorkspaceID).
			Remedy("open its directory again", "sero", "up")
	case e.Type == event.WorkspaceRunning: // perhaps in another driver
		bounded, cancel := context.WithTimeoutCause(ctx, probeTime, errSilent)
		defer cancel()
		if w, err := s.service.workspaces.Get(bounded, workspace.Ref{ID: e.WorkspaceID}); err == nil && isHere(w) {
			return errIsHere(w, s.Opened[0].Port)
		}
	}
	return nil
}

// Close frees the ports and ends what they carry. It may be called twice.
func (s *Set) Close() {
	s.close.Do(func() {
		for _, f := range s.forwards {
			f.Close()
		}
		s.service.mu.Lock()
		defer s.service.mu.Unlock()
		s.service.open -= s.count
	})
}
