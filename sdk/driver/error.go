package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Error is how everything in sero fails: with a reason that programs decide on,
// a line that people read, and what they can do. It crosses every wire whole.
// Where a person can do something about it (NotRunning, NotStopped,
// AlreadyExists and every reason about the engine) it has a remedy.
type Error struct {
	Reason    Reason
	Message   string   // one line, no driver's name in it, no full stop
	Driver    string   // set once, where the error enters the core
	Resource  string   // what it is about: an id, a path, a port
	Field     string   // the request field at fault: "mounts[2].target"
	Retryable bool     // the same call may succeed later, nothing changed
	Remedies  []Remedy // best first
	Err       error    // the cause, for errors.Is; it does not cross the wire
}

// Remedy is one thing that a person can do.
type Remedy struct {
	Text    string   // imperative, no full stop
	Command []string // the argument vector to run, if there is one
}

// Reason is what programs decide on. A reader treats one it does not know as
// Internal and shows it.
type Reason string

// The reasons about the engine. docs/errors.md tells for every reason who gives
// it and what to do.
const (
	EngineNotInstalled Reason = "ENGINE_NOT_INSTALLED" // not on this machine
	EngineNotRunning   Reason = "ENGINE_NOT_RUNNING"   // installed, stopped
	EngineWedged       Reason = "ENGINE_WEDGED"        // does not answer
	EngineTooOld       Reason = "ENGINE_TOO_OLD"       // a newer one is needed
	PermissionDenied   Reason = "PERMISSION_DENIED"    // the engine or system refuses this user
	OutOfDisk          Reason = "OUT_OF_DISK"
	OutOfMemory        Reason = "OUT_OF_MEMORY"
)

// The reasons about images.
const (
	ImageNotFound    Reason = "IMAGE_NOT_FOUND"
	ImageBuildFailed Reason = "IMAGE_BUILD_FAILED"
	ImageInUse       Reason = "IMAGE_IN_USE"
)

// The reasons about sandboxes and what is in them.
const (
	NotFound             Reason = "NOT_FOUND"
	NotRunning           Reason = "NOT_RUNNING"
	NotStopped           Reason = "NOT_STOPPED"
	AlreadyExists        Reason = "ALREADY_EXISTS"   // with another spec
	ForeignResource      Reason = "FOREIGN_RESOURCE" // not sero's; never touched
	Corrupt              Reason = "CORRUPT"          // remove by force and make anew
	NameInvalid          Reason = "NAME_INVALID"
	MountDenied          Reason = "MOUNT_DENIED"
	PortInUse            Reason = "PORT_IN_USE"
	CommandNotFound      Reason = "COMMAND_NOT_FOUND"      // a shell's 127
	CommandNotExecutable Reason = "COMMAND_NOT_EXECUTABLE" // a shell's 126
)

// The reasons that any call may give.
const (
	InvalidArgument Reason = "INVALID_ARGUMENT"
	ConfigInvalid   Reason = "CONFIG_INVALID"
	Unsupported     Reason = "UNSUPPORTED" // a capability is missing
	Timeout         Reason = "TIMEOUT"
	Canceled        Reason = "CANCELED"
	Internal        Reason = "INTERNAL"
)

// The reasons that the core gives about drivers.
const (
	DriverNotFound     Reason = "DRIVER_NOT_FOUND"    // no driver of that name
	DriverIncompatible Reason = "DRIVER_INCOMPATIBLE" // versions or protocol
	DriverCrashed      Reason = "DRIVER_CRASHED"      // with its last words
	DriverFailed       Reason = "DRIVER_FAILED"       // it does not start
	DriverUntrusted    Reason = "DRIVER_UNTRUSTED"    // owner, mode or checksum
	DriverSetAside     Reason = "DRIVER_SET_ASIDE"    // it crashed or timed out too often
	NoDriver           Reason = "NO_DRIVER"           // none that may be used works here
	IsolationRequired  Reason = "ISOLATION_REQUIRED"  // falling back to the host is not allowed
)

// Error is the message, with the driver's name where it is known.
func (e *Error) Error() string {
	if e.Driver != "" {
		return e.Driver + ": " + e.Message
	}
	return e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is lets errors.Is(err, &Error{Reason: r}) compare by reason.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Reason == e.Reason && t.Message == ""
}

// manyErrors is what fmt.Errorf makes of more than one cause.
type manyErrors interface {
	error
	Unwrap() []error
}

// Errorf makes an Error; the format may wrap a cause with %w. Where the cause is
// that a disk is full or a quota used up, the reason is OutOfDisk whatever was
// given, and the message names the directory; a read-only file system is
// PermissionDenied.
func Errorf(reason Reason, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	e := &Error{Reason: reason, Message: err.Error(), Err: errors.Unwrap(err)}
	if _, several := errors.AsType[manyErrors](err); several && e.Err == nil {
		e.Err = err
	}
	return e.full(e.Err)
}

// About returns the error with what it is about. The error itself is not changed:
// others may have it, too.
func (e *Error) About(resource string) *Error {
	with := *e
	with.Resource = resource
	return &with
}

// Remedy returns the error with one more thing to do, and the command for it if
// there is one. The error itself is not changed: others may have it, too.
func (e *Error) Remedy(text string, command ...string) *Error {
	with := *e
	with.Remedies = append(slices.Clone(e.Remedies), Remedy{Text: text, Command: command})
	return &with
}

// AsError is err as an *Error: itself if it is one, Canceled or Timeout for the
// end of a context, what Errorf makes of a full disk, Internal for anything else.
// It is nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		if e.Reason == Internal {
			return e.full(e.Err)
		}
		return e
	}
	reason := Internal
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		reason = Timeout
	case errors.Is(err, context.Canceled):
		reason = Canceled
	}
	e := &Error{Reason: reason, Message: err.Error(), Retryable: reason == Timeout, Err: err}
	return e.full(err)
}

// ReasonOf is the reason of err, or the empty string for nil.
func ReasonOf(err error) Reason {
	if err == nil {
		return ""
	}
	return AsError(err).Reason
}
