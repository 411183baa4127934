// Package helper holds the programs that sero puts into sandboxes, sero-guest
// for each platform, and writes them to where they can be mounted from.
package helper

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// built has a README, and the programs if make has built them.
//
//go:embed bin
var built embed.FS

// ErrNotBuilt is the error of a sero that was built without the helpers.
var ErrNotBuilt = errors.New("this sero was built without the guest helper; make build makes one with it")

// maxProgram bounds one program, in bytes.
const maxProgram = 64 << 20

// Write makes sure that the programs are in a directory below parent, and gives
// that directory. Its name depends on their content, so that what a running
// sandbox has mounted never changes. Several processes may do so at once.
func Write(parent string) (string, error) { return write(built, parent) }

func write(from fs.FS, parent string) (string, error) {
	names, err := fs.Glob(from, "bin/*.gz")
	if err != nil || len(names) == 0 {
		return "", errors.Join(ErrNotBuilt, err)
	}
	sum := sha256.New()
	packed := make(map[string][]byte, len(names))
	for _, name := range names { // sorted
		b, err := fs.ReadFile(from, name)
		if err != nil {
			return "", err
		}
		packed[name] = b
		fmt.Fprintln(sum, name, len(b))
		sum.Write(b)
	}
	dir := filepath.Join(parent, hex.EncodeToString(sum.Sum(nil)[:8]))
	if complete(dir, names) {
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
	for name, b := range packed {
		if err := unpack(b, filepath.Join(temporary, program(name))); err != nil {
			return "", fmt.Errorf("write %s: %w", program(name), err)
		}
	}
	if err := os.Chmod(temporary, 0o755); err != nil { // any user of a sandbox runs it
		return "", err
	}
	if err := os.Rename(temporary, dir); err != nil && !complete(dir, names) {
		return "", err
	}
	return dir, nil
}

func program(name string) string { return strings.TrimSuffix(path.Base(name), ".gz") }

// complete tells whether another process, or this one before, wrote all.
func complete(dir string, names []string) bool {
	for _, name := range names {
		if info, err := os.Stat(filepath.Join(dir, program(name))); err != nil || info.Mode().Perm()&0o111 == 0 {
			return false
		}
	}
	return true
}

func unpack(packed []byte, to string) error {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, io.LimitReader(z, maxProgram))
	return errors.Join(err, f.Chmod(0o755), f.Sync(), f.Close())
}
