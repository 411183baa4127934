//go:build !linux

package mount

// readMounts is for systems without bind mounts.
func readMounts() mountTable { return nil }
