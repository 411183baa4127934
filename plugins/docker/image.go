package docker

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/imageref"
)

// EnsureImage gives a local image, pulled if it has to be.
func (d *Driver) EnsureImage(ctx context.Context, reference string, policy driver.PullPolicy, report func(driver.Progress)) (driver.Image, error) {
	if err := imageref.Check("reference", reference); err != nil {
		return driver.Image{}, err
	}
	if policy != driver.PullAlways {
		local, err := d.image(ctx, reference)
		if driver.ReasonOf(err) != driver.ImageNotFound || policy == driver.PullNever {
			return local, err
		}
	}
	if err := d.pull(ctx, reference, report); err != nil {
		return driver.Image{}, err
	}
	return d.image(ctx, reference)
}

// image describes a local image.
func (d *Driver) image(ctx context.Context, reference string) (driver.Image, error) {
	if err := imageref.Check("reference", reference); err != nil {
		return driver.Image{}, err
	}
	said, err := call(ctx, d, readLimit, func(ctx context.Context, c *connection) (client.ImageInspectResult, error) {
		return c.ImageInspect(ctx, reference)
	})
	if driver.ReasonOf(err) == driver.NotFound {
		return driver.Image{}, errImage(reference, err)
	}
	if err != nil {
		return driver.Image{}, err
	}
	local := driver.Image{Reference: reference, Digest: said.ID, SizeBytes: said.Size, Created: when(said.Created)}
	if said.Config != nil {
		local.Labels = said.Config.Labels
	}
	return local, nil
}

func errImage(reference string, cause error) error {
	e := driver.Errorf(driver.ImageNotFound, "there is no image %s", reference).About(reference)
	e.Err = cause
	return e.Remedy("pull it", "docker", "pull", reference)
}

// pull fetches an image. Whatever keeps it from coming, there is no such image
// here, and the message says why.
func (d *Driver) pull(ctx context.Context, reference string, report func(driver.Progress)) error {
	err := do(ctx, d, imageLimit, func(ctx context.Context, c *connection) error {
		stream, err := c.ImagePull(ctx, reference, client.ImagePullOptions{})
		if err != nil {
			return err
		}
		defer stream.Close()
		layers := layers{}
		return messages(stream, func(m message) { report(layers.add(m)) })
	})
	if err == nil {
		return nil
	}
	_, refused := errors.AsType[*messageError](err)
	switch reason := driver.ReasonOf(err); {
	case reason == driver.OutOfDisk:
	case refused, reason == driver.NotFound, reason == driver.PermissionDenied, reason == driver.Internal:
		e := driver.Errorf(driver.ImageNotFound, "image %s is not here and could not be pulled: %s", reference, driver.AsError(err).Message).About(reference)
		e.Err = err
		return e.Remedy("check its name, and whether the registry can be reached", "docker", "pull", reference)
	}
	return err
}

// message is one line of what an engine tells while it pulls or builds.
type message struct {
	Stream   string
	Status   string
	ID       string
	Progress struct{ Current, Total int64 } `json:"progressDetail"`
	Error    *messageError                  `json:"errorDetail"`
	Aux      json.RawMessage
}

// messageError is what ended a pull or a build, after the engine's status 200.
type messageError struct {
	Message string
}

// Error is the engine's message.
func (e *messageError) Error() string { return e.Message }

// messages reads an engine's progress until its end or its error.
func messages(r io.Reader, each func(message)) error {
	for decoder := json.NewDecoder(r); ; {
		var m message
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if m.Error != nil {
			return m.Error
		}
		each(m)
	}
}

// layers adds up the progress of an image's layers.
type layers map[string]struct{ current, total int64 }

func (l layers) add(m message) driver.Progress {
	if m.ID != "" && m.Progress.Total > 0 && m.Status == "Downloading" {
		l[m.ID] = struct{ current, total int64 }{m.Progress.Current, m.Progress.Total}
	}
	text := m.Status
	if m.ID != "" {
		text = m.ID + ": " + m.Status
	}
	p := driver.Progress{Phase: "pull", Message: text, Unit: "bytes"}
	for _, layer := range l {
		p.Current += layer.current
		p.Total += layer.total
	}
	return p
}

// RemoveImage removes a reference, and the image when it was the last one.
func (d *Driver) RemoveImage(ctx context.Context, reference string, force bool) error {
	local, err := d.image(ctx, reference)
	if driver.ReasonOf(err) == driver.ImageNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if !force {
		// An engine removes one name of several from under a container.
		if err := d.checkUnused(ctx, local); err != nil {
			return err
		}
	}
	err = do(ctx, d, changeLimit, func(ctx context.Context, c *connection) error {
		_, err := c.ImageRemove(ctx, reference, client.ImageRemoveOptions{Force: force, PruneChildren: true})
		return err
	})
	switch {
	case driver.ReasonOf(err) == driver.NotFound:
		return nil
	case errdefs.IsConflict(err):
		return errInUse(reference, driver.AsError(err).Message)
	}
	return err
}

func (d *Driver) checkUnused(ctx context.Context, local driver.Image) error {
	filter := client.Filters{}.Add("ancestor", local.Digest)
	users, err := call(ctx, d, readLimit, func(ctx context.Context, c *connection) (client.ContainerListResult, error) {
		return c.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filter})
	})
	if err != nil {
		return err
	}
	for _, user := range users.Items {
		if user.ImageID == local.Digest && familiar(user.Image) == familiar(local.Reference) && len(user.Names) > 0 {
			return errInUse(local.Reference, "container "+strings.TrimPrefix(user.Names[0], "/")+" is made from it")
		}
	}
	return nil
}

func errInUse(reference, why string) error {
	return driver.Errorf(driver.ImageInUse, "image %s is in use: %s", reference, why).About(reference).
		Remedy("remove what uses it first")
}

// ListImages lists the names of local images that carry the labels.
func (d *Driver) ListImages(ctx context.Context, labels map[string]string) ([]driver.Image, error) {
	filter := client.Filters{}
	addLabels(filter, labels)
	found, err := call(ctx, d, readLimit, func(ctx context.Context, c *connection) (client.ImageListResult, error) {
		return c.ImageList(ctx, client.ImageListOptions{Filters: filter})
	})
	if err != nil {
		return nil, err
	}
	var all []driver.Image
	for _, item := range found.Items {
		if carries(item.Labels, labels) {
			all = append(all, namesOf(item)...)
		}
	}
	slices.SortFunc(all, func(a, b driver.Image) int { return strings.Compare(a.Reference, b.Reference) })
	return all, nil
}

// familiar is an image's name as people write it: Podman puts the registry first
// that Docker leaves away.
func familiar(reference string) string {
	if short, hub := strings.CutPrefix(reference, "docker.io/"); hub {
		return strings.TrimPrefix(short, "library/")
	}
	return reference
}

// noName is how engines write that an image has none.
const noName = "<none>:<none>"

func namesOf(item image.Summary) []driver.Image {
	one := driver.Image{Digest: item.ID, SizeBytes: item.Size, Created: time.Unix(item.Created, 0), Labels: item.Labels}
	var all []driver.Image
	for _, reference := range item.RepoTags {
		if reference != noName {
			one.Reference = familiar(reference)
			all = append(all, one)
		}
	}
	if len(all) == 0 {
		one.Reference = item.ID
		all = append(all, one)
	}
	return all
}
