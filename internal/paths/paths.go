// Package paths says where sero keeps things: what lasts in its home, what
// lives with the daemon in its run directory. The CLI and the daemon both ask
// here, so they cannot look in different places.
package paths

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/sero-labs/sero-runtime/internal/ownpath"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// The environment variables that move sero's directories.
const (
	HomeVariable = "SERO_HOME"
	RunVariable  = "SERO_RUNTIME_DIR"
)

// MaxRun is the longest run directory, in bytes: the path of a unix socket is
// limited to 104 on macOS, and the drivers' sockets are some levels below.
const MaxRun = 60

// Home is the directory of what lasts: $SERO_HOME, else .sero in the user's
// home directory. It is absolute and may not exist yet.
//
// It fails with ConfigInvalid when the variable is not absolute or when the
// user has no home directory, and as CheckHome does.
func Home() (string, error) {
	home, err := homePath()
	if err != nil {
		return "", err
	}
	return home, CheckHome(home)
}

func homePath() (string, error) {
	if dir := os.Getenv(HomeVariable); dir != "" {
		return absolute(HomeVariable, dir)
	}
	if dir := os.Getenv("HOME"); dir != "" {
		dir, err := absolute("HOME", dir)
		return filepath.Join(dir, ".sero"), err
	}
	if dir := accountHome(); dir != "" {
		return filepath.Join(dir, ".sero"), nil
	}
	return "", driver.Errorf(driver.ConfigInvalid, "there is no home directory: HOME is not set and the account has none").
		Remedy("set " + HomeVariable + " to a directory for sero's files")
}

// CheckHome refuses a home that another user could have prepared or can write, by
// itself or through what is above it, and directories in it like that. What is
// missing is no failure, and the guest helper's directory is checked where that is
// written, for sandboxes work without it. The error is PermissionDenied.
func CheckHome(home string) error {
	resolved, err := ownpath.Check(home)
	if err == nil {
		err = ownpath.Directory(resolved)
	}
	for _, dir := range []string{Programs(resolved), State(resolved), filepath.Dir(DaemonLog(resolved))} {
		if err == nil {
			if err = ownpath.Directory(dir); errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		}
	}
	if refusal := ownpath.Refusal("the home "+home, err); refusal != nil {
		return refusal.Remedy("set " + HomeVariable + " to a directory of your own")
	}
	return nil // whoever uses it finds out what else is wrong
}

// Guest is where the guest helper is that sandboxes are shown.
func Guest(home string) string { return filepath.Join(home, "guest") }

// Drivers is where a user's own drivers are found.
func Drivers(home string) string { return filepath.Join(home, "drivers") }

// Programs is where a sero that carries its daemon packed puts it, a directory
// for each version.
func Programs(home string) string { return filepath.Join(home, "program") }

// State is where the daemon keeps what must outlast it.
func State(home string) string { return filepath.Join(home, "state") }

// Config is the user's configuration file.
func Config(home string) string { return filepath.Join(home, "config.json") }

// DaemonLog is the daemon's log file.
func DaemonLog(home string) string { return filepath.Join(home, "log", "daemon.log") }

// Socket is where the daemon of a run directory serves.
func Socket(run string) string { return filepath.Join(run, "sero.sock") }

// Pipes is where the daemon of a run directory takes pipes for output.
func Pipes(run string) string { return filepath.Join(run, "pipes.sock") }

// Lock is the file whose lock the daemon of a run directory holds. It is never
// deleted: two processes could then lock two files of the same name.
func Lock(run string) string { return filepath.Join(run, "sero.lock") }

// HomeLock is the file whose lock the one daemon of a home holds, whatever its
// run directory. It is never deleted either.
func HomeLock(home string) string { return filepath.Join(State(home), "daemon.lock") }

// Run is the directory of the daemon's socket and lock for the home that Home
// gives: $SERO_RUNTIME_DIR, else sero in $XDG_RUNTIME_DIR, else run in the home,
// else, where that path is too long for sockets or cannot be made, one in /tmp,
// where everybody writes. A home other than the account's own has a run directory
// of its own, so that two installations never share a daemon. It is made if it is
// missing, with mode 0700.
//
// It fails with ConfigInvalid for a path that is relative or longer than
// MaxRun, and with PermissionDenied for one that is a symlink, belongs to
// another user, or is open to others.
func Run() (string, error) {
	dir, shared, err := runPath()
	if err != nil {
		return "", err
	}
	err = makeRun(dir)
	if err != nil && shared != "" { // the home is missing, read-only or another user's
		return shared, makeRun(shared)
	}
	return dir, err
}

