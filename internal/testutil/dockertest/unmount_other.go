//go:build !linux

package dockertest

import "errors"

// unmount is never needed: a private engine runs on Linux only.
func unmount(string) error { return errors.ErrUnsupported }
