package driver

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// full returns e as what it is where a file system that takes no more caused it:
// OutOfDisk, or PermissionDenied for a read-only one, with the directory and what
// to do. It decides on the cause alone. What the caller ended stays so.
func (e *Error) full(cause error) *Error {
	if cause == nil || e.Reason == Canceled || e.Reason == Timeout {
		return e
	}
	if said, ok := errors.AsType[*Error](cause); ok && said.isFull() {
		return e.takes(said)
	}
	reason, what, number := OutOfDisk, "", syscall.Errno(0)
	switch {
	case errors.Is(cause, syscall.ENOSPC):
		number, what = syscall.ENOSPC, " is full"
	case errors.Is(cause, syscall.EDQUOT):
		number, what = syscall.EDQUOT, " is used up"
	case errors.Is(cause, syscall.EROFS):
		number, reason, what = syscall.EROFS, PermissionDenied, " is read-only"
	default:
		return e
	}
	if opened, ok := errors.AsType[*fs.PathError](cause); ok && opened.Path == "/dev/ptmx" {
		return e // the system has no more terminals
	}
	dir := directoryOf(cause)
	with := *e
	with.Reason = reason
	place := "a file system"
	if dir != "" {
		place = "the file system of " + dir
	}
	if number == syscall.EDQUOT {
		what = "the quota on " + place + what
	} else {
		what = place + what
	}
	with.Message += "; " + what
	if with.Resource == "" {
		with.Resource = dir
	}
	with.Remedies = append(slices.Clone(e.Remedies), roomFor(reason, dir))
	return &with
}

// isFull reports whether e was named a file system that takes no more where it
// arose, in this process or in another.
func (e *Error) isFull() bool {
	return e.Reason == OutOfDisk || e.Reason == PermissionDenied && errors.Is(e.Err, syscall.EROFS)
}

// takes returns e with the reason of its cause and what can be done about it. A
// reason that its caller chose is left where the cause came from elsewhere.
func (e *Error) takes(cause *Error) *Error {
	if e.Reason != Internal && cause.Err == nil {
		return e
	}
	with := *e
	with.Reason = cause.Reason
	with.Remedies = append(slices.Clone(e.Remedies), cause.Remedies...)
	if with.Resource == "" {
		with.Resource = cause.Resource
	}
	return &with
}

// roomFor returns what to do about a directory that takes no more.
func roomFor(reason Reason, dir string) Remedy {
	switch {
	case reason == PermissionDenied:
		return Remedy{Text: "make the file system writable, or use a directory on another one"}
	case dir == "":
		return Remedy{Text: "make room; see which file system is full", Command: []string{"df", "-h"}}
	default:
		return Remedy{Text: "make room on the file system of " + dir, Command: []string{"df", "-h", dir}}
	}
}

// directoryOf returns the directory that an error is about, or "".
func directoryOf(err error) string {
	path := ""
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		path = e.Path
	} else if e, ok := errors.AsType[*os.LinkError](err); ok {
		path = e.New
	} else if e, ok := errors.AsType[*net.OpError](err); ok {
		if at, ok := e.Addr.(*net.UnixAddr); ok {
			path = at.Name
		}
	}
	dir := filepath.Dir(path)
	if !filepath.IsAbs(path) || dir == "/dev" { // /dev/stdout is what os calls a file that it did not open
		return ""
	}
	return dir
}
