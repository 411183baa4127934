package devserver

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/core/forward"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// The parts of an id where none are given.
const (
	DefaultScope  = "workspace"
	DefaultCardID = "root"
)

// Status is where a dev server is in its life.
type Status int

// The statuses.
const (
	StatusStarting Status = iota + 1 // its command runs and does not listen yet
	StatusRunning                    // it listens
	StatusStopped                    // it listened and does not any more, was stopped, or ended with code 0 before it listened
	StatusFailed                     // its command failed before it was seen to listen
)

// String is a lower-case word such as "running".
func (s Status) String() string {
	switch s {
	case StatusStarting:
		return "starting"
	case StatusRunning:
		return "running"
	case StatusStopped:
		return "stopped"
	case StatusFailed:
		return "failed"
	default:
		return "unknown"
	}
}

// Spec says what to run as a dev server.
type Spec struct {
	Workspace workspace.Ref
	Command   []string // never empty
	ByName    bool     // Command may be the name of an entry of devServers in sero.json
	Name      string   // empty: guessed from Command
	Scope     string   // empty: DefaultScope
	CardID    string   // empty: DefaultCardID
	Port      uint16   // given to it as PORT; 0: found
	Dir       string   // relative to the workspace; empty: Workspace's Dir if that is below it, else its root
	Env       []driver.EnvVar
	Caller    []driver.EnvVar // of the caller's environment, as in workspace.ExecOptions
	Driver    string          // as in workspace.UpOptions, for this once

	uid string // that it had for an earlier core
}

// Server is a dev server as it was at one moment.
type Server struct {
	ID            string // "workspaceId:scope:cardId:port", port 0 until it is known
	UID           string // never changes and is never another server's
	WorkspaceID   string
	Scope         string
	CardID        string
	Port          uint16 // 0 until it is known
	Name          string
	Command       []string
	Dir           string   // relative to the workspace
	URL           string   // empty until the port is known
	Protocol      Protocol // what it speaks there; empty until the port is known
	Addresses     []string // "127.0.0.1:5173", as the workspace itself can dial them, best first
	Status        Status
	StatusMessage string    // why it stopped or failed
	PID           int64     // of the process that listens, 0 if not known
	Started       time.Time // when its command was last started
	LogTail       []string  // the last lines, when its command ended before it was seen to listen
	Detected      bool      // it was found, not started by this core
	Forgotten     bool      // its record has ended
	ParentUID     string    // of the server whose command listens on this port, too; empty: its own
}

// server is one entry of the registry. What is below turn is guarded by the
// Supervisor's mu.
type server struct {
	uid         string // never changes
	workspaceID string
	scope       string
	card        string
	name        string
	command     []string
	dir         string // clean, "." for the workspace's root
	requested   uint16
	env         []driver.EnvVar
	caller      []driver.EnvVar
	driver      string
	log         outputLog
	turn        chan struct{} // holds one token; whoever takes it may start or stop it
	parent      *server       // of a part; nil for a server with a command of its own

	place    workspace.Workspace // as it was when the command was started
	port     uint16
	url      string
	address  string
	dials    []string
	protocol Protocol
	probed   probed           // of what protocol is known
	probing  chan struct{}    // closed when the protocol is known; nil: it is not being found out
	literal  bool             // localhost may lead to another program on its port
	forward  *forward.Forward // the port of this machine that leads to it; nil: none
	leadsTo  uint16           // the port that forward leads to
	hostPort uint16           // that forward has, or had last
	holder   string           // who holds the port that forward was to have
	status   Status
	message  string
	pid      int64
	started  time.Time
	tail     []string
	run      *run     // the latest; nil before the first
	found    *finding // how it was found; nil for one that was started
	ran      bool     // it was started at least once
	hearsay  bool     // its command is what a sandbox says of it
	removed  bool

	asksHolder bool          // holder is being found out
	failure    error         // why it could not be started at all
	changed    chan struct{} // closed at the next change
}

