package registry

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// newborn is the age below which a directory without a socket may belong to a
// driver that is just starting.
const newborn = time.Minute

// sweep removes the socket directories of drivers that have died with their
// core. A directory is kept while something listens in it: that is another
// core's driver, or one that is about to notice that its core is gone.
func sweep(runDir string) []string {
	dirs, err := filepath.Glob(filepath.Join(runDir, "d", "plugin-dir*"))
	if err != nil {
		return nil
	}
	var removed []string
	for _, dir := range dirs {
		if info, err := os.Lstat(dir); err != nil || !info.IsDir() || !dead(dir, info) {
			continue
		}
		if os.RemoveAll(dir) == nil {
			removed = append(removed, dir)
		}
	}
	return removed
}

func dead(dir string, info os.FileInfo) bool {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	sockets := 0
	for _, entry := range entries {
		if entry.Type()&os.ModeSocket == 0 {
			continue
		}
		sockets++
		if !refused(filepath.Join(dir, entry.Name())) {
			return false
		}
	}
	return sockets > 0 || time.Since(info.ModTime()) > newborn
}

// refused tells whether nobody listens on a unix socket. Connecting to one never
// waits for its owner.
func refused(socket string) bool {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
