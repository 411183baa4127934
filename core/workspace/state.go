package workspace

import (
	"time"

	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// State is where a workspace is in its life.
type State int

// The states. The zero value is unknown: a driver did not answer, see
// Workspace.StateMessage.
const (
	StateUnknown          State = iota
	StateStopped                // nothing runs; the next action makes it ready
	StateStarting               // being made ready
	StateRunning                // ready; commands run
	StateStopping               // being stopped
	StateBroken                 // the next action makes the sandbox anew
	StateDirectoryMissing       // the directory is gone
	StatePaused                 // suspended; the next action lets what ran go on
)

// String is a lower-case word such as "running" or "directory-missing".
func (s State) String() string {
	switch s {
	case StateStopped:
		return "stopped"
	case StateStarting:
		return "starting"
	case StateRunning:
		return "running"
	case StateStopping:
		return "stopping"
	case StateBroken:
		return "broken"
	case StateDirectoryMissing:
		return "directory-missing"
	case StatePaused:
		return "paused"
	case StateUnknown:
		return "unknown"
	default:
		return "unknown"
	}
}

// Workspace is a workspace as it was at one moment.
type Workspace struct {
	ID           string
	Directory    string // on the host, absolute, symlinks resolved
	State        State
	StateMessage string           // one line on the state, if it needs one
	Choice       negotiate.Choice // the driver in use or, before the first use, what is wished for
	SandboxID    string           // as the runtime knows it
	SandboxDir   string           // where commands find the files; empty until it was ready
	Image        string
	Addresses    []string            // of the sandbox
	Guest        string              // one line: how commands get into the sandbox; empty: not known yet, or the host
	User         string              // who commands run as by default; empty: the sandbox's own user, or not known yet
	Capabilities []driver.Capability // of the driver in use
	Warnings     []string            // about its configuration, each one line
	Created      time.Time
	Commands     int     // running in it
	Drift        []Drift // what of the sandbox is not as it would be made now; only Get and Up look

	// FirstOnHost reports whether this is the first answer about a new workspace
	// that runs on the host. Only Up and Exec say it.
	FirstOnHost bool

	sandbox *driver.Sandbox // as its driver described it; nil: it did not
	silent  bool            // its directory does not answer
}

// stateOf is the state that a sandbox gives its workspace.
func stateOf(s driver.SandboxState) State {
	switch s {
	case driver.SandboxRunning:
		return StateRunning
	case driver.SandboxStopped:
		return StateStopped
	case driver.SandboxPaused:
		return StatePaused
	case driver.SandboxCorrupt:
		return StateBroken
	case driver.SandboxUnknown:
		return StateUnknown
	default:
		return StateUnknown
	}
}

// snapshot is what the Manager knows without asking a driver.
func (e *entry) snapshot() Workspace {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := Workspace{
		ID: e.id, Directory: e.directory, Created: e.created, SandboxID: SandboxID(e.id),
		State: e.phase, Choice: e.choice, Warnings: e.warnings, Drift: e.drift, Commands: len(e.commands), Guest: e.guestStatus(),
	}
	if w.Choice.Desired == "" {
		w.Choice.Desired = e.wish
		if w.Choice.Desired == "" {
			w.Choice.Desired = wishAuto
		}
	}
	if w.Choice.Actual == "" && e.last.Driver != "" {
		w.Choice.Actual, w.Choice.HostMode, w.Choice.Reason = e.last.Driver, e.last.HostMode, "it was used last"
		if e.last.HostMode {
			w.Choice.Isolation = driver.IsolationNone
		}
	}
	if e.failure != nil {
		w.StateMessage = driver.AsError(e.failure).Error()
	}
	if e.current != nil {
		w.describe(e.current.state)
		w.Choice, w.Capabilities, w.User = e.current.choice, e.current.caps, e.current.user.String()
	}
	return w
}

// describe takes over what the driver tells of the sandbox.
func (w *Workspace) describe(s driver.Sandbox) {
	w.SandboxDir, w.Image, w.Addresses = s.WorkspaceDir, s.Image, s.Addresses
}
