// Package unpack writes programs that are carried in this one to where they can
// run.
package unpack

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sero-labs/sero-runtime/internal/ownpath"
)

// SumSuffix ends the name of the file beside a packed program that has the SHA-256
// of what it unpacks to, in hex. Without it the sum is made from the program, which
// takes longer.
const SumSuffix = ".sum"

// Write makes sure that the programs are in the directory id below parent, and
// returns that directory. packed has each program's file in from, compressed with
// gzip, by the program's name. An id stands for one content: what is there is
// compared with it, and written anew where it differs; what is right is left alone,
// for it may run. Several processes may do so at once.
//
// It fails with an ownpath.Problem for a directory that is another user's or that
// others can write, and where a link or the like is in the place of a program.
func Write(from fs.FS, packed map[string]string, parent, id string) (string, error) {
	dir := filepath.Join(parent, id)
	for _, made := range []string{parent, dir} {
		if err := makeDirectory(made); err != nil {
			return "", err
		}
	}
	for name, file := range packed {
		right, err := isRight(from, file, filepath.Join(dir, name))
		if err == nil && !right {
			err = program(from, file, dir, name)
		}
		if err != nil {
			_ = os.Remove(dir) // if there is nothing in it
			return "", fmt.Errorf("write %s: %w", name, err)
		}
	}
	return dir, nil
}

// makeDirectory makes a directory that any user of a sandbox can read.
func makeDirectory(dir string) error {
	err := ownpath.Directory(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := ownpath.Directory(dir); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755) //nolint:gosec // whatever the umask is
}

// isRight reports whether a program is what was packed, byte for byte.
func isRight(from fs.FS, packed, path string) (bool, error) {
	f, err := ownpath.Open(path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if problem, ok := errors.AsType[*ownpath.Problem](err); ok && problem.Close || errors.Is(err, fs.ErrPermission) {
		return false, nil // ours, and open to others or closed to us: not as it was written
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || info.Mode().Perm()&0o555 != 0o555 {
		return false, err
	}
	want, err := sumOf(from, packed)
	if err != nil {
		return false, err
	}
	got := sha256.New()
	if _, err := io.Copy(got, f); err != nil {
		return false, err
	}
	return hex.EncodeToString(got.Sum(nil)) == want, nil
}

// sumOf returns the SHA-256 of what a packed program unpacks to.
func sumOf(from fs.FS, packed string) (string, error) {
	beside, err := fs.ReadFile(from, strings.TrimSuffix(packed, ".gz")+SumSuffix)
	if sum := strings.TrimSpace(string(beside)); err == nil && len(sum) == sha256.Size*2 {
		return sum, nil
	}
	made := sha256.New()
	if err := unzip(from, packed, made); err != nil {
		return "", err
	}
	return hex.EncodeToString(made.Sum(nil)), nil
}

// program writes one beside its place and then into it: whoever runs what was there
// goes on with that.
func program(from fs.FS, file, dir, name string) (err error) {
	out, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(out.Name())
		}
	}()
	err = errors.Join(unzip(from, file, out), out.Chmod(0o755), out.Sync(), out.Close())
	if err != nil {
		return err
	}
	return os.Rename(out.Name(), filepath.Join(dir, name))
}

func unzip(from fs.FS, file string, to io.Writer) error {
	in, err := from.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	z, err := gzip.NewReader(in)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, z) //nolint:gosec // what it unpacks to was built with it
	return err
}
