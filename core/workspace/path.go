package workspace

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strings"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// hostPath is the host driver's PATH, for a caller that sends none.
const hostPath = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

// searchPath is PATH with the directories of a file before it; none if the file names
// none. PATH is the file's own, else the caller's on the host, else the image's.
func (c *command) searchPath(ctx context.Context, d driver.Driver, file config.Workspace) ([]driver.EnvVar, error) {
	if len(file.Path) == 0 {
		return nil, nil
	}
	rest, given := file.Env["PATH"]
	if !given && c.sandbox.choice.HostMode {
		rest = hostPath
		if i := slices.IndexFunc(c.options.Caller, func(v driver.EnvVar) bool { return v.Name == "PATH" }); i >= 0 {
			rest = c.options.Caller[i].Value
		}
	} else if !given {
		var err error
		if rest, err = c.imagePath(ctx, d); err != nil {
			return nil, err
		}
	}
	var dirs []string
	for _, dir := range file.Path {
		if !path.IsAbs(dir) {
			dir = path.Join(c.sandbox.state.WorkspaceDir, dir)
		}
		dirs = append(dirs, dir)
	}
	if rest != "" {
		dirs = append(dirs, rest)
	}
	return []driver.EnvVar{{Name: "PATH", Value: strings.Join(dirs, ":")}}, nil
}

// imagePath is the PATH that commands in the sandbox have by themselves. It is asked
// for once in each sandbox.
func (c *command) imagePath(ctx context.Context, d driver.Driver) (string, error) {
	c.e.mu.Lock()
	known, of := c.e.imagePath, c.e.imagePathOf
	c.e.mu.Unlock()
	instance := c.sandbox.state.Instance
	if known != "" && of == instance && instance != "" {
		return known, nil
	}
	found, err := c.m.asRoot(ctx, d, c.sandbox.state.ID, `printf %s "$PATH"`)
	if err != nil {
		return "", err
	}
	found = cmp.Or(found, hostPath)
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	c.e.imagePath, c.e.imagePathOf = found, instance
	return found, nil
}
