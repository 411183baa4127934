package driver

import "slices"

// Capability is something that a driver can do, named area.feature@N; vendors
// name theirs x-<domain>/name@N. A name that is not known is kept and shown.
type Capability string

// The capabilities.
const (
	CapExec         Capability = "exec@1" // required of every driver
	CapExecTTY      Capability = "exec.tty@1"
	CapExecSignal   Capability = "exec.signal@1"
	CapExecUser     Capability = "exec.user@1"
	CapCopy         Capability = "files.copy@1"
	CapSystemStart  Capability = "system.start@1"
	CapSystemStop   Capability = "system.stop@1"
	CapImagePull    Capability = "image.pull@1"
	CapImageBuild   Capability = "image.build@1"
	CapImageRemove  Capability = "image.remove@1"
	CapImageList    Capability = "image.list@1"
	CapMountBind    Capability = "mount.bind@1"
	CapMountRO      Capability = "mount.readonly@1"
	CapNetAddress   Capability = "net.address@1"
	CapNetGateway   Capability = "net.gateway@1"
	CapNetPublish   Capability = "net.publish@1"
	CapNetListeners Capability = "net.listeners@1"
	CapNetIsolated  Capability = "net.isolated@1" // sandboxes with no network but loopback
	CapLimitCPU     Capability = "limits.cpu@1"
	CapLimitMemory  Capability = "limits.memory@1"
	CapLimitProcs   Capability = "limits.processes@1"
	CapSharedMemory Capability = "limits.shm@1" // the size of /dev/shm
	CapStats        Capability = "stats@1"
	CapLogs         Capability = "logs@1"
	CapEvents       Capability = "events@1"
	CapSSHAgent     Capability = "ssh.agent@1"
)

// The five capabilities of the product's specification, which host mode lacks.
const (
	CapBrowser      Capability = "browser.automation@1"    // browsers can be driven inside
	CapTooling      Capability = "tooling.containerized@1" // language servers and tools run inside
	CapLinuxParity  Capability = "linux.parity@1"          // the same Linux everywhere
	CapPreview      Capability = "preview.managed@1"       // any server inside can be found and shown
	CapNetContainer Capability = "net.container@1"         // a network of its own
)

// optionalParts says which capability each optional interface gives. It is the
// only place that asserts types on a driver, with the …Of functions below.
var optionalParts = []struct {
	capability Capability
	has        func(Driver) bool
}{
	{CapSystemStart, is[SystemStarter]},
	{CapSystemStop, is[SystemStopper]},
	{CapImagePull, is[ImageEnsurer]},
	{CapImageBuild, is[ImageBuilder]},
	{CapImageRemove, is[ImageRemover]},
	{CapImageList, is[ImageLister]},
	{CapCopy, is[Copier]},
	{CapStats, is[StatsReader]},
	{CapLogs, is[LogReader]},
	{CapEvents, is[EventWatcher]},
	{CapNetListeners, is[ListenerWatcher]},
}

func is[T any](d Driver) bool {
	_, ok := d.(T)
	return ok
}

// Remote is implemented by the stand-in for a driver in another process, which
// has every method and knows what the driver declared.
type Remote interface {
	Driver
	// Declared is the capability list of the driver's handshake.
	Declared() []Capability
}

// Capabilities lists what a driver can do, sorted: exec@1, one for each
// optional interface, and its declared facts. For a [Remote] it is the
// declared list.
func Capabilities(d Driver) []Capability {
	if r, ok := d.(Remote); ok {
		return r.Declared()
	}
	caps := append([]Capability{CapExec}, d.Info().Facts...)
	for _, part := range optionalParts {
		if part.has(d) {
			caps = append(caps, part.capability)
		}
	}
	slices.Sort(caps)
	return slices.Compact(caps)
}

// Has tells whether a driver has a capability.
func Has(d Driver, c Capability) bool {
	return slices.Contains(Capabilities(d), c)
}

// Need is nil if the driver has the capability, else the Unsupported error.
func Need(d Driver, c Capability) error {
	if Has(d, c) {
		return nil
	}
	return Lacks(d.Info().Name, c)
}

// Lacks is the Unsupported error for a driver without a capability.
func Lacks(name string, c Capability) *Error {
	return Errorf(Unsupported, "driver %s does not have the capability %s", name, c).About(string(c)).
		Remedy("see what each driver can do", "sero", "driver", "ls")
}

func optional[T any](d Driver, c Capability) (T, error) {
	var none T
	if err := Need(d, c); err != nil {
		return none, err
	}
	part, ok := d.(T)
	if !ok { // a fact was declared that only methods can give
		return none, Lacks(d.Info().Name, c)
	}
	return part, nil
}

// SystemStarterOf is the driver as a SystemStarter, or Unsupported.
func SystemStarterOf(d Driver) (SystemStarter, error) {
	return optional[SystemStarter](d, CapSystemStart)
}

// SystemStopperOf is the driver as a SystemStopper, or Unsupported.
func SystemStopperOf(d Driver) (SystemStopper, error) {
	return optional[SystemStopper](d, CapSystemStop)
}

// ImageEnsurerOf is the driver as an ImageEnsurer, or Unsupported.
func ImageEnsurerOf(d Driver) (ImageEnsurer, error) { return optional[ImageEnsurer](d, CapImagePull) }

// ImageBuilderOf is the driver as an ImageBuilder, or Unsupported.
func ImageBuilderOf(d Driver) (ImageBuilder, error) { return optional[ImageBuilder](d, CapImageBuild) }

// ImageRemoverOf is the driver as an ImageRemover, or Unsupported.
func ImageRemoverOf(d Driver) (ImageRemover, error) { return optional[ImageRemover](d, CapImageRemove) }

// ImageListerOf is the driver as an ImageLister, or Unsupported.
func ImageListerOf(d Driver) (ImageLister, error) { return optional[ImageLister](d, CapImageList) }

// CopierOf is the driver as a Copier, or Unsupported.
func CopierOf(d Driver) (Copier, error) { return optional[Copier](d, CapCopy) }

// StatsReaderOf is the driver as a StatsReader, or Unsupported.
func StatsReaderOf(d Driver) (StatsReader, error) { return optional[StatsReader](d, CapStats) }

// LogReaderOf is the driver as a LogReader, or Unsupported.
func LogReaderOf(d Driver) (LogReader, error) { return optional[LogReader](d, CapLogs) }

// EventWatcherOf is the driver as an EventWatcher, or Unsupported.
func EventWatcherOf(d Driver) (EventWatcher, error) { return optional[EventWatcher](d, CapEvents) }

// ListenerWatcherOf is the driver as a ListenerWatcher, or Unsupported.
func ListenerWatcherOf(d Driver) (ListenerWatcher, error) {
	return optional[ListenerWatcher](d, CapNetListeners)
}
