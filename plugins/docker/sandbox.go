package docker

import (
	"context"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Create makes a container, which does not run.
func (d *Driver) Create(ctx context.Context, spec driver.SandboxSpec) (driver.Sandbox, error) {
	if err := d.checkSpec(spec); err != nil {
		return driver.Sandbox{}, err
	}
	done, err := d.turns.take(ctx, spec.ID)
	if err != nil {
		return driver.Sandbox{}, err
	}
	defer done()
	for {
		c, err := d.find(ctx, spec.ID)
		if err == nil {
			return d.existing(ctx, c, spec)
		}
		if driver.ReasonOf(err) != driver.NotFound {
			return driver.Sandbox{}, err
		}
		sb, err := d.create(ctx, spec)
		if !errdefs.IsConflict(err) {
			return sb, err
		}
		// Another process was faster; it may take a moment to be seen.
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return driver.Sandbox{}, err
		}
	}
}

// existing is the answer to a Create of what exists.
func (d *Driver) existing(ctx context.Context, c container.Summary, spec driver.SandboxSpec) (driver.Sandbox, error) {
	if err := checkOwned(c, spec.ID); err != nil {
		return driver.Sandbox{}, err
	}
	if !maps.Equal(labelsOf(c.Labels), spec.Labels) {
		return driver.Sandbox{}, driver.Errorf(driver.AlreadyExists, "sandbox %s exists with another specification", spec.ID).
			About(spec.ID).
			Remedy("remove it, which keeps the workspace's files; the next command makes it anew", "sero", "rm", "-w", spec.Labels[driver.LabelWorkspaceID])
	}
	return d.describe(ctx, c)
}

func (d *Driver) create(ctx context.Context, spec driver.SandboxSpec) (driver.Sandbox, error) {
	if err := d.checkLimits(ctx, spec.Resources); err != nil {
		return driver.Sandbox{}, err
	}
	made, err := call(ctx, d, changeLimit, func(ctx context.Context, c *connection) (client.ContainerCreateResult, error) {
		return c.ContainerCreate(ctx, client.ContainerCreateOptions{
			Name: spec.ID, Config: configOf(spec), HostConfig: hostConfigOf(spec, c.ClientVersion()),
		})
	})
	if driver.ReasonOf(err) == driver.NotFound {
		return driver.Sandbox{}, errImage(spec.Image, err)
	}
	if err != nil {
		return driver.Sandbox{}, err
	}
	if err := d.keepSecrets(ctx, made.ID, spec.Env); err != nil {
		_ = d.remove(context.WithoutCancel(ctx), made.ID) // without them it is of no use
		return driver.Sandbox{}, err
	}
	return d.inspect(ctx, made.ID)
}

// Start makes a container run; one that is paused goes on.
func (d *Driver) Start(ctx context.Context, id string) (driver.Sandbox, error) {
	done, c, err := d.change(ctx, id)
	if err != nil {
		return driver.Sandbox{}, err
	}
	defer done()
	switch stateOf(c.State) {
	case driver.SandboxRunning:
		return d.describe(ctx, c)
	case driver.SandboxCorrupt:
		return driver.Sandbox{}, errCorrupt(id, "the engine could not remove it")
	case driver.SandboxPaused:
		err = d.unpause(ctx, c.ID)
	default:
		err = d.start(ctx, id, c)
	}
	if err != nil {
		return driver.Sandbox{}, err
	}
	return d.inspect(ctx, c.ID)
}

func (d *Driver) unpause(ctx context.Context, container string) error {
	err := do(ctx, d, changeLimit, func(ctx context.Context, c *connection) error {
		_, err := c.ContainerUnpause(ctx, container, client.ContainerUnpauseOptions{})
		return err
	})
	if errdefs.IsConflict(err) { // it is not paused any more
		return nil
	}
	return err
}

// startPauses come before the attempts to start a container. An engine that is
// being stopped refuses for a while, with reasons of its own, before it goes away.
var startPauses = []time.Duration{0, 500 * time.Millisecond, 2 * time.Second}

// start starts a container. An engine does not say whether a failure is for
// ever, so one that stays is looked into: a container whose files cannot be read
// is lost, any other is kept.
func (d *Driver) start(ctx context.Context, id string, c container.Summary) error {
	var err error
	for _, pause := range startPauses {
		if err := sleep(ctx, pause); err != nil {
			return err
		}
		err = do(ctx, d, changeLimit, func(ctx context.Context, api *connection) error {
			_, err := api.ContainerStart(ctx, c.ID, client.ContainerStartOptions{})
			return err
		})
		switch driver.ReasonOf(err) {
		case driver.Internal, driver.InvalidArgument, driver.PermissionDenied:
		case driver.NotFound: // the container, or something that it is made of
			if _, gone := d.find(ctx, id); gone != nil {
				return gone
			}
		default:
			return err
		}
		if err := checkMounts(bindsOf(c.Mounts)); err != nil {
			return err
		}
	}
	switch why := driver.AsError(err).Message; driver.ReasonOf(err) {
	case driver.PermissionDenied:
		return err
	case driver.InvalidArgument: // its program cannot be run
		return errUnfitImage(c.Image, why)
	default:
		return d.lost(ctx, id, c, why)
	}
}

