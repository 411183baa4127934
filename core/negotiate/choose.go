package negotiate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// The modes: which drivers may be chosen.
const (
	ModeAuto    = "auto"    // the best that works, the host if none does
	ModeRequire = "require" // one that isolates, or an error
	ModeHost    = "host"    // no isolation, on purpose
)

// The drivers that the choice treats in a way of their own.
const (
	AppleContainer = "apple-container"
	Docker         = "docker"
	HostDriver     = "host" // the last resort; nothing isolates there
	FakeDriver     = "fake" // for tests; chosen by name only
)

// FakeVariable is the variable of the daemon's environment that shows FakeDriver,
// and lets files name it, when it is 1.
const FakeVariable = "SERO_FAKE_DRIVER"

// NotPreferred is the reason of a rejection when nothing is wrong with the
// driver: another one comes first.
const NotPreferred driver.Reason = "NOT_PREFERRED"

// HostLacks are the capabilities that host mode never has.
var HostLacks = []driver.Capability{
	driver.CapBrowser, driver.CapTooling, driver.CapLinuxParity, driver.CapPreview, driver.CapNetContainer,
}

// Request says what a workspace asks for.
type Request struct {
	Mode           string              // ModeAuto (also when empty), ModeRequire or ModeHost
	Driver         string              // by name: this one or, with FallbackHost, the host; empty: any
	Needs          []driver.Capability // a driver without one of them is rejected
	NeedsIsolation []string            // what asks for isolation, for messages: "egress rule"
	FallbackHost   bool                // falling back to the host is fine in spite of NeedsIsolation, Driver or LivesIn
	LivesIn        string              // the driver of the newest sandbox of the workspace that isolates; empty: it never had one
	HideFake       bool                // the driver for tests does not exist: no person named it
	NeverHost      bool                // this machine runs nothing without isolation, even on request
}

// Offer is one driver and what is known of it now.
type Offer struct {
	Name         string
	Info         driver.Info
	Capabilities []driver.Capability
	Health       driver.Health
	Problem      *driver.Error // it cannot be used at all, whatever its health; else nil
}

// Choice is which driver a workspace gets, and why.
type Choice struct {
	Desired   string // what was asked for: a driver's name or a mode
	Actual    string // the driver
	Isolation driver.Isolation
	Reason    string // one line
	HostMode  bool   // nothing separates the workspace from the host
	WillStart bool   // its engine is stopped and must be started first
	Reduced   []driver.Capability
	Rejected  []Rejection
	Remedies  []driver.Remedy // what leads to a better choice
}

// Rejection says why a driver was not chosen.
type Rejection struct {
	Driver   string
	Reason   driver.Reason
	Message  string // one line
	Remedies []driver.Remedy
}

// Choose picks a driver. It depends on the set of offers only, not on their
// order.
//
// A driver asked for by name is used or fails with its own reason;
// DriverNotFound if there is none. Otherwise the first usable driver in the
// order of Compare is taken, never one without isolation but for the host
// driver, which is the last. IsolationRequired when that is not allowed,
// NoDriver when it does not work either: both list why not for every driver. A
// workspace that has had a sandbox that isolates gets the reason of that
// sandbox's driver and not the host, whatever the reason is.
func Choose(request Request, offers []Offer) (Choice, error) {
	if request.NeverHost {
		request.FallbackHost = false
	}
	c := chooser{request: request, offers: slices.SortedFunc(slices.Values(offers), Compare)}
	switch {
	case request.Mode != "" && request.Mode != ModeAuto && request.Mode != ModeRequire && request.Mode != ModeHost:
		return Choice{}, driver.Errorf(driver.InvalidArgument, "there is no mode %q", clip(request.Mode)).
			Remedy("use auto, require or host")
	case request.Mode == ModeHost && request.Driver != "" && request.Driver != HostDriver:
		return Choice{}, driver.Errorf(driver.InvalidArgument, "the mode is host, so the driver cannot be %s", clip(request.Driver)).
			Remedy("remove one of mode and driver")
	case request.Mode == ModeHost || request.Driver == HostDriver:
		return c.host()
	case request.Driver != "":
		return c.named()
	default:
		return c.automatic()
	}
}

