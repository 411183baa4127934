// Package durable writes files that must last.
package durable

import (
	"os"
	"path/filepath"
)

// TemporaryPrefix begins the names of files that a write which was cut off leaves
// behind.
const TemporaryPrefix = ".writing-"

// WriteFile replaces a file as a whole: whenever the machine stops, the old
// contents or the new ones are there. Only the user can read it.
func WriteFile(dir, name string, text []byte) (err error) {
	f, err := os.CreateTemp(dir, TemporaryPrefix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil //nolint:nilerr // the rename is done; only its survival of a power cut is open
	}
	defer d.Close()
	_ = d.Sync()
	return nil
}
