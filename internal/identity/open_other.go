//go:build !linux

package identity

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// open looks for links before it opens the directory, so a link that is put into
// the path between the two is followed.
func open(path string) (*os.File, error) {
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	if resolved != filepath.Clean(path) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
	}
	return os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
}
