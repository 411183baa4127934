// Package driver is the vocabulary between sero's core and its drivers: what a
// driver is, what it makes, and how it fails. Its comments are the
// specification; the conformance suite (package conformance) holds a driver to
// them sentence by sentence.
//
// # The life of a sandbox
//
// A driver turns one kind of runtime into sandboxes. The core calls Create with
// a [SandboxSpec]; the result is stopped. Start makes it run, and only then can
// [Driver.Exec] run commands in it. Stop ends everything in it and keeps its
// files; Remove takes it away and never touches the workspace's own files. Get
// and List tell what exists: the runtime is the source of truth, and the core
// keeps no second list of it.
//
// Create, Start, Stop and Remove are idempotent: asking for what is already
// true succeeds. All methods may be called at any time, concurrently, for the
// same sandbox too; the driver orders them per sandbox and never lets one
// sandbox wait for another.
//
// # Optional parts
//
// [Driver] is what every driver has. Everything else is a small interface of
// its own ([SystemStarter], [ImageEnsurer], [Copier] and so on), and a driver
// has the capability when it has the methods: [Capabilities] computes the list.
// What no method can show (a read-only mount that really is read-only, a limit
// that really limits) is declared in [Info.Facts].
//
// A caller asks with the function named after the part ([CopierOf],
// [StatsReaderOf] and so on), never with a type assertion: the stand-in for a
// driver in another process has every method.
//
// # Contexts
//
// A ctx that ends makes the call return soon, with an error. For the calls that
// change something the sandbox is then in either state, and Get tells which.
package driver

import (
	"context"
	"io"
	"time"
)

// Driver is what every driver implements.
type Driver interface {
	// Info says what the driver is. It is constant for a binary on a platform,
	// answers at once and touches no engine.
	Info() Info

	// Health calls report with the runtime's state: at once, even with no
	// engine, then whenever it changes, until ctx ends or report fails; it
	// returns that error. Being unhealthy says nothing about sandboxes.
	Health(ctx context.Context, report func(Health) error) error

	// Create makes a stopped sandbox. The same spec again returns the existing
	// one (two specs are the same when id and labels are equal, for the labels
	// carry the spec's hash). Another spec under the same id is AlreadyExists.
	// A sandbox of that name that is not sero's is ForeignResource. A mount
	// source that is missing is MountDenied; it is never created.
	Create(ctx context.Context, spec SandboxSpec) (Sandbox, error)

	// Start makes a sandbox run; in a paused one what ran goes on. Starting a
	// running one succeeds. NotFound for an absent one, Corrupt for one that can
	// never start again: the core then removes it. A failure whose cause is not
	// known is Internal, and keeps it.
	Start(ctx context.Context, id string) (Sandbox, error)

	// Stop asks everything in the sandbox to exit and waits until it has,
	// killing what is left once grace has passed. Its files stay. Stopping a
	// stopped one succeeds, and so does stopping a paused one; NotFound for an
	// absent one.
	Stop(ctx context.Context, id string, grace time.Duration) error

	// Remove takes the sandbox away. Removing an absent one succeeds. A running
	// one is NotStopped, unless force is set; force also removes a corrupt one.
	Remove(ctx context.Context, id string, force bool) error

	// Get describes one sandbox, or NotFound.
	Get(ctx context.Context, id string) (Sandbox, error)

	// List describes every sandbox that carries all the given labels, ordered
	// by id, in whatever state and whoever made it.
	List(ctx context.Context, labels map[string]string) ([]Sandbox, error)

	// Exec runs one command and returns when it has ended and all of its output
	// is written. See [ExecSpec] and [ExecIO] for the rules.
	Exec(ctx context.Context, spec ExecSpec, stdio ExecIO) (ExitStatus, error)
}

// Configurer is a driver with settings. A driver without it accepts no setting.
type Configurer interface {
	// Schema is a JSON Schema of the settings object.
	Schema() string
	// Configure checks settings (a JSON object, or nil for none) and, unless
	// validateOnly is set, applies them. ConfigInvalid names the field. The
	// same settings twice is a no-op.
	Configure(ctx context.Context, settings []byte, validateOnly bool) error
}

// Shutdowner is a driver with something to end before its process does. A
// driver without it just ends.
type Shutdowner interface {
	// Shutdown ends what cannot outlive the process, within ctx's deadline. It
	// is called once, also when the core has vanished.
	Shutdown(ctx context.Context) error
}

// SystemStarter starts an engine that is installed but stopped:
// capability system.start@1.
type SystemStarter interface {
	// StartSystem returns once the engine answers. It never asks the user
	// anything. Concurrent calls join; a running engine is success at once.
	StartSystem(ctx context.Context, report func(Progress)) error
}

// SystemStopper stops a whole engine: capability system.stop@1. One that is a
// service of the machine, which its administrator restarts, has no such driver.
type SystemStopper interface {
	// StopSystem stops the engine and with it everything that runs there, other
	// people's containers too; it is called only when a person has asked for it.
	// Files stay. It returns once Health would say stopped. Concurrent calls
	// join; a stopped engine is success. A StartSystem that comes meanwhile
	// waits for it.
	StopSystem(ctx context.Context, report func(Progress)) error
}

