package dockertest

import "golang.org/x/sys/unix"

// unmount detaches a mount even where something holds it still.
func unmount(point string) error { return unix.Unmount(point, unix.MNT_DETACH) }
