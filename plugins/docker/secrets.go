package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"slices"
	"sync"

	"github.com/moby/moby/client"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// secretsFile holds a sandbox's secret variables, in the container and readable
// by its root only: an engine shows a container's environment to everybody who
// may use the engine. Commands are given them one by one.
const secretsFile = "/.sero-secrets"

// secrets remembers what was read, by container.
type secrets struct {
	mu sync.Mutex
	of map[string][]string
}

// keepSecrets writes the secret variables into a container that has not started.
func (d *Driver) keepSecrets(ctx context.Context, container string, env []driver.EnvVar) error {
	var values []string
	for _, v := range env {
		if v.Secret {
			values = append(values, v.Name+"="+v.Value)
		}
	}
	if len(values) == 0 {
		return nil
	}
	text, err := json.Marshal(values)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	_ = w.WriteHeader(&tar.Header{Name: secretsFile[1:], Mode: 0o400, Size: int64(len(text))}) // a buffer takes all
	_, _ = w.Write(text)
	_ = w.Close()
	return do(ctx, d, changeLimit, func(ctx context.Context, c *connection) error {
		_, err := c.CopyToContainer(ctx, container, client.CopyToContainerOptions{DestinationPath: "/", Content: &archive})
		return err
	})
}

// secretsOf gives a container's secret variables as NAME=value.
func (d *Driver) secretsOf(ctx context.Context, container string) ([]string, error) {
	d.secrets.mu.Lock()
	values, known := d.secrets.of[container]
	d.secrets.mu.Unlock()
	if known {
		return values, nil
	}
	text, err := call(ctx, d, readLimit, func(ctx context.Context, api *connection) ([]byte, error) {
		file, err := api.CopyFromContainer(ctx, container, client.CopyFromContainerOptions{SourcePath: secretsFile})
		if err != nil {
			return nil, err
		}
		defer file.Content.Close()
		r := tar.NewReader(file.Content)
		if _, err := r.Next(); err != nil {
			return nil, err
		}
		return io.ReadAll(io.LimitReader(r, 16<<20))
	})
	switch {
	case driver.ReasonOf(err) == driver.NotFound: // it has none
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(text, &values); err != nil {
			return nil, driver.Errorf(driver.Corrupt, "the secret variables of the sandbox cannot be read").About(secretsFile)
		}
	}
	d.secrets.mu.Lock()
	defer d.secrets.mu.Unlock()
	d.secrets.of[container] = slices.Clip(values)
	return values, nil
}

func (s *secrets) forget(container string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, container)
}