// ImageEnsurer makes images available locally: capability image.pull@1.
type ImageEnsurer interface {
	// EnsureImage returns the local image, pulling it if policy allows.
	// ImageNotFound if there is none.
	EnsureImage(ctx context.Context, reference string, policy PullPolicy, report func(Progress)) (Image, error)
}

// ImageBuilder builds images: capability image.build@1.
type ImageBuilder interface {
	// BuildImage builds and tags an image. ImageBuildFailed carries the last lines.
	BuildImage(ctx context.Context, spec BuildSpec, report func(Progress)) (Image, error)
}

// ImageRemover removes local images: capability image.remove@1.
type ImageRemover interface {
	// RemoveImage removes an image; an absent one is success. ImageInUse when a
	// sandbox needs it and force is not set.
	RemoveImage(ctx context.Context, reference string, force bool) error
}

// ImageLister lists local images: capability image.list@1.
type ImageLister interface {
	// ListImages lists images that carry all the given labels, ordered by
	// reference. One that has lost its name to a newer one is listed with its
	// digest as reference, and RemoveImage takes that.
	ListImages(ctx context.Context, labels map[string]string) ([]Image, error)
}

// Copier moves files as tar streams: capability files.copy@1.
type Copier interface {
	// CopyIn unpacks the tar stream below an existing directory. NotFound if
	// there is none; nothing is left half-written when the stream breaks
	// between files.
	CopyIn(ctx context.Context, id, directory string, tar io.Reader) error
	// CopyOut packs one path. NotFound if there is none.
	CopyOut(ctx context.Context, id, path string, tar io.Writer) error
}

// StatsReader measures a sandbox: capability stats@1.
type StatsReader interface {
	// Stats reports every interval until ctx ends or report fails; with a zero
	// interval it reports once and returns nil.
	Stats(ctx context.Context, id string, interval time.Duration, report func(Stats) error) error
}

// LogReader reads the output of a sandbox's main process: capability logs@1.
type LogReader interface {
	// Logs writes the last tailLines lines (0: all) and, with follow, what
	// comes after, until ctx ends or the sandbox is removed.
	Logs(ctx context.Context, id string, follow bool, tailLines int, out io.Writer) error
}

// EventWatcher tells of changes: capability events@1.
type EventWatcher interface {
	// Events calls report for each change of a sandbox, in order for each of
	// them, until ctx ends or report fails. Changes made by others count.
	Events(ctx context.Context, report func(Event) error) error
}

// ListenerWatcher tells which TCP sockets of a sandbox listen: capability
// net.listeners@1.
type ListenerWatcher interface {
	// Listeners calls report with the whole set at once, and with the whole set
	// again after each change, until ctx ends or report fails. A socket of a
	// process that was not started in the sandbox is never in it.
	Listeners(ctx context.Context, id string, report func([]Listener) error) error
}

// Isolation is the class of separation from the host, ordered: automatic choice
// takes the strongest that is healthy.
type Isolation int

// The isolation classes.
const (
	IsolationNone         Isolation = iota + 1 // commands run as the user, on the host
	IsolationSharedKernel                      // a container on the host's kernel
	IsolationVM                                // a virtual machine
)

// String is "none", "shared-kernel", "vm", or "unknown".
func (i Isolation) String() string {
	switch i {
	case IsolationNone:
		return "none"
	case IsolationSharedKernel:
		return "shared-kernel"
	case IsolationVM:
		return "vm"
	default:
		return "unknown"
	}
}

// Info says what a driver is.
type Info struct {
	Name           string       // ^[a-z][a-z0-9-]{0,31}$, as in the binary's name
	Version        string       // semantic version of the driver
	Description    string       // one line for people
	HostConstraint string       // demand on the core's version, go-version syntax; empty: any
	Isolation      Isolation    // what separates its sandboxes from the host
	Platforms      []string     // GOOS/GOARCH pairs; empty: any
	Facts          []Capability // declared capabilities that no interface shows
}

// Health is one report on the runtime.
type Health struct {
	State      HealthState
	Reason     Reason            // what a call would fail with, unless ready
	Message    string            // one line for people
	Remedies   []Remedy          // unless ready
	Attributes map[string]string // facts such as engine.version
}

// HealthState says whether the runtime can be used now.
type HealthState int

// The health states. The zero value is unknown.
const (
	HealthUnknown      HealthState = iota
	HealthReady                    // sandboxes can be made and used
	HealthStopped                  // installed; StartSystem may bring it up
	HealthNotInstalled             // the engine is not on this machine
	HealthUnsupported              // never on this platform
	HealthWedged                   // there, and does not answer
	HealthUnhealthy                // anything else
)

// String is a lower-case word such as "ready" or "not-installed".
func (s HealthState) String() string {
	switch s {
	case HealthReady:
		return "ready"
	case HealthStopped:
		return "stopped"
	case HealthNotInstalled:
		return "not-installed"
	case HealthUnsupported:
		return "unsupported"
	case HealthWedged:
		return "wedged"
	case HealthUnhealthy:
		return "unhealthy"
	default:
		return "unknown"
	}
}

// Progress is one step of a long operation.
type Progress struct {
	Phase   string // a short word: "pull", "build", "start"
	Message string // one line for people
	Current int64  // of Total, in Unit
	Total   int64  // 0: not known
	Unit    string // "bytes", "steps" or empty
}