// isKnown reports whether a server is shown: one that was found is, once it is known
// what it speaks. mu must be held.
func (v *server) isKnown() bool { return v.status != 0 }

func (v *server) id() string {
	return fmt.Sprintf("%s:%s:%s:%d", v.workspaceID, v.scope, v.card, v.port)
}

func (v *server) snapshot() Server {
	dir := v.dir
	if dir == "." {
		dir = ""
	}
	parent := ""
	if v.parent != nil {
		parent = v.parent.uid
	}
	return Server{
		ID: v.id(), UID: v.uid, WorkspaceID: v.workspaceID, Scope: v.scope, CardID: v.card, Port: v.port, Name: v.name,
		Command: slices.Clone(v.command), Dir: dir, URL: v.url, Protocol: v.protocol, Status: v.status, StatusMessage: v.message,
		PID: v.pid, Started: v.started, LogTail: slices.Clone(v.tail), Addresses: slices.Clone(v.dials),
		Detected: v.detected(), Forgotten: v.removed, ParentUID: parent,
	}
}

func (v *server) detected() bool {
	w := v.whole()
	return w.found != nil || w.run != nil && w.run.takenUp
}

// live tells whether something of the server may still run.
func (v *server) live() bool {
	if v.found != nil || v.parent != nil {
		return v.status == StatusRunning
	}
	return v.run != nil && !v.run.settled
}

// same tells whether a spec asks for this server.
func (v *server) same(s *Spec) bool {
	if v.parent != nil || v.scope != s.Scope || v.card != s.CardID || v.dir != s.Dir || !slices.Equal(v.command, s.Command) {
		return false
	}
	// The same command on another port is another server.
	return s.Port == 0 || v.requested == s.Port || v.requested == 0 && (v.port == 0 || v.port == s.Port)
}

// isFound tells whether a spec asks for this server by its own name, and it was
// found, or runs with a command that is not known.
func (v *server) isFound(s *Spec) bool {
	sure := v.found != nil && v.found.sure || v.found == nil && v.parent == nil && v.live() && len(v.command) == 0
	return sure && s.Name != "" && v.name == s.Name
}

var eventOf = map[Status]event.Type{
	StatusStarting: event.DevServerStarting,
	StatusRunning:  event.DevServerRunning,
	StatusStopped:  event.DevServerStopped,
	StatusFailed:   event.DevServerFailed,
}

// check fills in the defaults of a spec and refuses what cannot be.
func (s *Spec) check() error {
	if s.Scope == "" {
		s.Scope = DefaultScope
	}
	if s.CardID == "" {
		s.CardID = DefaultCardID
	}
	for field, part := range map[string]string{"scope": s.Scope, "card_id": s.CardID} {
		if !validPart(part) {
			return argument(field, "%s is not allowed as a %s: use printable characters but colons, at most %d", shown(part), field, maxPart).
				Remedy("use letters, digits and hyphens")
		}
	}
	if s.Name != "" && (!validName().MatchString(s.Name) || onlyDigit().MatchString(s.Name)) {
		return argument("name", "%s is not allowed as a name: use lower-case letters, digits and inner hyphens, not digits alone, at most %d", shown(s.Name), maxName).
			Remedy("use a name such as web")
	}
	if len(s.Command) == 0 || s.Command[0] == "" {
		return argument("command", "there is no command to run").Remedy("name one", "sero", "run", "--", "npm", "run", "dev")
	}
	if s.Dir == "" {
		s.Dir = "."
	}
	if !filepath.IsLocal(s.Dir) {
		return argument("dir", "%s is not a path below the workspace", shown(s.Dir)).Remedy("give a relative path without ..")
	}
	s.Dir = filepath.Clean(s.Dir)
	return workspace.ExecOptions{Argv: s.Command, Env: s.Env, Caller: s.Caller, Dir: s.Dir, Driver: s.Driver}.Check()
}

const maxPart = 64

func validPart(s string) bool {
	if s == "" || len(s) > maxPart || strings.Contains(s, ":") {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