// lost is Corrupt for a container whose files cannot be read any more, and else
// Internal: why it does not start is not known then, and it may start later.
func (d *Driver) lost(ctx context.Context, id string, c container.Summary, why string) error {
	err := do(ctx, d, readLimit, func(ctx context.Context, api *connection) error {
		_, err := api.ContainerStatPath(ctx, c.ID, client.ContainerStatPathOptions{Path: "/"})
		return err
	})
	switch driver.ReasonOf(err) {
	case "":
		return driver.Errorf(driver.Internal, "sandbox %s does not start: %s", id, why).About(id)
	case driver.Internal, driver.NotFound:
		return errCorrupt(id, why)
	default:
		return err
	}
}

// errUnfitImage is about an image without a program that sandboxes need, or with
// one that this machine cannot run.
func errUnfitImage(image, why string) error {
	err := driver.Errorf(driver.InvalidArgument, "the image %s cannot be a sandbox: %s", image, why).About(image)
	err.Field = "image"
	return err.Remedy("use an image for " + runtime.GOARCH + " that has sh and sleep")
}

func errCorrupt(id, why string) error {
	return driver.Errorf(driver.Corrupt, "sandbox %s cannot be started again: %s", id, why).About(id).
		Remedy("remove it, which keeps the workspace's files; the next command makes it anew", "sero", "rm", "-w", strings.TrimPrefix(id, "sero-"))
}

