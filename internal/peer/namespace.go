package peer

import "errors"

// ErrOtherNamespace says that the process at the other end sees another file
// system, or other processes, than this one: it is in a container, or was.
var ErrOtherNamespace = errors.New("the calling process is in another namespace than the daemon, as those of a container are")

// ErrUnknownNamespace says that where the process at the other end is cannot be
// known.
var ErrUnknownNamespace = errors.New("which namespaces the calling process is in cannot be known")