// Compare orders drivers by preference: apple-container, docker, others from
// the strongest isolation to the weakest, the host, the fake.
func Compare(a, b Offer) int {
	return cmp.Or(
		cmp.Compare(rank(a.Name), rank(b.Name)),
		cmp.Compare(b.Info.Isolation, a.Info.Isolation),
		cmp.Compare(a.Name, b.Name),
	)
}

func rank(name string) int {
	switch name {
	case AppleContainer:
		return 0
	case Docker:
		return 1
	case HostDriver:
		return 3
	case FakeDriver:
		return 4
	default:
		return 2
	}
}

// MayPrecede reports whether a driver of which only the name is known may come
// before another one in the order of Compare.
func MayPrecede(name, other string) bool { return name != other && rank(name) <= rank(other) }

// chooser is one choice under way.
type chooser struct {
	request Request
	offers  []Offer // best first
}

func (c chooser) find(name string) (Offer, bool) {
	i := slices.IndexFunc(c.offers, func(o Offer) bool { return o.Name == name })
	if i < 0 {
		return Offer{}, false
	}
	return c.offers[i], true
}

// host is for a workspace that asks for no isolation.
func (c chooser) host() (Choice, error) {
	if c.request.Mode == ModeRequire {
		return Choice{}, driver.Errorf(driver.IsolationRequired, "the driver host isolates nothing, and the mode is require").
			Remedy("choose another driver", "sero", "driver", "ls")
	}
	if c.request.NeverHost {
		return Choice{}, errNeverHost(HostDriver)
	}
	o, ok := c.find(HostDriver)
	if !ok {
		return Choice{}, c.notFound(HostDriver)
	}
	if why := c.against(o); why != nil {
		return Choice{}, why
	}
	reason := "host mode was asked for"
	if len(c.request.NeedsIsolation) > 0 {
		reason += "; not in force there: " + strings.Join(c.request.NeedsIsolation, ", ")
	}
	return c.choice(o, reason, nil), nil
}

// named is for a driver asked for by name.
func (c chooser) named() (Choice, error) {
	o, ok := c.find(c.request.Driver)
	if !ok || c.request.HideFake && o.Name == FakeDriver {
		return Choice{}, c.notFound(c.request.Driver)
	}
	why := c.against(o)
	if why == nil && !isolates(o) {
		why = c.mustIsolate(o.Name)
	}
	if why == nil {
		return c.choice(o, "asked for by name"+willStart(o), nil), nil
	}
	if !c.request.FallbackHost || c.request.Mode == ModeRequire {
		return Choice{}, why
	}
	rejected := []Rejection{rejection(o.Name, why)}
	host, ok := c.find(HostDriver)
	if !ok || c.against(host) != nil {
		return Choice{}, why
	}
	return c.choice(host, "the workspace allows the host where the driver does not work: "+summary(rejected), rejected), nil
}

// automatic takes the first in the order of preference that works.
func (c chooser) automatic() (Choice, error) {
	var chosen *Offer
	var rejected []Rejection
	for _, o := range c.offers {
		if o.Name == HostDriver || o.Name == FakeDriver {
			continue
		}
		why := c.against(o)
		switch {
		case why != nil:
		case !isolates(o):
			why = driver.Errorf(driver.IsolationRequired, "it isolates nothing, so it is used only when it is named")
		case chosen != nil:
			why = driver.Errorf(NotPreferred, "it works, and %s comes before it", chosen.Name)
		default:
			chosen = &o
			continue
		}
		rejected = append(rejected, rejection(o.Name, why))
	}
	if chosen != nil {
		reason := "the first in the order of preference that works"
		return c.choice(*chosen, reason+willStart(*chosen), rejected), nil
	}
	return c.fallBack(rejected)
}