// Stop asks every process of the container to end, and then the container.
func (d *Driver) Stop(ctx context.Context, id string, grace time.Duration) error {
	done, c, err := d.change(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	switch stateOf(c.State) {
	case driver.SandboxStopped, driver.SandboxCorrupt:
		return nil
	case driver.SandboxPaused: // what is paused does not end
		if err := d.unpause(ctx, c.ID); err != nil {
			return err
		}
	default:
	}
	if grace > 0 {
		// The engine's own stop asks the main process only.
		if err := d.endAll(ctx, c.ID, grace); err != nil && ctx.Err() != nil {
			return err
		}
	}
	seconds := 1 // for the main process, which ends at once
	err = do(ctx, d, changeLimit, func(ctx context.Context, api *connection) error {
		_, err := api.ContainerStop(ctx, c.ID, client.ContainerStopOptions{Timeout: &seconds})
		return err
	})
	if driver.ReasonOf(err) == driver.NotFound {
		return nil // it was removed meanwhile
	}
	if err != nil {
		return err
	}
	return d.settle(ctx, id)
}

// settle waits until the engine's lists tell of a stop: Docker 26 and newer say
// that a container has stopped before their lists do. One that is running, when
// it is asked about by itself, was started again by somebody else.
func (d *Driver) settle(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readLimit, errSlow)
	defer cancel()
	for {
		c, err := d.find(ctx, id)
		if driver.ReasonOf(err) == driver.NotFound {
			return nil
		}
		if err != nil || stateOf(c.State) != driver.SandboxRunning {
			return err
		}
		sb, err := d.inspect(ctx, c.ID)
		if err == nil && sb.State == driver.SandboxRunning {
			return nil
		}
		if err != nil && driver.ReasonOf(err) != driver.NotFound {
			return err
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// Remove takes a container away, with its anonymous volumes.
func (d *Driver) Remove(ctx context.Context, id string, force bool) error {
	done, c, err := d.change(ctx, id)
	if driver.ReasonOf(err) == driver.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	defer done()
	if state := stateOf(c.State); !force && (state == driver.SandboxRunning || state == driver.SandboxPaused) {
		return driver.Errorf(driver.NotStopped, "sandbox %s is %s", id, state).About(id).
			Remedy("stop it first", "sero", "stop", "-w", strings.TrimPrefix(id, "sero-"))
	}
	return d.remove(ctx, c.ID)
}

// remove removes a container by force and returns once it is gone.
func (d *Driver) remove(ctx context.Context, container string) error {
	defer d.secrets.forget(container)
	defer d.adopted.forget(container)
	for {
		err := do(ctx, d, changeLimit, func(ctx context.Context, c *connection) error {
			_, err := c.ContainerRemove(ctx, container, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			return err
		})
		if driver.ReasonOf(err) == driver.NotFound {
			return nil
		}
		if err != nil && !errdefs.IsConflict(err) { // another process removes it at this moment
			return err
		}
		if _, err := d.inspect(ctx, container); driver.ReasonOf(err) == driver.NotFound {
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// Get describes a container, whoever made it.
func (d *Driver) Get(ctx context.Context, id string) (driver.Sandbox, error) {
	if err := checkID(id); err != nil {
		return driver.Sandbox{}, err
	}
	c, err := d.find(ctx, id)
	if err != nil {
		return driver.Sandbox{}, err
	}
	return d.describe(ctx, c)
}

// List describes the containers of sero that carry the labels.
func (d *Driver) List(ctx context.Context, labels map[string]string) ([]driver.Sandbox, error) {
	filter := client.Filters{}.Add("label", driver.LabelManaged+"=true")
	addLabels(filter, labels)
	found, err := call(ctx, d, readLimit, func(ctx context.Context, c *connection) (client.ContainerListResult, error) {
		return c.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter})
	})
	if err != nil {
		return nil, err
	}
	all := make([]driver.Sandbox, len(found.Items))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, item := range found.Items {
		group.Go(func() (err error) {
			all[i], err = d.describe(ctx, item)
			if driver.ReasonOf(err) == driver.NotFound {
				return nil // it went away meanwhile
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(s driver.Sandbox) bool { return s.ID == "" || !carries(s.Labels, labels) })
	slices.SortFunc(all, func(a, b driver.Sandbox) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

// describe asks for the rest of what a list tells of a container, which is
// corrupt when the engine knows no more of it, as when its files are gone. It
// does not ask about a paused one: an engine that was about to start a command
// in it at that moment would never answer, and never let it go on.
func (d *Driver) describe(ctx context.Context, item container.Summary) (driver.Sandbox, error) {
	if item.State == container.StatePaused {
		return describeSummary(item), nil
	}
	sb, err := d.inspect(ctx, item.ID)
	if driver.ReasonOf(err) == driver.Internal {
		sb = describeSummary(item)
		sb.State = driver.SandboxCorrupt
		return sb, nil
	}
	return sb, err
}

// maxFilter is the longest label that an engine is asked for: filters go into the
// address of a request, and every answer is looked through anyway.
const maxFilter = 1000

func addLabels(filter client.Filters, labels map[string]string) {
	for key, value := range labels {
		if len(key)+len(value) <= maxFilter {
			filter.Add("label", key+"="+value)
		}
	}
}

func carries(have, want map[string]string) bool {
	for key, value := range want {
		if got, ok := have[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// inspect describes a container by the engine's id.
func (d *Driver) inspect(ctx context.Context, id string) (driver.Sandbox, error) {
	result, err := call(ctx, d, readLimit, func(ctx context.Context, c *connection) (client.ContainerInspectResult, error) {
		return c.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	})
	if err != nil {
		return driver.Sandbox{}, err
	}
	return describe(result.Container), nil
}

// find looks for a container by its name.
func (d *Driver) find(ctx context.Context, id string) (container.Summary, error) {
	filter := client.Filters{}.Add("name", "^/?"+id+"$")
	found, err := call(ctx, d, readLimit, func(ctx context.Context, c *connection) (client.ContainerListResult, error) {
		return c.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter})
	})
	if err != nil {
		return container.Summary{}, err
	}
	for _, item := range found.Items {
		if nameOf(item) == id {
			return item, nil
		}
	}
	return container.Summary{}, driver.Errorf(driver.NotFound, "there is no sandbox %s", id).About(id)
}

func nameOf(item container.Summary) string {
	for _, name := range item.Names {
		if name = strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") { // else it is a link's
			return name
		}
	}
	return ""
}

// owned is the container of a sandbox, which must be sero's. What follows is to
// name it by the engine's id: its name may be another's by then.
func (d *Driver) owned(ctx context.Context, id string) (container.Summary, error) {
	if err := checkID(id); err != nil {
		return container.Summary{}, err
	}
	c, err := d.find(ctx, id)
	if err == nil {
		err = checkOwned(c, id)
	}
	return c, err
}

// change is owned, with the sandbox's turn.
func (d *Driver) change(ctx context.Context, id string) (done func(), c container.Summary, err error) {
	if done, err = d.turns.take(ctx, id); err != nil {
		return nil, c, err
	}
	if c, err = d.owned(ctx, id); err != nil {
		done()
		return nil, c, err
	}
	return done, c, nil
}

func checkOwned(c container.Summary, id string) error {
	if c.Labels[driver.LabelManaged] == "true" && c.Labels[driver.LabelDriver] == name {
		return nil
	}
	return driver.Errorf(driver.ForeignResource, "the container %s is not sero's; it is left alone", id).About(id).
		Remedy("rename it, if it is yours", "docker", "rename", id, id+"-other")
}
