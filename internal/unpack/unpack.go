// Package unpack writes programs that are carried in this one to where they can
// run.
package unpack

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Write makes sure that the programs are in the directory id below parent, and
// gives that directory. packed has each program's file in from, compressed with
// gzip, by the program's name. An id stands for one content: what is there once
// is not written again, so that a program that runs never changes. Several
// processes may do so at once.
func Write(from fs.FS, packed map[string]string, parent, id string) (string, error) {
	dir := filepath.Join(parent, id)
	if complete(dir, packed) {
		return dir, nil
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", err
	}
	temporary, err := os.MkdirTemp(parent, ".new-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	for name, file := range packed {
		if err := program(from, file, filepath.Join(temporary, name)); err != nil {
			return "", fmt.Errorf("write %s: %w", name, err)
		}
	}
	if err := os.Chmod(temporary, 0o755); err != nil { // any user of a sandbox runs it
		return "", err
	}
	if err := os.Rename(temporary, dir); err != nil && !complete(dir, packed) {
		return "", err
	}
	return dir, nil
}

// complete tells whether another process, or this one before, wrote all.
func complete(dir string, packed map[string]string) bool {
	for name := range packed {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm()&0o111 == 0 {
			return false
		}
	}
	return true
}

func program(from fs.FS, file, to string) error {
	in, err := from.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	z, err := gzip.NewReader(in)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, z) //nolint:gosec // what it unpacks to was built with it
	return errors.Join(err, out.Chmod(0o755), out.Sync(), out.Close())
}
