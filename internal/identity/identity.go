// Package identity distinguishes directories by what they are, not by the paths
// that lead to them.
package identity

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// Argument makes the guest helper print the identities of the paths that follow it,
// one a line.
const Argument = "identify"

// ID is the identity of a file while it exists: no two have the same one at a time.
type ID struct {
	Device uint64
	Inode  uint64
}

// String is the form that Parse reads.
func (id ID) String() string { return fmt.Sprintf("%d:%d", id.Device, id.Inode) }

// Parse reads what String wrote.
func Parse(text string) (ID, error) {
	var id ID
	if _, err := fmt.Sscanf(text, "%d:%d", &id.Device, &id.Inode); err != nil || id.String() != text {
		return ID{}, fmt.Errorf("%.64q is no identity", text)
	}
	return id, nil
}

// Of returns the identity of what a path leads to; links are followed.
func Of(path string) (ID, error) {
	info, err := os.Stat(path)
	if err != nil {
		return ID{}, err
	}
	return of(path, info)
}

func of(path string, info fs.FileInfo) (ID, error) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ID{}, &fs.PathError{Op: "identify", Path: path, Err: syscall.ENOTSUP}
	}
	return ID{Device: uint64(stat.Dev), Inode: stat.Ino}, nil //nolint:gosec,unconvert // its type differs between systems
}

// Directory is an open directory. While it is open, no other one gets its ID.
type Directory struct {
	Path string
	ID   ID
	file *os.File
}

// Open opens the directory at an absolute path. It fails with ELOOP or ENOTDIR
// where the path has a symbolic link in it: what can write above a directory could
// put one there to lead elsewhere.
func Open(path string) (*Directory, error) {
	file, err := open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	id, err := of(path, info)
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &Directory{Path: path, ID: id, file: file}, nil
}

// Close ends the hold on the directory.
func (d *Directory) Close() { _ = d.file.Close() }
