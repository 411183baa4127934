package mount

import (
	"path"
	"slices"
	"strings"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Own is how a sandbox shows a workspace's directory at its own absolute path,
// besides WorkspaceTarget.
type Own int

// The ways, the best first.
const (
	OwnMount Own = iota // by a mount, which hides nothing of an image
	OwnLink             // by a link, where nothing is at that path: an image may have something there
	OwnNone             // not at all: the sandbox or another mount has that path
)

// imageTrees are trees that images fill, besides guestTrees. A mount that a person
// asks for may hide a part of them; the workspace's own path is not asked for.
var imageTrees = []string{"/var/cache", "/var/lib", "/var/log", "/var/www/html"}

// kernelTrees are those in which nothing can be made.
var kernelTrees = []string{WorkspaceTarget, "/dev", "/opt/sero", "/proc", "/sys"}

// OwnOf returns how a sandbox with these other mounts shows the directory of a
// workspace, an absolute path without links, at that path.
func OwnOf(dir string, others []driver.Mount) Own {
	if Covers(dir, others) || slices.ContainsFunc(others, func(m driver.Mount) bool { return below(path.Clean(m.Target), dir) }) {
		return OwnNone
	}
	if dir == "/" || slices.ContainsFunc(kernelTrees, func(tree string) bool { return below(dir, tree) || below(tree, dir) }) {
		return OwnNone
	}
	ask := Ask{Field: "workspace.directory", Source: dir, Target: dir}
	parts := strings.Split(strings.TrimPrefix(dir, "/"), "/")
	switch {
	case checkPath(ask, "path", dir) != nil, checkTarget(ask) != nil, len(parts) == 1:
		return OwnLink
	case slices.ContainsFunc(imageTrees, func(tree string) bool { return below(dir, tree) || below(tree, dir) }):
		return OwnLink
	case parts[0] == "home" && len(parts) == 2: // the home of a user of the image
		return OwnLink
	case strings.HasPrefix(path.Base(dir), ".") && (parts[0] == "root" && len(parts) == 2 || parts[0] == "home" && len(parts) == 3): // such as ~/.cargo
		return OwnLink
	}
	return OwnMount
}

// Covers reports whether a path in a sandbox is that of a mount, or below it.
func Covers(p string, mounts []driver.Mount) bool {
	return slices.ContainsFunc(mounts, func(m driver.Mount) bool { return below(p, path.Clean(m.Target)) })
}
