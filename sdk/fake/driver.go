package fake

import (
	"cmp"
	"context"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// everything is what the fake can do: each has behaviour behind it.
var everything = []driver.Capability{
	driver.CapExec, driver.CapExecTTY, driver.CapExecSignal, driver.CapExecUser,
	driver.CapCopy, driver.CapSystemStart, driver.CapSystemStop,
	driver.CapImagePull, driver.CapImageBuild, driver.CapImageRemove, driver.CapImageList,
	driver.CapMountBind, driver.CapMountRO,
	driver.CapNetAddress, driver.CapNetGateway, driver.CapNetPublish, driver.CapNetListeners, driver.CapNetIsolated,
	driver.CapLimitCPU, driver.CapLimitMemory, driver.CapLimitProcs, driver.CapSharedMemory,
	driver.CapStats, driver.CapLogs, driver.CapEvents, driver.CapSSHAgent,
	driver.CapBrowser, driver.CapTooling, driver.CapLinuxParity, driver.CapPreview, driver.CapNetContainer,
}

// Driver is the fake. It is safe for concurrent use. Close or Shutdown ends
// what runs in it.
type Driver struct {
	info driver.Info
	caps []driver.Capability
	dead atomic.Bool
	kill func() // ends the process; nil in a test's own process

	changed broadcast // of sandboxes, listeners, health

	mu        sync.Mutex
	script    Script // as started
	current   Script // with Configure's settings
	time      Clock
	book      *ruleBook
	calls     map[string]int
	sandboxes map[string]*sandbox
	images    map[string]driver.Image
	events    []driver.Event
	down      bool // the engine is stopped, until StartSystem
	made      int  // counts instances and addresses
}

// New makes a Driver. Faults of the script count for what they change in it and
// in commands; all of them do in a process (Main). A script that does not pass its checks is an empty one;
// check it with ParseScript.
func New(script Script) *Driver {
	for _, name := range script.Faults {
		if f, ok := FaultNamed(name); ok && f.script != nil {
			f.script(&script)
		}
	}
	d := &Driver{
		info: driver.Info{
			Name:           cmp.Or(script.Name, "fake"),
			Version:        cmp.Or(script.Version, "1.0.0"),
			Description:    "in-memory reference driver for tests",
			HostConstraint: script.HostConstraint,
			Isolation:      isolations[script.Isolation],
			Platforms:      []string{runtime.GOOS + "/" + runtime.GOARCH},
		},
		caps:      slices.Sorted(slices.Values(everything)),
		script:    script,
		calls:     map[string]int{},
		sandboxes: map[string]*sandbox{},
	}
	if script.Capabilities != nil {
		d.caps = slices.Sorted(slices.Values(script.Capabilities))
	}
	d.caps = slices.DeleteFunc(d.caps, func(c driver.Capability) bool { return slices.Contains(script.Without, c) })
	d.info.Facts = d.caps
	d.apply(script)
	return d
}

// apply puts a script in force.
func (d *Driver) apply(s Script) {
	var clock Clock = realClock{}
	if s.Clock == "manual" {
		clock = &ManualClock{}
	}
	now := clock.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.current, d.time = s, clock
	d.book = newRuleBook(s.Rules)
	d.images = map[string]driver.Image{}
	local := s.Images
	if local == nil {
		local = []string{"sero-node:latest"}
	}
	for _, ref := range local {
		d.images[ref] = newImage(ref, now, nil)
	}
	d.down = len(s.Health) > 0 && s.Health[len(s.Health)-1].State == driver.HealthStopped.String()
}

// Info says what the driver is.
func (d *Driver) Info() driver.Info { return d.info }

// Declared is the list of capabilities: everything but what the script takes
// away. It makes driver.Capabilities take the list instead of the methods.
func (d *Driver) Declared() []driver.Capability { return d.caps }

// Clock is the manual clock, or nil with the real one.
func (d *Driver) Clock() *ManualClock {
	c, _ := d.clock().(*ManualClock)
	return c
}

// Calls is how often an RPC, by its name in sero.driver.v1, has been called.
func (d *Driver) Calls(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls[name]
}

// Health reports the script's steps, and then stays open.
func (d *Driver) Health(ctx context.Context, report func(driver.Health) error) error {
	if _, err := d.begin(ctx, "Health", ""); err != nil {
		return err
	}
	d.mu.Lock()
	steps, down := d.current.Health, d.down
	d.mu.Unlock()
	switch {
	case len(steps) > 0:
	case down:
		steps = []HealthStep{stoppedStep}
	default:
		steps = []HealthStep{{State: driver.HealthReady.String()}}
	}
	for _, s := range steps {
		if err := d.clock().Sleep(ctx, time.Duration(s.After)); err != nil {
			return err
		}
		if s.End {
			return nil
		}
		state, _ := healthState(s.State)
		h := driver.Health{
			State: state, Reason: s.Reason, Message: s.Message, Remedies: s.Remedies,
			Attributes: map[string]string{"engine.version": d.info.Version},
		}
		if err := report(h); err != nil {
			return err
		}
	}
	return d.healthChanges(ctx, steps[len(steps)-1].State == driver.HealthStopped.String(), report)
}

var stoppedStep = HealthStep{
	State: driver.HealthStopped.String(), Reason: driver.EngineNotRunning, Message: "the imaginary engine is stopped",
	Remedies: []driver.Remedy{{Text: "use a workspace that needs it: that starts it"}},
}

// healthChanges reports what StartSystem and StopSystem make of an engine that
// was stopped or ran.
func (d *Driver) healthChanges(ctx context.Context, was bool, report func(driver.Health) error) error {
	for {
		changed := d.changed.next()
		d.mu.Lock()
		down := d.down
		d.mu.Unlock()
		if was != down {
			was = down
			h := driver.Health{State: driver.HealthReady}
			if down {
				h = driver.Health{State: driver.HealthStopped, Reason: stoppedStep.Reason, Message: stoppedStep.Message, Remedies: stoppedStep.Remedies}
			}
			if err := report(h); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Configure puts a script in force; see Script for what it may change. The same
// settings twice change nothing.
func (d *Driver) Configure(ctx context.Context, settings []byte, validateOnly bool) error {
	if _, err := d.begin(ctx, "Configure", ""); err != nil {
		return err
	}
	over, err := ParseScript(settings)
	if err != nil || validateOnly || len(settings) == 0 {
		return err
	}
	merged := d.script.merge(over)
	d.mu.Lock()
	same := sameScript(merged, d.current)
	d.mu.Unlock()
	if !same {
		d.apply(merged)
	}
	return nil
}

// Shutdown ends every command, as the end of the process would.
func (d *Driver) Shutdown(ctx context.Context) error {
	if _, err := d.begin(ctx, "Shutdown", ""); err != nil {
		return err
	}
	d.Close()
	return nil
}

// Close ends every command and takes no more calls.
func (d *Driver) Close() {
	d.dead.Store(true)
	d.mu.Lock()
	all := make([]*sandbox, 0, len(d.sandboxes))
	for _, sb := range d.sandboxes {
		all = append(all, sb)
	}
	d.mu.Unlock()
	for _, sb := range all {
		sb.end(0)
		sb.unpublish()
	}
	d.changed.notify()
}

// crash ends the process without a last word; in a test's own process the
// driver only acts dead.
func (d *Driver) crash() {
	d.dead.Store(true)
	if d.kill != nil {
		d.kill()
	}
	go d.Close() // it waits for the command that crashed us, too
}

// crashSoon leaves a moment for the reply to go out.
func (d *Driver) crashSoon() {
	if d.kill == nil {
		d.dead.Store(true)
		return
	}
	time.AfterFunc(50*time.Millisecond, d.kill)
}

func (d *Driver) clock() Clock {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.time
}

func (d *Driver) count(call string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls[call]++
}

// has tells whether a fault is switched on.
func (d *Driver) has(fault string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.current.Faults, fault)
}

// broadcast wakes everyone who waits for a change.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

// next is closed at the next change.
func (b *broadcast) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) notify() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

var (
	_ driver.Remote          = (*Driver)(nil)
	_ driver.Configurer      = (*Driver)(nil)
	_ driver.Shutdowner      = (*Driver)(nil)
	_ driver.SystemStarter   = (*Driver)(nil)
	_ driver.SystemStopper   = (*Driver)(nil)
	_ driver.ImageEnsurer    = (*Driver)(nil)
	_ driver.ImageBuilder    = (*Driver)(nil)
	_ driver.ImageRemover    = (*Driver)(nil)
	_ driver.ImageLister     = (*Driver)(nil)
	_ driver.Copier          = (*Driver)(nil)
	_ driver.StatsReader     = (*Driver)(nil)
	_ driver.LogReader       = (*Driver)(nil)
	_ driver.EventWatcher    = (*Driver)(nil)
	_ driver.ListenerWatcher = (*Driver)(nil)
)

func sameScript(a, b Script) bool { return reflect.DeepEqual(a, b) }
