package applecontainer

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// turns orders what changes a sandbox, each sandbox apart.
type turns struct {
	mu  sync.Mutex
	ids map[string]*turn
}

type turn struct {
	token   chan struct{}
	waiting int
}

func (t *turns) take(ctx context.Context, id string) (release func(), err error) {
	t.mu.Lock()
	if t.ids == nil {
		t.ids = map[string]*turn{}
	}
	mine := t.ids[id]
	if mine == nil {
		mine = &turn{token: make(chan struct{}, 1)}
		t.ids[id] = mine
	}
	mine.waiting++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.waiting--; mine.waiting == 0 {
			delete(t.ids, id)
		}
	}
	select {
	case mine.token <- struct{}{}:
		return func() { <-mine.token; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctxError(ctx)
	}
}

// retryPauses are between the tries of a call that fails for reasons that pass.
var retryPauses = []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second}

// try makes a call that is about a sandbox or image, again if it fails for one
// of the given reasons that pass.
func (d *Driver) try(ctx context.Context, cmd command, resource string, passing ...class) (result, error) {
	passing = append(passing, classTransient, classInterrupted)
	for i := 0; ; i++ {
		r, err := d.cli.call(ctx, cmd)
		if err != nil || r.code == 0 {
			return r, err
		}
		c := classify(r)
		if c == classDown || c == classInterrupted {
			d.health.poke()
		}
		if i == len(retryPauses) || !slices.Contains(passing, c) || c == classInterrupted && i > 0 {
			return r, failure(r, resource)
		}
		if err := d.wait(ctx, nil, retryPauses[i]); err != nil {
			return r, err
		}
	}
}

// read asks for JSON, again if it comes in half.
func (d *Driver) read(ctx context.Context, cmd command, resource string, parse func(string) error) error {
	for i := 0; ; i++ {
		r, err := d.try(ctx, cmd, resource)
		if err != nil {
			return err
		}
		if err = parse(r.stdout); err == nil {
			return nil
		}
		if i == 2 {
			return driver.Errorf(driver.Internal, "what Apple's container says about %s cannot be read: %w", resource, err).About(resource).
				Remedy("see whether the system is newer or older than the CLI", "container", "system", "status")
		}
		if err := d.wait(ctx, nil, retryPauses[0]/2); err != nil {
			return err
		}
	}
}

// Get describes a sandbox. For one that is absent inspect prints an empty list
// up to 0.12 and fails from 1.0 on.
func (d *Driver) Get(ctx context.Context, id string) (driver.Sandbox, error) {
	if err := checkID(id); err != nil {
		return driver.Sandbox{}, err
	}
	var found []driver.Sandbox
	err := d.read(ctx, command{limit: quickLimit, args: []string{"inspect", id}}, id, func(text string) (err error) {
		found, err = parseSnapshots(text)
		return err
	})
	if err != nil {
		return driver.Sandbox{}, err
	}
	for _, sb := range found {
		if sb.ID == id {
			return sb, nil
		}
	}
	return driver.Sandbox{}, errAbsent(id)
}

func errAbsent(id string) *driver.Error {
	return driver.Errorf(driver.NotFound, "there is no sandbox %s", id).About(id)
}

// List describes the sandboxes with the given labels. The CLI has no filter, and
// from 0.10 on it leaves out what does not run unless it is told not to.
func (d *Driver) List(ctx context.Context, labels map[string]string) ([]driver.Sandbox, error) {
	var all []driver.Sandbox
	err := d.read(ctx, command{limit: quickLimit, args: []string{"list", "--all", "--format", "json"}}, "sandboxes", func(text string) (err error) {
		all, err = parseSnapshots(text)
		return err
	})
	return slices.DeleteFunc(all, func(sb driver.Sandbox) bool {
		for name, value := range labels {
			if got, ok := sb.Labels[name]; !ok || got != value {
				return true
			}
		}
		return false
	}), err
}

