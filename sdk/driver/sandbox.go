package driver

import "time"

// Labels that the core puts on every sandbox. A driver stores them and gives
// them back unchanged; it decides nothing by them but ownership.
const (
	LabelManaged       = "dev.sero.managed"        // "true" on everything sero made
	LabelDriver        = "dev.sero.driver"         // the driver's name
	LabelWorkspaceID   = "dev.sero.workspace-id"   // without the "sero-" prefix
	LabelWorkspacePath = "dev.sero.workspace-path" // on the host
	LabelInstallation  = "dev.sero.installation"   // which core's state it belongs to
	LabelSpecHash      = "dev.sero.spec-hash"      // of the whole spec
)

// Labels with the hash of one part of the spec each, so that it can be said
// which part has changed since the sandbox was made. They are short and show
// nothing of what they were made from.
const (
	LabelSpecImage     = LabelSpecHash + ".image"     // the reference; for what it led to see Sandbox.ImageDigest
	LabelSpecMounts    = LabelSpecHash + ".mounts"    // with the workspace's directory
	LabelSpecEnv       = LabelSpecHash + ".env"       // the variables' names: values come with each Exec
	LabelSpecResources = LabelSpecHash + ".resources" // limits
	LabelSpecNetwork   = LabelSpecHash + ".network"   // published ports and the like
	LabelSpecOptions   = LabelSpecHash + ".options"   // the driver's own
)

// SandboxSpec is everything that a sandbox is made from.
type SandboxSpec struct {
	ID              string // its name everywhere: "sero-" and the workspace id; "sero--" and more for one that is only tried out
	WorkspaceDir    string // the workspace's directory on the host, absolute
	Image           string // reference; ignored by drivers without images
	Mounts          []Mount
	Env             []EnvVar // for the main process and every command
	Labels          map[string]string
	Resources       Resources
	Publish         []PublishedPort
	ForwardSSHAgent bool
	Options         map[string]string // the driver's own, by its schema
	Network         Network
}

// Network is what a sandbox is connected to.
type Network int

// The networks. A driver refuses one that it does not know.
const (
	NetworkDefault  Network = iota // the engine's usual one
	NetworkIsolated                // nothing but loopback, no DNS: net.isolated@1
)

// String is "default", "isolated", or "unknown".
func (n Network) String() string {
	switch n {
	case NetworkDefault:
		return "default"
	case NetworkIsolated:
		return "isolated"
	default:
		return "unknown"
	}
}

// Mount shows a host path inside a sandbox: mount.bind@1.
type Mount struct {
	Source   string // absolute, on the host
	Target   string // absolute, in the sandbox
	ReadOnly bool   // mount.readonly@1
}

// EnvVar is one environment variable.
type EnvVar struct {
	Name   string // [A-Za-z_][A-Za-z0-9_]*
	Value  string
	Secret bool // never on a command line, in a log or in an error
}

// DefaultProcesses is how many processes and threads a sandbox may have at once in
// a driver with limits.processes@1, if its spec does not say.
const DefaultProcesses = 16384

// DefaultSharedMemory is the size of /dev/shm of a sandbox whose spec does not say,
// where the engine can be told one. A browser alone wants more than the 64 MiB that
// engines give.
const DefaultSharedMemory = 1 << 30

// Resources are limits; zero means the engine's default. A field that is added has
// omitzero: what a sandbox was made with is compared as JSON, also with what
// earlier releases wrote.
type Resources struct {
	CPUs        float64 // limits.cpu@1
	MemoryBytes int64   // limits.memory@1
	Processes   int64   `json:",omitzero"` // and threads, at once; zero means DefaultProcesses; limits.processes@1

	SharedMemoryBytes int64 `json:",omitzero"` // size of /dev/shm; zero means DefaultSharedMemory; limits.shm@1
}

// PublishedPort makes a sandbox's port reachable on the host's loopback:
// net.publish@1.
type PublishedPort struct {
	SandboxPort uint16
	HostPort    uint16 // 0: the engine's choice
}

// SandboxState is where a sandbox is in its life.
type SandboxState int

// The sandbox states. The zero value is unknown, which is never an error by
// itself: a newer driver may know more states.
const (
	SandboxUnknown SandboxState = iota
	SandboxStopped              // made or stopped
	SandboxRunning              // commands can run
	SandboxPaused               // suspended: its processes are there and do not run
	SandboxCorrupt              // listed, but neither usable nor startable
)

// String is a lower-case word such as "running".
func (s SandboxState) String() string {
	switch s {
	case SandboxStopped:
		return "stopped"
	case SandboxRunning:
		return "running"
	case SandboxPaused:
		return "paused"
	case SandboxCorrupt:
		return "corrupt"
	default:
		return "unknown"
	}
}

// Sandbox is what exists.
type Sandbox struct {
	ID           string
	Instance     string // changes whenever it is made anew
	State        SandboxState
	Labels       map[string]string
	WorkspaceDir string // where commands find the workspace: "/workspace" or the host's path
	Image        string
	ImageDigest  string   // the Digest that its Image had when it was made
	Addresses    []string // net.address@1
	Gateway      string   // the host seen from inside: net.gateway@1
	Subnets      []string // CIDR
	Publish      []PublishedPort
	Mounts       []Mount
	Created      time.Time
	Started      time.Time // zero if it never was
	Network      Network   // an isolated one has no addresses, gateway or subnets
}

// PullPolicy says when EnsureImage may use the network.
type PullPolicy int

// The pull policies.
const (
	PullMissing PullPolicy = iota // when there is no local image
	PullNever                     // ImageNotFound instead
	PullAlways
)

// Image is a local image.
type Image struct {
	Reference string // as asked for: "sero-node:latest"
	Digest    string // "sha256:…"
	SizeBytes int64
	Created   time.Time
	Labels    map[string]string
}

// BuildSpec says what image to build.
type BuildSpec struct {
	Tag        string
	ContextDir string // absolute, on the host
	Dockerfile string // relative to ContextDir; empty: Dockerfile
	Args       map[string]string
	Labels     map[string]string
	NoCache    bool
}

// Stats is one measurement. A nil field was not measured.
type Stats struct {
	CPUSeconds           *float64 // since the sandbox started
	MemoryBytes          *int64
	MemoryLimitBytes     *int64
	Processes            *int64
	NetworkReceivedBytes *int64
	NetworkSentBytes     *int64
}

// EventType is what happened to a sandbox.
type EventType int

// The event types. The zero value is unknown: look the sandbox up.
const (
	EventUnknown EventType = iota
	EventCreated
	EventStarted
	EventStopped
	EventRemoved
	EventResync // events were lost: list everything again
)

// Event is one change.
type Event struct {
	Type      EventType
	SandboxID string
	Time      time.Time
}

// Listener is one listening TCP socket of a sandbox.
type Listener struct {
	Address string // bound to: "127.0.0.1", "::"; no zone
	Port    uint16
	PID     int64  // 0: not known
	Command string // of that process, shortened
	ExecID  string // the Exec it descends from; empty: not known
}
