package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func (d *Driver) checkExec(spec driver.ExecSpec) error {
	if len(spec.Argv) == 0 || spec.Argv[0] == "" {
		return invalid("argv", "no command was given")
	}
	for i, arg := range spec.Argv {
		if strings.ContainsRune(arg, 0) {
			return invalid("argv["+strconv.Itoa(i)+"]", "an argument has a NUL byte in it")
		}
	}
	if err := checkEnv(spec.Env); err != nil {
		return err
	}
	if spec.Dir != "" && (!filepath.IsAbs(spec.Dir) || strings.ContainsRune(spec.Dir, 0)) {
		return invalid("working_dir", "the working directory must be an absolute path")
	}
	return driver.NeedAll(d, spec.Needs())
}

// checkDir tells a missing working directory from a missing command, which the
// system does not.
func checkDir(dir string) error {
	const field = "working_dir"
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &driver.Error{Reason: driver.NotFound, Message: "the working directory does not exist", Field: field, Resource: dir, Err: err}
	case err != nil:
		return &driver.Error{Reason: driver.PermissionDenied, Message: "the working directory cannot be used", Field: field, Resource: dir, Err: err}
	case !info.IsDir():
		return &driver.Error{Reason: driver.InvalidArgument, Message: "the working directory is not a directory", Field: field, Resource: dir}
	case unix.Faccessat(unix.AT_FDCWD, dir, unix.X_OK, unix.AT_EACCESS) != nil:
		return &driver.Error{Reason: driver.PermissionDenied, Message: "the working directory may not be entered", Field: field, Resource: dir}
	}
	return nil
}

// lookup finds a command as a shell does: a name with a slash in it is a path,
// relative to dir; any other is searched on path. It returns what to execute.
func lookup(name, dir, path string) (string, error) {
	if strings.Contains(name, "/") {
		if err := executable(resolve(dir, name)); err != nil {
			return "", commandError(name, err)
		}
		return name, nil
	}
	var refused error
	for _, place := range filepath.SplitList(path) {
		candidate := filepath.Join(resolve(dir, place), name)
		err := executable(candidate)
		if err == nil {
			return candidate, nil
		}
		if refused == nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) && !errors.Is(err, syscall.EISDIR) {
			refused = err
		}
	}
	if refused != nil {
		return "", commandError(name, refused)
	}
	return "", commandError(name, fs.ErrNotExist)
}

// resolve makes path absolute; the empty one is dir itself.
func resolve(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return syscall.EISDIR
	}
	if !info.Mode().IsRegular() {
		return syscall.EACCES
	}
	return unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS)
}

// commandError is why a command cannot be executed. The directory is known to
// exist, so where execve itself finds something missing, it is the interpreter.
func commandError(name string, err error) error {
	shown := printable(name)
	found := func(reason driver.Reason, message string) *driver.Error {
		return &driver.Error{Reason: reason, Message: message, Resource: name, Field: "argv[0]", Err: err}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return found(driver.CommandNotFound, "command not found: "+shown).Remedy("install it, or add its directory to PATH")
	case errors.Is(err, syscall.EISDIR):
		return found(driver.CommandNotExecutable, shown+" is a directory")
	case errors.Is(err, fs.ErrPermission):
		return found(driver.CommandNotExecutable, shown+" is not executable").Remedy("make it executable", "chmod", "+x", name)
	case errors.Is(err, syscall.ENOEXEC):
		return found(driver.CommandNotExecutable, shown+" has a format that this machine cannot execute").
			Remedy("a script must begin with a line such as #!/bin/sh")
	case errors.Is(err, syscall.ETXTBSY):
		e := found(driver.CommandNotExecutable, shown+" is being written")
		e.Retryable = true
		return e
	}
	return found(driver.CommandNotExecutable, shown+" cannot be executed: "+errno(err))
}

// startError is why a command that was found did not start.
func startError(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return (&driver.Error{
			Reason: driver.CommandNotExecutable, Message: "the interpreter of " + printable(name) + " does not exist",
			Resource: name, Field: "argv[0]", Err: err,
		}).Remedy("check the first line of the script, and its line endings")
	case errors.Is(err, syscall.E2BIG):
		return &driver.Error{Reason: driver.InvalidArgument, Message: "the arguments and environment are too long", Field: "argv", Err: err}
	case errors.Is(err, syscall.ENOMEM):
		return &driver.Error{Reason: driver.OutOfMemory, Message: "there is no memory to start a process", Retryable: true, Err: err}
	case errors.Is(err, syscall.EAGAIN):
		e := &driver.Error{Reason: driver.Internal, Message: "there are as many processes as there may be: " + errno(err), Retryable: true, Err: err}
		return e.Remedy("end some; what a sandbox may have is resources.processes in sero.json")
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return &driver.Error{Reason: driver.Internal, Message: "too many open files: " + errno(err), Retryable: true, Err: err}
	}
	return commandError(name, err)
}

func errno(err error) string {
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e.Error()
	}
	return err.Error()
}

// printable keeps a name on one line of a message.
func printable(name string) string {
	if strings.ContainsFunc(name, unicode.IsControl) || !utf8.ValidString(name) {
		return strconv.Quote(name)
	}
	return name
}