// Create makes a container and does not run it. It is create and start, never
// run, which takes the container away when anything goes wrong after.
func (d *Driver) Create(ctx context.Context, spec driver.SandboxSpec) (driver.Sandbox, error) {
	e, err := d.cli.engine(ctx)
	if err != nil {
		return driver.Sandbox{}, err
	}
	p, err := newPlan(e, spec, d.cli.nameServers())
	if err != nil {
		return driver.Sandbox{}, err
	}
	release, err := d.turns.take(ctx, spec.ID)
	if err != nil {
		return driver.Sandbox{}, err
	}
	defer release()
	there, err := d.Get(ctx, spec.ID)
	if driver.ReasonOf(err) != driver.NotFound {
		return same(there, spec, err)
	}
	// create would pull a missing image, whatever that takes.
	if _, err := d.localImage(ctx, spec.Image); err != nil {
		return driver.Sandbox{}, err
	}
	if err := d.create(ctx, p, spec); driver.ReasonOf(err) == driver.AlreadyExists {
		there, getErr := d.Get(ctx, spec.ID)
		if driver.ReasonOf(getErr) == driver.NotFound {
			return driver.Sandbox{}, errNameTaken(spec.ID)
		}
		return same(there, spec, getErr)
	} else if err != nil {
		return driver.Sandbox{}, err
	}
	return d.Get(ctx, spec.ID)
}

func (c *cli) nameServers() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dns
}

// same is the sandbox that is there already, if it is the one that is wanted.
func same(there driver.Sandbox, spec driver.SandboxSpec, err error) (driver.Sandbox, error) {
	switch {
	case err != nil:
		return driver.Sandbox{}, err
	case !ours(there):
		return driver.Sandbox{}, errForeign(spec.ID)
	case !maps.Equal(there.Labels, spec.Labels):
		e := driver.Errorf(driver.AlreadyExists, "a sandbox %s exists, made from another specification", spec.ID).About(spec.ID)
		return driver.Sandbox{}, e.Remedy("make it anew", "sero", "recreate")
	}
	return there, nil
}

func errForeign(id string) *driver.Error {
	return driver.Errorf(driver.ForeignResource, "a container %s exists and is not sero's; it is left alone", id).About(id).
		Remedy("rename or remove it yourself", "container", "delete", id)
}

// errNameTaken is for a name that the system will not give and has nothing under.
// Whose it is cannot be told, so it is not taken away (B18).
func errNameTaken(id string) *driver.Error {
	e := driver.Errorf(driver.Corrupt, "Apple's container says that %s exists, and shows nothing of that name", id).About(id).
		Remedy("remove what it keeps of it", "container", "delete", "--force", id)
	return remedyRestart(e)
}

func failureOf(c class, id string) *driver.Error {
	m := meanings[c]
	e := driver.Errorf(m.reason, "%s", strings.ReplaceAll(m.message, "%s", id)).About(id)
	e.Remedies = slices.Clone(m.remedies)
	return e
}

// create runs the CLI, with the secrets in a file that only this user can read
// and that is gone when it returns.
func (d *Driver) create(ctx context.Context, p plan, spec driver.SandboxSpec) error {
	envFile := ""
	if len(p.secrets) > 0 {
		f, err := os.CreateTemp("", "sero-env-*") // 0600
		if err != nil {
			return driver.Errorf(driver.Internal, "secrets cannot be handed over: %w", err)
		}
		defer func() { _ = os.Remove(f.Name()) }() // it is ours, and there
		envFile = f.Name()
		_, err = f.WriteString(strings.Join(p.secrets, "\n") + "\n")
		if err = errors.Join(err, f.Close()); err != nil {
			return driver.Errorf(driver.Internal, "secrets cannot be handed over: %w", err)
		}
	}
	_, err := d.try(ctx, command{limit: createLimit, args: p.command(envFile, spec.Image)}, spec.ID)
	return err
}

// mine describes a sandbox that is about to be changed. ForeignResource for one
// that sero did not make.
func (d *Driver) mine(ctx context.Context, id string) (driver.Sandbox, error) {
	sb, err := d.Get(ctx, id)
	if err == nil && !ours(sb) {
		err = errForeign(id)
	}
	return sb, err
}

// addressLimit is how long a sandbox that was started may take to tell its
// address.
const addressLimit = 5 * time.Second

