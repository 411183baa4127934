package docker

import (
	"context"
	"io"

	"github.com/moby/moby/client"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// CopyIn unpacks a tar stream below a directory of the container.
func (d *Driver) CopyIn(ctx context.Context, id, directory string, tar io.Reader) error {
	c, err := d.owned(ctx, id)
	if err != nil {
		return err
	}
	err = do(ctx, d, imageLimit, func(ctx context.Context, api *connection) error {
		// Podman makes a directory that is not there.
		if _, err := api.ContainerStatPath(ctx, c.ID, client.ContainerStatPathOptions{Path: directory}); err != nil {
			return err
		}
		_, err := api.CopyToContainer(ctx, c.ID, client.CopyToContainerOptions{DestinationPath: directory, Content: tar})
		return err
	})
	return errPath(id, directory, err)
}

// CopyOut packs a path of the container as a tar stream.
func (d *Driver) CopyOut(ctx context.Context, id, path string, tar io.Writer) error {
	c, err := d.owned(ctx, id)
	if err != nil {
		return err
	}
	err = do(ctx, d, imageLimit, func(ctx context.Context, api *connection) error {
		file, err := api.CopyFromContainer(ctx, c.ID, client.CopyFromContainerOptions{SourcePath: path})
		if err != nil {
			return err
		}
		defer file.Content.Close()
		_, err = io.Copy(tar, file.Content)
		return err
	})
	return errPath(id, path, err)
}

func errPath(id, path string, err error) error {
	if driver.ReasonOf(err) == driver.NotFound {
		return driver.Errorf(driver.NotFound, "there is no %s in sandbox %s", path, id).About(path)
	}
	return err
}