// fallBack is for when no driver that isolates works.
func (c chooser) fallBack(rejected []Rejection) (Choice, error) {
	if c.request.LivesIn != "" && !c.request.FallbackHost {
		return Choice{}, c.outOfReach()
	}
	none := "there is no driver that isolates"
	if len(rejected) > 0 {
		none = "no driver that isolates can be used (" + summary(rejected) + ")"
	}
	switch needs := c.request.NeedsIsolation; {
	case c.request.NeverHost:
		why := errNeverHost(HostDriver)
		why.Message += ", and " + none
		why.Remedies = append(remediesOf(rejected), why.Remedies...)
		return Choice{}, why
	case c.request.Mode == ModeRequire:
		return Choice{}, withRemedies(driver.Errorf(driver.IsolationRequired, "the mode is require, and %s", none), rejected)
	case len(needs) > 0 && !c.request.FallbackHost:
		return Choice{}, withRemedies(driver.Errorf(driver.IsolationRequired,
			"the workspace asks for what only isolation gives (%s), and %s", strings.Join(needs, ", "), none), rejected).
			Remedy(`to go on without, write "fallback": "host" into sero.json, and: sero trust`)
	}
	host, ok := c.find(HostDriver)
	if !ok {
		return Choice{}, withRemedies(driver.Errorf(driver.NoDriver, "%s, and there is no host driver", none), rejected)
	}
	if why := c.against(host); why != nil {
		all := append(rejected, rejection(host.Name, why))
		return Choice{}, withRemedies(driver.Errorf(driver.NoDriver, "no driver can be used: %s", summary(all)), all)
	}
	if len(c.request.NeedsIsolation) > 0 {
		none += "; not in force there: " + strings.Join(c.request.NeedsIsolation, ", ")
	}
	return c.choice(host, none, rejected), nil
}

// mustIsolate is why a driver that isolates nothing cannot be used although it
// was asked for by name, or nil.
func (c chooser) mustIsolate(name string) *driver.Error {
	var why *driver.Error
	switch {
	case c.request.NeverHost:
		return errNeverHost(name)
	case c.request.Mode == ModeRequire:
		why = driver.Errorf(driver.IsolationRequired, "it isolates nothing, and the mode is require").
			Remedy("choose another driver", "sero", "driver", "ls")
	case c.request.LivesIn != "":
		why = driver.Errorf(driver.IsolationRequired, "it isolates nothing, and the workspace has had a sandbox that isolates, in driver %s", c.request.LivesIn).
			Remedy("to use it all the same, ask for it", "sero", "up", "--driver", name)
	default:
		return nil
	}
	why.Driver = name
	return why
}

// errNeverHost refuses a driver that isolates nothing on a machine that allows none.
func errNeverHost(name string) *driver.Error {
	why := driver.Errorf(driver.IsolationRequired, "the driver %s isolates nothing, and config.json of this machine says neverHost", name).
		Remedy("choose a driver that isolates", "sero", "driver", "ls").
		Remedy("or remove neverHost from config.json, and: sero daemon stop")
	why.Driver = name
	return why
}

// outOfReach is for a workspace that has had a sandbox that isolates while no
// driver that isolates can be used: a command that is meant for the sandbox must
// not run on the host instead, whatever the reason is.
func (c chooser) outOfReach() *driver.Error {
	var why *driver.Error
	o, ok := c.find(c.request.LivesIn)
	if ok {
		why = c.against(o)
	} else {
		why = c.notFound(c.request.LivesIn)
	}
	if why == nil {
		why = driver.Errorf(driver.IsolationRequired, "it isolates nothing any more")
	}
	why.Driver = c.request.LivesIn
	why.Message = "the workspace's sandbox is in this driver, which cannot be used now: " + why.Message
	why.Retryable = true
	if c.request.NeverHost {
		return why
	}
	return why.Remedy("to go on without isolation, ask for it", "sero", "up", "--driver", HostDriver)
}

