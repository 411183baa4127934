// Package helper holds the programs that sero puts into sandboxes, sero-guest
// for each platform, and writes them to where they can be mounted from.
package helper

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/sero-labs/sero-runtime/internal/unpack"
)

// built has a README, and the programs if make has built them.
//
//go:embed bin
var built embed.FS

// ErrNotBuilt is the error of a sero that was built without the helpers.
var ErrNotBuilt = errors.New("this sero was built without the guest helper; make build makes one with it")

// Write makes sure that the programs are in a directory below parent, and gives
// that directory. Its name depends on their content, so that what a running
// sandbox has mounted never changes. Several processes may do so at once.
func Write(parent string) (string, error) {
	names, err := fs.Glob(built, "bin/*.gz")
	if err != nil || len(names) == 0 {
		return "", errors.Join(ErrNotBuilt, err)
	}
	sum := sha256.New()
	packed := make(map[string]string, len(names))
	for _, name := range names { // sorted
		b, err := fs.ReadFile(built, name)
		if err != nil {
			return "", err
		}
		packed[strings.TrimSuffix(path.Base(name), ".gz")] = name
		fmt.Fprintln(sum, name, len(b))
		sum.Write(b)
	}
	return unpack.Write(built, packed, parent, hex.EncodeToString(sum.Sum(nil)[:8]))
}