// Start makes a sandbox run, and waits for its address.
func (d *Driver) Start(ctx context.Context, id string) (driver.Sandbox, error) {
	if err := checkID(id); err != nil {
		return driver.Sandbox{}, err
	}
	release, err := d.turns.take(ctx, id)
	if err != nil {
		return driver.Sandbox{}, err
	}
	defer release()
	sb, err := d.mine(ctx, id)
	if err != nil || connected(sb) {
		return sb, err
	}
	if sb.State != driver.SandboxRunning {
		// The caller's SSH_AUTH_SOCK is in the driver's environment, where the CLI
		// looks for it when it starts a container.
		_, err := d.try(ctx, command{limit: startLimit, args: []string{"start", id}}, id, classStopping)
		if err != nil {
			return driver.Sandbox{}, err
		}
	}
	for deadline := time.Now().Add(addressLimit); ; {
		sb, err = d.Get(ctx, id)
		switch {
		case err != nil:
			return sb, err
		case sb.State == driver.SandboxStopped: // its main process has ended
			return sb, failureOf(classCorrupt, id)
		case connected(sb), sb.State == driver.SandboxRunning && time.Now().After(deadline):
			return sb, nil
		case time.Now().After(deadline.Add(addressLimit)):
			return sb, driver.Errorf(driver.Internal, "sandbox %s was started and does not run", id).About(id).
				Remedy("make it anew", "sero", "recreate")
		}
		if err := d.wait(ctx, nil, 150*time.Millisecond); err != nil {
			return sb, err
		}
	}
}

// connected tells whether a sandbox runs and has told its address, if it gets
// one.
func connected(sb driver.Sandbox) bool {
	return sb.State == driver.SandboxRunning && (len(sb.Addresses) > 0 || sb.Network == driver.NetworkIsolated)
}

// Stop asks every process in the sandbox to exit, and stops it once they have or
// grace has passed. The CLI's own stop asks the main process alone.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	if err := checkID(id); err != nil {
		return err
	}
	release, err := d.turns.take(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	sb, err := d.mine(ctx, id)
	if err != nil || sb.State == driver.SandboxStopped {
		return err
	}
	if sb.State == driver.SandboxRunning && grace > 0 {
		if err := d.askToExit(ctx, id, grace); err != nil && ctx.Err() != nil {
			return err // else stop says what is wrong
		}
	}
	return d.stop(ctx, id)
}

// stopSeconds is what the main process gets to end in, which it does at once.
const stopSeconds = 2

func (d *Driver) stop(ctx context.Context, id string) error {
	_, err := d.try(ctx, command{
		limit: 30 * time.Second, args: []string{"stop", "--time", strconv.Itoa(stopSeconds), id}, free: true,
	}, id)
	if err != nil && ctx.Err() == nil {
		// It may hang or fail on a machine that is busy or dead already (#754, #928).
		if _, killErr := d.try(ctx, command{limit: signalLimit, args: []string{"kill", "--signal", "KILL", id}, free: true}, id); killErr != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		sb, err := d.Get(ctx, id)
		switch {
		case driver.ReasonOf(err) == driver.NotFound:
			return nil // somebody has removed it meanwhile
		case err != nil:
			return err
		case sb.State == driver.SandboxStopped:
			return nil
		case time.Now().After(deadline):
			return failureOf(classStopping, id)
		}
		if err := d.wait(ctx, nil, 150*time.Millisecond); err != nil {
			return err
		}
	}
}

// Remove takes a sandbox away; force takes away what runs or is broken, too.
func (d *Driver) Remove(ctx context.Context, id string, force bool) error {
	if err := checkID(id); err != nil {
		return err
	}
	release, err := d.turns.take(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	sb, err := d.mine(ctx, id)
	switch reason := driver.ReasonOf(err); {
	case reason == driver.NotFound:
		return nil
	case reason == driver.Corrupt && force:
		if err := d.listedAsOurs(ctx, id); err != nil {
			return err
		}
	case err != nil:
		return err
	case sb.State == driver.SandboxRunning && !force:
		return failureOf(classRunning, id)
	}
	args := []string{"delete", id}
	if force {
		args = []string{"delete", "--force", id}
	}
	_, err = d.try(ctx, command{limit: deleteLimit, args: args}, id, classStopping)
	if err == nil || driver.ReasonOf(err) == driver.NotFound {
		return nil
	}
	if _, gone := d.Get(ctx, id); driver.ReasonOf(gone) == driver.NotFound { // it said no, and did it
		return nil
	}
	if force && driver.ReasonOf(err) == driver.Corrupt { // up to 0.9 not even force helps
		e := driver.AsError(err)
		e.Remedies = nil
		return remedyRestart(e)
	}
	return err
}

// listedAsOurs is nil if a sandbox that cannot be inspected is listed with sero's
// labels.
func (d *Driver) listedAsOurs(ctx context.Context, id string) error {
	all, err := d.List(ctx, map[string]string{driver.LabelManaged: "true"})
	if err == nil && !slices.ContainsFunc(all, func(sb driver.Sandbox) bool { return sb.ID == id }) {
		err = errForeign(id)
	}
	return err
}