// choice completes the answer for a driver that was picked.
func (c chooser) choice(o Offer, reason string, rejected []Rejection) Choice {
	choice := Choice{
		Desired:   cmp.Or(c.request.Driver, c.request.Mode, ModeAuto),
		Actual:    o.Name,
		Isolation: o.Info.Isolation,
		Reason:    reason,
		HostMode:  !isolates(o),
		WillStart: o.Health.State == driver.HealthStopped,
		Reduced:   c.reduced(o),
		Rejected:  rejected,
	}
	if !choice.HostMode {
		return choice
	}
	choice.Remedies = remediesOf(rejected)
	for _, other := range c.offers {
		if isolates(other) && other.Name != FakeDriver && c.against(other) == nil {
			choice.Remedies = append(choice.Remedies, driver.Remedy{
				Text: "use " + other.Name, Command: []string{"sero", "up", "--driver", other.Name},
			})
			break
		}
	}
	if len(choice.Remedies) == 0 {
		choice.Remedies = []driver.Remedy{{Text: "install a container driver and its engine", Command: []string{"sero", "driver", "ls"}}}
	}
	return choice
}

// reduced is what the best driver for this machine would have and the chosen
// one lacks.
func (c chooser) reduced(chosen Offer) []driver.Capability {
	var lacking []driver.Capability
	if !isolates(chosen) {
		lacking = slices.Clone(HostLacks)
	}
	for _, o := range c.offers {
		if o.Name == chosen.Name {
			break
		}
		if o.Name == HostDriver || o.Name == FakeDriver || len(o.Capabilities) == 0 || o.Health.State == driver.HealthUnsupported {
			continue
		}
		lacking = append(lacking, o.Capabilities...)
		break
	}
	slices.Sort(lacking)
	return slices.DeleteFunc(slices.Compact(lacking), func(x driver.Capability) bool {
		return strings.HasPrefix(string(x), "x-") || slices.Contains(chosen.Capabilities, x)
	})
}

// against is why a driver cannot be used for the request, or nil.
func (c chooser) against(o Offer) *driver.Error {
	why := Unusable(o)
	for _, need := range c.request.Needs {
		if why == nil && !slices.Contains(o.Capabilities, need) {
			why = driver.Lacks(o.Name, need)
			why.Message = fmt.Sprintf("it does not have the capability %s", need)
			why.Driver = o.Name
		}
	}
	return why
}

// Unusable is why a driver cannot be used now, or nil: its problem, or a health
// that is neither ready nor one that the driver itself can mend.
func Unusable(o Offer) *driver.Error {
	if o.Problem != nil {
		e := *o.Problem
		e.Driver = o.Name
		return &e
	}
	fallback := driver.Internal
	switch o.Health.State {
	case driver.HealthReady:
		return nil
	case driver.HealthStopped:
		if slices.Contains(o.Capabilities, driver.CapSystemStart) {
			return nil
		}
		fallback = driver.EngineNotRunning
	case driver.HealthNotInstalled:
		fallback = driver.EngineNotInstalled
	case driver.HealthUnsupported:
		fallback = driver.Unsupported
	case driver.HealthWedged:
		fallback = driver.EngineWedged
	default:
	}
	return &driver.Error{
		Reason:    cmp.Or(o.Health.Reason, fallback),
		Message:   cmp.Or(o.Health.Message, "its runtime is "+o.Health.State.String()),
		Driver:    o.Name,
		Retryable: true,
		Remedies:  o.Health.Remedies,
	}
}

// isolates tells whether a driver's sandboxes are separated from the host.
func isolates(o Offer) bool {
	return o.Name != HostDriver && o.Info.Isolation > driver.IsolationNone
}

func willStart(o Offer) string {
	if o.Health.State == driver.HealthStopped {
		return "; its engine is stopped and will be started"
	}
	return ""
}
