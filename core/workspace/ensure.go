package workspace

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/environ"
	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// attempt makes one workspace ready once. The caller holds its turn.
type attempt struct {
	m        *Manager
	e        *entry
	wish     string
	keepWish bool // it is the workspace's from now on
	report   func(driver.Progress)

	driver    driver.Driver
	spec      driver.SandboxSpec
	choice    negotiate.Choice
	warnings  []string
	drift     []Drift
	exposes   exposed
	user      environ.User   // who commands run as
	looked    bool           // user is known
	seen      driver.Sandbox // that has the name, when last looked at
	announced bool           // the workspace.starting event is out
	recreated bool           // once is enough
	existed   bool           // a Create found a sandbox under its name; once, too
	refetched bool           // once is enough for the image, too
	repeated  bool           // and for a Create or Start that failed for no known reason
}

// run gives the sandbox, running. before is what was ready when last looked at:
// its driver is kept while it runs.
func (a *attempt) run(ctx context.Context, before *sandbox) (*sandbox, error) {
	if err := a.e.checkDirectory(); err != nil {
		return nil, err
	}
	read, err := a.e.checkedConfig()
	if err != nil {
		return nil, err
	}
	file := read.file
	for _, w := range read.warnings {
		a.warnings = append(a.warnings, w.String())
	}
	if file.ID != "" && file.ID != a.e.id {
		a.warnings = append(a.warnings, fmt.Sprintf("sero.json names the id %s, but the workspace was opened as %s", file.ID, a.e.id))
	}
	if before != nil {
		again, err := a.reuse(ctx, file, before)
		if err != nil {
			return nil, err
		}
		if again != nil {
			return again, a.remember()
		}
	}
	a.announce()
	if err := a.choose(ctx, file); err != nil {
		return nil, err
	}
	if a.choice.WillStart {
		if err := a.startSystem(ctx); err != nil {
			return nil, err
		}
	}
	state, err := a.bringUp(ctx)
	if driver.ReasonOf(err) == driver.EngineNotRunning && !a.choice.WillStart && driver.Has(a.driver, driver.CapSystemStart) {
		if err = a.startSystem(ctx); err == nil {
			state, err = a.bringUp(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	if !a.looked {
		a.findUser(ctx, state)
	}
	return a.ready(state), a.remember()
}

func (a *attempt) ready(state driver.Sandbox) *sandbox {
	return &sandbox{choice: a.choice, state: state, caps: driver.Capabilities(a.driver), user: a.user, looked: a.looked, exposes: a.exposes}
}

// findUser looks who commands run as. If that cannot be told they run, as whoever
// the sandbox's own user is, and the workspace says so.
func (a *attempt) findUser(ctx context.Context, state driver.Sandbox) {
	if a.choice.HostMode {
		return
	}
	user, err := a.m.lookForUser(ctx, a.driver, state)
	if a.user, a.looked = user, err == nil; err != nil {
		a.m.log.Warn("whose the files of a workspace are could not be seen", "workspace", a.e.id, "error", err)
		a.warnings = append(a.warnings, "whose the files are could not be seen in the sandbox, so commands do not run as their owner: "+driver.AsError(err).Message)
	}
}

// remember keeps what has to outlast the daemon.
func (a *attempt) remember() error {
	a.e.mu.Lock()
	wish := a.e.wish
	a.e.mu.Unlock()
	switch {
	case a.wish == "" || !a.keepWish:
	case a.wish == wishAuto:
		wish = ""
	default:
		wish = a.wish
	}
	a.e.mu.Lock()
	a.e.newHost = a.e.newHost || a.e.last.Driver == "" && len(a.e.before) == 0 && a.choice.HostMode
	a.e.mu.Unlock()
	return a.m.keep(a.e, wish, lastUse{Driver: a.choice.Actual, HostMode: a.choice.HostMode})
}

// checkDirectory refuses a workspace whose directory is gone, or that a link in its
// path leads elsewhere by now: what can write above it, as the sandbox of a
// workspace around this one does, could show any directory of the host so.
func (e *entry) checkDirectory() error {
	resolved, err := e.looks.check(e.directory)
	if err == nil && resolved != e.directory {
		return driver.Errorf(driver.NotFound, "the directory of workspace %s is not there any more: %s leads to %s", e.id, shown(e.directory), shown(resolved)).
			About(e.directory).
			Remedy("forget the workspace, which keeps all files, and open the directory that is meant", "sero", "rm", "-w", e.id)
	}
	if err == nil {
		return nil
	}
	cause := driver.AsError(err)
	if cause.Reason == DirectoryUnresponsive {
		return e.forgettable(err)
	}
	return driver.Errorf(cause.Reason, "the directory of workspace %s cannot be used: %s", e.id, cause.Message).About(e.directory).
		Remedy("put the directory back").
		Remedy("forget the workspace", "sero", "rm", "-w", e.id)
}

func (a *attempt) announce() {
	if !a.announced {
		a.announced = true
		a.m.publish(event.WorkspaceStarting, a.e.id, "being made ready")
	}
}

// reuse looks whether the sandbox of before still runs and shows what it should.
// It returns nil when it does not; then the workspace has to be made ready again.
func (a *attempt) reuse(ctx context.Context, file config.Workspace, before *sandbox) (*sandbox, error) {
	d, err := a.m.options.Drivers.Driver(ctx, before.choice.Actual)
	if err != nil {
		a.m.log.Info("the driver of a ready workspace is gone", "workspace", a.e.id, "error", err)
		return nil, nil
	}
	a.driver, a.choice = d, before.choice
	if err := a.e.checkPlace(a.m, before.choice.HostMode); err != nil {
		return nil, err
	}
	state, err := a.get(ctx)
	if ctx.Err() != nil { // it says nothing of the sandbox
		return nil, driver.AsError(context.Cause(ctx))
	}
	if err != nil || state.State != driver.SandboxRunning || !a.m.owns(a.e, state) || !a.e.shownIn(state) {
		return nil, nil //nolint:nilerr // whatever is wrong with it, making it ready will find it
	}
	known := before.exposes
	if state.Instance != before.state.Instance {
		known = nil
	}
	if stopped, err := a.confirm(ctx, state, known); stopped || err != nil {
		return nil, err
	}
	if spec, warnings, err := a.m.buildSpec(a.e, file, before.choice, d); err == nil {
		a.spec = spec
		a.warnings = append(a.warnings, warnings...)
		a.noteDrift(ctx, state)
	}
	a.noteEgress(file, state)
	if a.user, a.looked = before.user, before.looked; !a.looked || state.Instance != before.state.Instance {
		a.findUser(ctx, state)
	}
	return a.ready(state), nil
}

// choose picks the driver and makes the spec.
func (a *attempt) choose(ctx context.Context, file config.Workspace) error {
	request, warnings := a.m.request(a.e, a.wish, file)
	a.warnings = append(a.warnings, warnings...)
	choice, err := a.m.options.Chooser.Choose(ctx, request)
	if err != nil {
		return err
	}
	a.choice = choice
	if err := a.e.checkPlace(a.m, choice.HostMode); err != nil {
		return err
	}
	if a.driver, err = a.m.options.Drivers.Driver(ctx, choice.Actual); err != nil {
		return err
	}
	spec, warnings, err := a.m.buildSpec(a.e, file, choice, a.driver)
	a.warnings = append(a.warnings, warnings...)
	a.spec = spec
	return err
}

func (a *attempt) startSystem(ctx context.Context) error {
	starter, err := driver.SystemStarterOf(a.driver)
	if err != nil {
		return err
	}
	a.report(driver.Progress{Phase: "start", Message: "starting the engine of driver " + a.choice.Actual})
	return starter.StartSystem(ctx, a.report)
}

// bringUp uses a running sandbox, starts a stopped one, lets a paused one go on,
// makes an absent one.
func (a *attempt) bringUp(ctx context.Context) (driver.Sandbox, error) {
	state, err := a.get(ctx)
	switch driver.ReasonOf(err) {
	case "":
	case driver.NotFound:
		return a.create(ctx)
	case driver.Corrupt:
		return a.recreateUnreadable(ctx, err)
	default:
		return state, err
	}
	if err := a.m.mayChange(a.e, state); err != nil {
		return state, err
	}
	if !a.e.shownIn(state) {
		return a.recreate(ctx, "it was made for "+shown(state.Labels[driver.LabelWorkspacePath]))
	}
	switch state.State {
	case driver.SandboxRunning:
		a.noteDrift(ctx, state)
		if state, err = a.checked(state); err != nil {
			return state, err
		}
		if stopped, err := a.confirm(ctx, state, nil); !stopped || err != nil {
			return state, err
		}
		return a.start(ctx, state)
	case driver.SandboxCorrupt:
		return a.recreate(ctx, "it is broken")
	default:
	}
	if a.choice.HostMode && state.Labels[driver.LabelSpecHash] != a.spec.Labels[driver.LabelSpecHash] {
		return a.recreate(ctx, "its configuration has changed") // nothing is in it that could be lost
	}
	a.noteDrift(ctx, state)
	return a.start(ctx, state)
}

func errForeign(e *entry) error {
	name := SandboxID(e.id)
	return driver.Errorf(driver.ForeignResource, "a sandbox named %s exists and is not this sero's; it is left alone", name).About(name).
		Remedy("remove that sandbox with the tool that made it").
		Remedy("or forget the workspace, which leaves the sandbox alone, and open the directory under another id", "sero", "rm", "-w", e.id)
}

func errOtherDirectory(e *entry, dir string) error {
	name := SandboxID(e.id)
	return driver.Errorf(driver.AlreadyExists, "the sandbox %s was made for the workspace in %s, whose record is lost; it is left alone", name, shown(dir)).About(dir).
		Remedy("forget this workspace, which keeps its files, and open it under another id", "sero", "rm", "-w", e.id).
		Remedy("or see what would be cleared away", "sero", "prune", "--dry-run")
}

func (a *attempt) create(ctx context.Context) (driver.Sandbox, error) {
	if err := a.gather(ctx); err != nil {
		return driver.Sandbox{}, err
	}
	if !a.choice.HostMode {
		if err := a.m.noteIsolated(a.e, a.choice.Actual); err != nil {
			return driver.Sandbox{}, err
		}
	}
	a.report(driver.Progress{Phase: "create", Message: "making the sandbox in driver " + a.choice.Actual})
	var state driver.Sandbox
	err := a.call(ctx, func(ctx context.Context) (err error) {
		state, err = a.driver.Create(ctx, a.spec)
		return err
	})
	switch driver.ReasonOf(err) {
	case "":
	case driver.AlreadyExists, driver.Corrupt:
		return a.useExisting(ctx, err)
	case driver.ImageNotFound:
		if a.spec.Image == "" || a.refetched {
			return state, err
		}
		a.refetched = true // it was removed since we looked
		return a.create(ctx)
	case driver.Internal:
		if !a.mayRepeat(ctx) {
			return state, err
		}
		return a.create(ctx)
	default:
		return state, err
	}
	if state.ID != a.spec.ID {
		return state, a.nonsense("it made %s instead of %s", shown(state.ID), a.spec.ID)
	}
	if !a.m.owns(a.e, state) || !a.e.shownIn(state) { // the driver gave us what was there
		return state, errForeign(a.e)
	}
	return a.start(ctx, state)
}

// settleTime is how long an engine gets to be what it is about to be.
const settleTime = 300 * time.Millisecond

// settle waits a moment: an engine that is ending fails in ways that mean
// nothing, and says what is wrong when it is asked again.
func (a *attempt) settle(ctx context.Context) bool {
	timer := time.NewTimer(settleTime)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// useExisting goes on with what a Create found under the sandbox's name: an intact
// sandbox of ours is used, a broken one is recreated. Its labels decide whose it
// is, not its name.
func (a *attempt) useExisting(ctx context.Context, cause error) (driver.Sandbox, error) {
	if a.existed {
		return driver.Sandbox{}, cause
	}
	a.existed = true
	return a.bringUp(ctx)
}

// gather gets what a sandbox is made from.
func (a *attempt) gather(ctx context.Context) error {
	if err := a.m.roomForHelper(a.driver); err != nil && !a.choice.HostMode {
		return err
	}
	if a.spec.Image == "" {
		return nil
	}
	return a.ensureImage(ctx)
}

func (a *attempt) ensureImage(ctx context.Context) error {
	if a.m.options.Images != nil {
		_, err := a.m.options.Images.Ensure(ctx, a.driver, a.spec.Image, a.report)
		return err
	}
	images, err := driver.ImageEnsurerOf(a.driver)
	if err != nil {
		return err
	}
	_, err = images.EnsureImage(ctx, a.spec.Image, driver.PullMissing, a.report)
	return err
}

// recreate removes a sandbox that is known to be ours and makes it again, once,
// after it has tried out the new one. Whose it is is looked up once more: what had its name may have changed.
func (a *attempt) recreate(ctx context.Context, why string) (driver.Sandbox, error) {
	a.recreated = true
	a.m.log.Warn("a sandbox is recreated", "workspace", a.e.id, "why", why)
	a.report(driver.Progress{Phase: "recreate", Message: "recreating the sandbox: " + why})
	if !a.choice.HostMode {
		a.warnings = append(a.warnings, "the sandbox was recreated: "+why)
	}
	state, err := a.get(ctx)
	switch driver.ReasonOf(err) {
	case "":
		if err := a.m.mayChange(a.e, state); err != nil {
			return state, err
		}
	case driver.NotFound:
		return a.create(ctx)
	case driver.Corrupt: // it was listed under our labels
	default:
		return state, err
	}
	if err := a.tryOut(ctx); err != nil {
		return state, err
	}
	err = a.call(ctx, func(ctx context.Context) error { return a.driver.Remove(ctx, a.spec.ID, true) })
	if err != nil {
		return driver.Sandbox{}, err
	}
	return a.create(ctx)
}

// recreateUnreadable is for a sandbox that cannot be described. It is ours only
// if the driver lists it under our labels.
func (a *attempt) recreateUnreadable(ctx context.Context, cause error) (driver.Sandbox, error) {
	var ours []driver.Sandbox
	err := a.call(ctx, func(ctx context.Context) (err error) {
		ours, err = a.driver.List(ctx, map[string]string{
			driver.LabelManaged: "true", driver.LabelWorkspaceID: a.e.id, driver.LabelInstallation: a.m.options.Installation,
		})
		return err
	})
	if err != nil {
		return driver.Sandbox{}, err
	}
	found := slices.ContainsFunc(ours, func(s driver.Sandbox) bool { return s.ID == a.spec.ID && a.m.owns(a.e, s) })
	if !found {
		return driver.Sandbox{}, errForeign(a.e)
	}
	if a.recreated {
		return driver.Sandbox{}, cause
	}
	return a.recreate(ctx, "it is broken")
}

func (a *attempt) get(ctx context.Context) (driver.Sandbox, error) {
	state, err := a.m.get(ctx, a.driver, a.choice.Actual, SandboxID(a.e.id))
	if err == nil {
		a.seen = state
	}
	return state, err
}

// checked refuses a reply that cannot be true.
func (a *attempt) checked(state driver.Sandbox) (driver.Sandbox, error) {
	switch {
	case state.ID != a.spec.ID:
		return state, a.nonsense("it started %s instead of %s", shown(state.ID), a.spec.ID)
	case state.State != driver.SandboxRunning:
		return state, a.nonsense("%s is %s after it was started", a.spec.ID, state.State)
	case !filepath.IsAbs(state.WorkspaceDir) || strings.ContainsRune(state.WorkspaceDir, 0):
		return state, a.nonsense("the workspace's directory in %s is %s", a.spec.ID, shown(state.WorkspaceDir))
	}
	return state, nil
}

func (a *attempt) nonsense(format string, args ...any) error {
	return errNonsense(a.choice.Actual, a.spec.ID, format, args...)
}

// noteDrift keeps what of a sandbox is not as it would be made now. In host mode
// nothing is made from a spec.
func (a *attempt) noteDrift(ctx context.Context, state driver.Sandbox) {
	if a.choice.HostMode {
		return
	}
	a.drift = a.m.drifted(ctx, a.driver, a.choice.Actual, state, a.spec)
}

// call makes one call to the driver.
func (a *attempt) call(ctx context.Context, f func(ctx context.Context) error) error {
	return a.m.call(ctx, a.choice.Actual, f)
}
