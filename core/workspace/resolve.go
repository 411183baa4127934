package workspace

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Ref names a workspace: by id, else by a directory in it.
type Ref struct {
	ID  string // wins over Dir
	Dir string // absolute, on the host
}

// place is what a Ref leads to: the workspace's directory, and the directory
// below it that was named.
type place struct {
	root string // symlinks resolved
	dir  string // symlinks resolved; root or below
}

// resolve resolves a directory that must exist, with the error that says what it
// is instead. It waits for a file system that does not answer: see looks.
func resolve(dir string) (string, error) {
	switch {
	case dir == "":
		return "", argument("workspace", "no workspace is named").Remedy("give an id or a directory")
	case strings.ContainsRune(dir, 0) || len(dir) > 4096:
		return "", argument("workspace.directory", "%s is not a path", shown(dir)).Remedy("give an absolute path")
	case !filepath.IsAbs(dir):
		return "", argument("workspace.directory", "%s is not an absolute path", shown(dir)).Remedy("give an absolute path")
	}
	resolved, err := filepath.EvalSymlinks(dir)
	var info fs.FileInfo
	if err == nil {
		info, err = os.Stat(resolved)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", driver.Errorf(driver.NotFound, "there is no directory %s", shown(dir)).About(dir).
			Remedy("make the directory first", "mkdir", "-p", dir)
	case errors.Is(err, syscall.ENOTDIR):
		return "", argument("workspace.directory", "a part of %s is not a directory", shown(dir)).About(dir).Remedy("name a directory")
	case errors.Is(err, fs.ErrPermission):
		return "", driver.Errorf(driver.PermissionDenied, "the directory %s cannot be entered", shown(dir)).About(dir).
			Remedy("change its mode or owner")
	case lost(err):
		e := driver.Errorf(DirectoryUnresponsive, "the directory %s cannot be read: %w", shown(dir), err).About(dir)
		e.Retryable = true
		return "", e.Remedy("look after what it is mounted from")
	case err != nil:
		return "", argument("workspace.directory", "%s cannot be used: %w", shown(dir), err).About(dir).Remedy("name a directory")
	case !info.IsDir():
		return "", argument("workspace.directory", "%s is %s, not a directory", shown(dir), kindOf(info.Mode())).About(dir).
			Remedy("name the directory that it is in", "sero", "up", filepath.Dir(resolved))
	case !utf8.ValidString(resolved), strings.ContainsFunc(resolved, unicode.IsControl): // neither labels nor messages carry them
		return "", argument("workspace.directory", "the path %s holds control characters, or is not UTF-8", shown(resolved)).
			Remedy("rename the directory")
	}
	return resolved, nil
}

// lost tells of an error that a directory has whose file server or disk is gone.
func lost(err error) bool {
	return slices.ContainsFunc([]error{syscall.ENOTCONN, syscall.EIO, syscall.ESTALE, syscall.ETIMEDOUT, syscall.EHOSTDOWN, syscall.ENODEV, syscall.ENXIO},
		func(e error) bool { return errors.Is(err, e) })
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsRegular():
		return "a file"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	default:
		return "a device"
	}
}

func argument(field, format string, args ...any) *driver.Error {
	err := driver.Errorf(driver.InvalidArgument, format, args...)
	err.Field = field
	return err
}

// tooBroad refuses directories that hold everything that a person has.
func (m *Manager) tooBroad(dir string) error {
	what := ""
	switch dir {
	case "/":
		what = "the root of the file system"
	case m.userHome:
		what = "your home directory"
	case filepath.Dir(m.userHome):
		what = "the directory of everybody's home"
	}
	if what == "" || m.userHome == "/" && dir != "/" {
		return nil
	}
	return argument("workspace.directory", "%s is %s, which is too broad for a workspace", shown(dir), what).About(dir).
		Remedy("make a directory for the project and open that", "sero", "up", filepath.Join(dir, "project"))
}

// locate finds which workspace a directory is in, going up from it: the nearest
// that is known or that has a sero.json, else the directory itself is a new
// one. A repository of its own below one of these is a new one, too. The known
// entry is nil for a new one. It fails with DirectoryUnresponsive, and with
// PermissionDenied where another user could have put a sero.json above.
func (m *Manager) locate(dir string) (root string, known *entry, err error) {
	root, err = within(m.looks, dir, func() (string, error) {
		repository := "" // the nearest
		for at := dir; ; at = filepath.Dir(at) {
			isKnown := m.at(at) != nil
			decides := isKnown || m.configured(at)
			if decides && !isKnown && at != dir {
				if err := decidedByOthers(dir, at); err != nil {
					if repository == "" {
						return dir, err
					}
					decides = false // what is in the repository does not depend on it
				}
			}
			switch {
			case decides && repository != "":
				return repository, nil
			case decides:
				return at, nil
			case at == filepath.Dir(at):
				return dir, nil
			case repository == "" && m.hasRepository(at):
				repository = at
			}
		}
	})
	return root, m.at(root), err
}

