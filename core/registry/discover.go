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

	"github.com/sero-labs/sero-runtime/internal/ownpath"
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

// check returns what keeps a driver from being run.
func (b binary) check() *driver.Error {
	f, err := b.open()
	if f != nil {
		_ = f.Close()
	}
	return err
}

// open opens a driver's file, and refuses one that another user could have put
// there or could change, in whatever directory up to the root or by whatever link:
// it would run as this user. It also returns what keeps it from being run at all.
//
// What was opened is what may be run. It is nil for a file that can be run and not
// read.
func (b binary) open() (*os.File, *driver.Error) {
	if b.origin == OriginBundled {
		return openRunning(b.path), nil
	}
	f, resolved, err := ownpath.Program(b.path)
	if e := b.refusal(resolved, err); e != nil {
		return nil, e
	}
	info, err := os.Stat(resolved)
	if f != nil {
		info, err = f.Stat()
	}
	if err != nil {
		_ = f.Close()
		return nil, driver.Errorf(driver.DriverFailed, "its file cannot be read: %w", err).About(b.path)
	}
	if info.Mode()&0o111 == 0 {
		_ = f.Close()
		return nil, driver.Errorf(driver.DriverFailed, "%s is not executable", b.path).About(b.path).
			Remedy("make it executable", "chmod", "+x", b.path)
	}
	return f, nil
}

// refusal is the error of a driver's file that could not be opened.
func (b binary) refusal(resolved string, err error) *driver.Error {
	if err == nil {
		return nil
	}
	problem, ok := errors.AsType[*ownpath.Problem](err)
	if !ok && resolved == "" {
		return driver.Errorf(driver.DriverFailed, "its file cannot be found: %w", err).About(b.path).
			Remedy("install it again or remove the link", "rm", b.path)
	}
	if !ok {
		return driver.Errorf(driver.DriverFailed, "its file cannot be read: %w", err).About(b.path)
	}
	e := driver.Errorf(driver.DriverUntrusted, "%w", problem).About(problem.Path)
	if e.Remedies = problem.Remedies(); len(e.Remedies) > 0 {
		return e
	}
	return e.Remedy("put the driver's binary there as yourself, in a directory of your own")
}

// openRunning opens the program that runs, if that is what is at a path: whatever
// is there by the time that a driver is started again, the driver is of this
// program. It is nil where the system cannot tell.
func openRunning(path string) *os.File {
	if self, err := os.Executable(); err != nil || self != path {
		return nil
	}
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil
	}
	return f
}
