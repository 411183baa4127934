// Package ownpath opens what sero reads, executes or trusts only where no other
// user of the machine could have put it or could change it.
package ownpath

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// maxLinks is how many symbolic links a path may lead through.
const maxLinks = 40

// MaxRead is the largest file that Read reads, in bytes.
const MaxRead = 64 << 20

// othersWrite are the permissions that let another user change something.
const othersWrite fs.FileMode = 0o022

// Problem is the error of something that another user could have put there or could
// change, or that is no file or directory where one belongs.
type Problem struct {
	Path  string // what it is about, which may be above the path in question
	Why   string // after the path
	Close bool   // closing it to others is enough
}

// Error says what is wrong in one line.
func (p *Problem) Error() string { return p.Path + " " + p.Why }

// Remedies returns what a person can do about it.
func (p *Problem) Remedies() []driver.Remedy {
	if p.Close {
		return []driver.Remedy{{Text: "close it to others", Command: []string{"chmod", "go-w", p.Path}}}
	}
	return nil
}

// Check checks each component of an absolute path up to the root, and those of the
// links in it: each belongs to this user or to root, and no other user can write
// it. In a directory that others can write with the sticky bit, such as /tmp, they
// cannot exchange what is not theirs, so that may be above the last component.
//
// It returns the path without links. A missing component is fs.ErrNotExist, after
// what is above it was checked.
func Check(path string) (resolved string, err error) {
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("%q is not an absolute path", path)
	}
	at, links := "/", 0
	rest := split(path)
	if err := component(at, len(rest) == 0); err != nil {
		return "", err
	}
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		if part == ".." {
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, part)
		info, err := os.Lstat(next)
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			if err := checkInfo(next, info, len(rest) == 0); err != nil {
				return "", err
			}
			at = next
			continue
		}
		if err := checkOwner(next, info, true); err != nil {
			return "", err
		}
		if links++; links > maxLinks {
			return "", &Problem{Path: path, Why: "leads through too many symbolic links"}
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = slices.Concat(split(target), rest)
	}
	return at, nil
}

func split(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(part string) bool { return part == "" || part == "." })
}

func component(path string, last bool) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	return checkInfo(path, info, last)
}

// checkInfo checks a component that is no link.
func checkInfo(path string, info fs.FileInfo, last bool) error {
	if err := checkOwner(path, info, true); err != nil {
		return err
	}
	if info.IsDir() && !last && info.Mode()&fs.ModeSticky != 0 {
		return nil
	}
	return checkMode(path, info)
}

func checkOwner(path string, info fs.FileInfo, orRoot bool) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) == os.Geteuid() || orRoot && stat.Uid == 0 {
		return nil
	}
	return &Problem{Path: path, Why: "belongs to another user (uid " + strconv.Itoa(int(stat.Uid)) + ")"}
}

func checkMode(path string, info fs.FileInfo) error {
	if info.Mode().Perm()&othersWrite == 0 {
		return nil
	}
	return &Problem{Path: path, Why: fmt.Sprintf("can be written by other users (mode %v)", info.Mode().Perm()), Close: true}
}

// Directory checks a directory of sero's own. It belongs to this user, no other one
// can write it, and it is no link.
func Directory(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return &Problem{Path: path, Why: "is not a directory but " + kind(info.Mode())}
	}
	return errors.Join(checkOwner(path, info, false), checkMode(path, info))
}

// Open opens a file of sero's own, or makes it if flag says so. It neither follows
// a link nor waits for the other end of a pipe: what is not a regular file, belongs
// to another user than this one or root, or can be written by others is a Problem.
func Open(path string, flag int, perm fs.FileMode) (*os.File, error) {
	if info, err := os.Lstat(path); err == nil { // a device is not even opened
		if err := checkFile(path, info); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(path, flag|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, perm)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = checkFile(path, info)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Program opens a program to be run, after the checks of Check. The directory that
// it is in, by the path and without links, may not be a sticky one that others can
// write: they could add a program to it. It is nil without an error for a program
// that may be run but not read.
func Program(path string) (f *os.File, resolved string, err error) {
	if resolved, err = Check(path); err != nil {
		return nil, "", err
	}
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(resolved)} {
		if _, err := Check(dir); err != nil {
			return nil, resolved, err
		}
	}
	f, err = Open(resolved, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrPermission) && File(resolved) == nil {
		return nil, resolved, nil
	}
	return f, resolved, err
}

// File checks a file as Open does, for what has to open it by itself. It may be
// missing.
func File(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return checkFile(path, info)
}

func checkFile(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return &Problem{Path: path, Why: "is not a regular file but " + kind(info.Mode())}
	}
	if err := checkOwner(path, info, true); err != nil {
		return err
	}
	return checkMode(path, info)
}

// Read reads a file of sero's own, which must be one that Open opens.
func Read(path string) ([]byte, error) {
	f, err := Open(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, MaxRead+1))
	if err == nil && len(text) > MaxRead {
		err = &Problem{Path: path, Why: "is too large"}
	}
	return text, err
}

func kind(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode.IsDir():
		return "a directory"
	case mode.IsRegular():
		return "a file"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	default:
		return "a device"
	}
}

// Refusal is the PermissionDenied of a Problem, which says what cannot be used; nil
// for every other error.
func Refusal(what string, err error) *driver.Error {
	problem, ok := errors.AsType[*Problem](err)
	if !ok {
		return nil
	}
	e := driver.Errorf(driver.PermissionDenied, "%s cannot be used: %w", what, problem).About(problem.Path)
	e.Remedies = append(problem.Remedies(), driver.Remedy{Text: "look at it; if it is not yours, remove it"})
	return e
}