// hasRepository reports whether a directory is the top of a git repository of its
// own. Those of submodules and worktrees are elsewhere: there .git is a file.
func (m *Manager) hasRepository(dir string) bool {
	if m.tooBroad(dir) != nil {
		return false
	}
	info, err := os.Stat(filepath.Join(dir, ".git"))
	return err == nil && info.IsDir()
}

// at is the workspace of a directory, if it is known.
func (m *Manager) at(dir string) *entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byDir[dir]
}

// configured tells whether a directory has a sero.json that makes it a workspace.
func (m *Manager) configured(dir string) bool {
	if m.tooBroad(dir) != nil {
		return false
	}
	_, err := os.Lstat(filepath.Join(dir, config.FileName))
	return err == nil
}

// find gives a known workspace and where in it the Ref points, or NotFound.
func (m *Manager) find(ref Ref) (*entry, place, error) {
	if ref.ID != "" {
		if err := ValidateID(ref.ID); err != nil {
			return nil, place{}, err
		}
		e := m.named(ref.ID)
		if e == nil {
			m.adopt()
			if e = m.named(ref.ID); e == nil {
				return nil, place{}, errUnknown(ref.ID)
			}
		}
		return e, m.placeIn(e.directory, ref.Dir), nil
	}
	dir, err := m.looks.check(ref.Dir)
	if err != nil {
		// A workspace whose directory is gone, or does not answer, is still known by its path.
		if e := m.at(filepath.Clean(ref.Dir)); e != nil {
			return e, place{e.directory, e.directory}, nil
		}
		return nil, place{}, err
	}
	root, e, err := m.locate(dir)
	if e == nil && err == nil {
		m.adopt()
		root, e, err = m.locate(dir)
	}
	if err != nil {
		return nil, place{}, err
	}
	if e == nil {
		return nil, place{}, driver.Errorf(driver.NotFound, "%s is not a workspace yet", shown(root)).About(root).
			Remedy("open it", "sero", "up", root)
	}
	return e, place{root, dir}, nil
}

func (m *Manager) named(id string) *entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byID[id]
}

func errUnknown(id string) error {
	return driver.Errorf(driver.NotFound, "there is no workspace %s", id).About(id).
		Remedy("see the workspaces there are", "sero", "ls").
		Remedy("open a directory under that id", "sero", "up", "--id", id)
}

// placeIn is a named directory in a workspace, the workspace's own if it is
// elsewhere.
func (m *Manager) placeIn(root, dir string) place {
	if dir == "" || !filepath.IsAbs(dir) {
		return place{root, root}
	}
	resolved, err := m.looks.check(dir)
	if err != nil {
		return place{root, root}
	}
	if rel, err := filepath.Rel(root, resolved); err != nil || !filepath.IsLocal(rel) {
		return place{root, root}
	}
	return place{root, resolved}
}

// Below is the directory of a Ref relative to its workspace's root, "." for that
// itself, one elsewhere or one that does not answer. Exec runs commands there.
func (m *Manager) Below(ref Ref) string {
	_, at, err := m.find(ref)
	if err != nil {
		return "."
	}
	below, err := filepath.Rel(at.root, at.dir)
	if err != nil {
		return "."
	}
	return below
}

// open gives the workspace of a Ref, and makes one known if there is none.
func (m *Manager) open(ref Ref, newID string) (*entry, place, error) {
	if newID != "" {
		if err := ValidateID(newID); err != nil {
			return nil, place{}, err
		}
	}
	if ref.ID != "" {
		e, p, err := m.find(ref)
		if err == nil && newID != "" && newID != ref.ID {
			err = errOtherID(e, newID)
		}
		return e, p, err
	}
	dir, err := m.looks.check(ref.Dir)
	if err != nil {
		return nil, place{}, err
	}
	root, e, err := m.locate(dir)
	if e == nil && err == nil {
		m.adopt()
		root, e, err = m.locate(dir)
	}
	if err != nil && newID != "" && root == dir && driver.ReasonOf(err) == driver.PermissionDenied {
		err = nil // an id says that the directory itself is meant, whatever is above
	}
	if err != nil {
		return nil, place{}, err
	}
	if e != nil && newID != "" && newID != e.id {
		if root == dir {
			return nil, place{}, errOtherID(e, newID)
		}
		root, e = dir, nil // a new workspace inside a known one, on purpose
	}
	if e != nil {
		return e, place{root, dir}, nil
	}
	if err := m.tooBroad(root); err != nil {
		return nil, place{}, err
	}
	if err := m.checkPlace(root, true); err != nil { // what holds in host mode holds everywhere; see attempt.choose
		return nil, place{}, err
	}
	e, err = m.add(root, newID)
	return e, place{root, dir}, err
}

func errOtherID(e *entry, newID string) error {
	return driver.Errorf(driver.AlreadyExists, "%s is workspace %s already", shown(e.directory), e.id).About(e.id).
		Remedy("use its id", "sero", "up", "-w", e.id).
		Remedy("remove it to give it the id "+newID, "sero", "rm", "-w", e.id)
}