// makeRun makes a run directory, if it is missing, and refuses what cannot be one.
func makeRun(dir string) error {
	if len(dir) > MaxRun {
		return driver.Errorf(driver.ConfigInvalid,
			"the run directory %s is too long: %d bytes, at most %d leave room for the sockets in it", dir, len(dir), MaxRun).
			About(dir).Remedy("set " + RunVariable + " to a shorter path")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return unusableFor(dir, "cannot be made", err)
	}
	return CheckPrivate(dir)
}

// runPath is the run directory, and the one to take where that cannot be made;
// empty where there is no other.
func runPath() (dir, shared string, err error) {
	if dir := os.Getenv(RunVariable); dir != "" {
		dir, err = absolute(RunVariable, dir)
		return dir, "", err
	}
	home, err := homePath()
	if err != nil {
		return "", "", err
	}
	name := "sero-" + strconv.Itoa(os.Getuid())
	if account := accountHome(); account == "" || home != filepath.Join(account, ".sero") {
		sum := sha256.Sum256([]byte(home))
		name += "-" + hex.EncodeToString(sum[:4])
	} else if xdg := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(xdg) && CheckPrivate(xdg) == nil {
		return filepath.Join(xdg, "sero"), "", nil // after su or sudo the variable may still name the other user's directory
	}
	// Not os.TempDir: TMPDIR differs between programs of one user, and each value
	// would get a daemon of its own.
	shared = filepath.Join("/tmp", name)
	if dir := filepath.Join(home, "run"); len(dir) <= MaxRun {
		return dir, shared, nil
	}
	return shared, "", nil
}

// Elsewhere are directories where daemons of this user's other homes keep things
// or serve, by default. They need not exist.
func Elsewhere() []string {
	var dirs []string
	if account := accountHome(); account != "" {
		dirs = append(dirs, filepath.Join(account, ".sero"))
	}
	uid := strconv.Itoa(os.Getuid())
	dirs = append(dirs, filepath.Join("/run/user", uid, "sero"))
	if xdg := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(xdg) {
		dirs = append(dirs, filepath.Join(xdg, "sero"))
	}
	shared, _ := filepath.Glob(filepath.Join("/tmp", "sero-"+uid+"*")) // the pattern is sound
	for _, dir := range shared {
		if _, err := os.Lstat(Lock(dir)); err == nil {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// accountHome is the home directory that the system has for this user, whatever
// HOME says; empty when there is none.
func accountHome() string {
	u, err := user.Current()
	if err != nil || !filepath.IsAbs(u.HomeDir) {
		return ""
	}
	return filepath.Clean(u.HomeDir)
}

// CheckPrivate refuses a directory that another user could have prepared or can
// reach into: whoever can, can serve in the daemon's place. The error is
// PermissionDenied.
func CheckPrivate(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return unusableFor(dir, "cannot be read", err)
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return unusable(dir, "is a symlink")
	}
	if !info.IsDir() {
		return unusable(dir, "is not a directory")
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Getuid() {
		return unusable(dir, "belongs to another user, uid "+strconv.Itoa(int(stat.Uid)))
	}
	if info.Mode().Perm()&0o077 != 0 {
		err := unusable(dir, "is open to other users, mode "+info.Mode().Perm().String())
		err.Remedies = append([]driver.Remedy{{Text: "close it to others", Command: []string{"chmod", "700", dir}}}, err.Remedies...)
		return err
	}
	return nil
}

func unusable(dir, why string) *driver.Error {
	return ownRun(dir, driver.Errorf(driver.PermissionDenied, "the run directory %s %s", dir, why))
}

func unusableFor(dir, what string, err error) *driver.Error {
	return ownRun(dir, driver.Errorf(driver.PermissionDenied, "the run directory %s %s: %w", dir, what, err))
}

func ownRun(dir string, e *driver.Error) *driver.Error {
	return e.About(dir).Remedy("set " + RunVariable + " to a directory of your own")
}

func absolute(variable, dir string) (string, error) {
	if !filepath.IsAbs(dir) {
		return "", driver.Errorf(driver.ConfigInvalid, "%s is not an absolute path: %q", variable, dir).
			About(variable).Remedy("set " + variable + " to an absolute path")
	}
	return filepath.Clean(dir), nil
}
