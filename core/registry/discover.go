package registry

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/launch"
)

// Prefix is what the name of a driver's binary begins with; the driver's name
// follows.
const Prefix = "sero-driver-"

// PathVariable is the environment variable that lists directories with drivers,
// before all others.
const PathVariable = "SERO_DRIVER_PATH"

// Origin says where a driver was found.
type Origin string

// The origins, from the one that wins over all others to the last.
const (
	OriginPath    Origin = "path"    // a directory of SERO_DRIVER_PATH
	OriginUser    Origin = "user"    // the user's driver directory
	OriginBeside  Origin = "beside"  // the directory of the sero binary
	OriginBundled Origin = "bundled" // the sero binary itself
)

// Bundled is a driver that a known program serves: the sero binary itself.
type Bundled struct {
	Name string   // of the driver
	Path string   // of the program
	Args []string // that make it serve the driver
}

// binary is a driver on disk.
type binary struct {
	name      string
	path      string
	args      []string
	origin    Origin
	overrides string // the next one of the same name: its path, or "bundled"
	identity  identity
}

// identity tells two states of a file apart.
type identity struct {
	resolved string
	inode    uint64
	size     int64
	mode     fs.FileMode
	changed  time.Time
}

// discover lists the drivers on disk by name. It starts nothing and trusts
// nothing; directories that do not exist are empty.
func discover(c Config) map[string]binary {
	found := map[string]binary{}
	add := func(b binary) {
		if winner, taken := found[b.name]; !taken {
			b.identity = identify(b.path)
			found[b.name] = b
		} else if winner.overrides == "" {
			winner.overrides = b.path
			if b.origin == OriginBundled {
				winner.overrides = string(OriginBundled)
			}
			found[b.name] = winner
		}
	}
	for _, dir := range c.Path {
		addDirectory(c, dir, OriginPath, add)
	}
	addDirectory(c, c.UserDir, OriginUser, add)
	addDirectory(c, c.Beside, OriginBeside, add)
	for _, b := range c.Bundled {
		if launch.NamePattern.MatchString(b.Name) {
			add(binary{name: b.Name, path: b.Path, args: b.Args, origin: OriginBundled})
		}
	}
	return found
}

func addDirectory(c Config, dir string, origin Origin, add func(binary)) {
	if dir == "" {
		return
	}
	if !filepath.IsAbs(dir) {
		c.Log.Warn("a driver directory is not an absolute path and is ignored", "directory", dir, "origin", string(origin))
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.Log.Warn("a driver directory cannot be read", "directory", dir, "error", err)
	}
	for _, entry := range entries {
		name, ok := strings.CutPrefix(entry.Name(), Prefix)
		if !ok {
			continue
		}
		if !launch.NamePattern.MatchString(name) {
			c.Log.Debug("a file with a driver's prefix has no driver's name", "file", entry.Name(), "directory", dir)
			continue
		}
		add(binary{name: name, path: filepath.Join(dir, entry.Name()), origin: origin})
	}
}

func identify(path string) identity {
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return identity{}
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return identity{resolved: resolved}
	}
	id := identity{resolved: resolved, size: info.Size(), mode: info.Mode(), changed: info.ModTime()}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		id.inode = stat.Ino
	}
	return id
}

func (b binary) same(o binary) bool {
	return b.path == o.path && b.origin == o.origin && slices.Equal(b.args, o.args) && b.identity == o.identity
}

// check refuses a file that somebody else could have put there or could change:
// it would run as this user. It also tells what keeps it from being run at all.
func (b binary) check() *driver.Error {
	if b.origin == OriginBundled {
		return nil // the running program
	}
	resolved, err := filepath.EvalSymlinks(b.path)
	if err != nil {
		return driver.Errorf(driver.DriverFailed, "its file cannot be found: %w", err).About(b.path).
			Remedy("install it again or remove the link", "rm", b.path)
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return driver.Errorf(driver.DriverFailed, "its file cannot be read: %w", err).About(b.path)
	}
	if !info.Mode().IsRegular() {
		return driver.Errorf(driver.DriverUntrusted, "%s is not a regular file", resolved).About(b.path).
			Remedy("put the driver's binary there, or remove it")
	}
	for _, dir := range slices.Compact([]string{filepath.Dir(b.path), filepath.Dir(resolved)}) {
		if why := private(dir); why != nil {
			return why
		}
	}
	if why := private(resolved); why != nil {
		return why
	}
	if info.Mode()&0o111 == 0 {
		return driver.Errorf(driver.DriverFailed, "%s is not executable", b.path).About(b.path).
			Remedy("make it executable", "chmod", "+x", b.path)
	}
	return nil
}

// private refuses what belongs to another user than this one or root, or can be
// written by others. A sticky directory is no better: others can add to it.
func private(path string) *driver.Error {
	info, err := os.Stat(path)
	if err != nil {
		return driver.Errorf(driver.DriverFailed, "%s cannot be read: %w", path, err).About(path)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && stat.Uid != 0 && int(stat.Uid) != os.Getuid() {
		return driver.Errorf(driver.DriverUntrusted, "%s belongs to another user (uid %d)", path, stat.Uid).About(path).
			Remedy("install the driver as yourself, in a directory of your own")
	}
	if info.Mode().Perm()&0o022 != 0 {
		return driver.Errorf(driver.DriverUntrusted, "%s can be written by other users (mode %v)", path, info.Mode().Perm()).About(path).
			Remedy("close it to others", "chmod", "go-w", path)
	}
	return nil
}
