// Package packed holds the whole program for a sero whose command line starts
// without it, and writes it to where it can run.
//
// A Go program pays at each start for all that it links: with the daemon and the
// drivers that is more than twice what the command line needs (ADR 0009).
package packed

import (
	"embed"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/internal/ownpath"
	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/internal/unpack"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// built has a README, and the program if make has built it: one file, named
// after its content.
//
//go:embed bin
var built embed.FS

// Program makes sure that the whole program is below parent, and gives its path.
// It fails with DaemonFailed when there is none in this one, or when it cannot be
// written.
func Program(parent string) (string, error) { return program(built, parent) }

func program(from fs.FS, parent string) (string, error) {
	names, err := fs.Glob(from, "bin/*.gz")
	if err != nil || len(names) != 1 {
		return "", driver.Errorf(daemonclient.DaemonFailed, "this sero was built without its daemon").
			Remedy("build it with make build, or without -tags packed")
	}
	if err := os.MkdirAll(filepath.Dir(parent), 0o700); err != nil {
		return "", cannotWrite(parent, err)
	}
	dir, err := unpack.Write(from, map[string]string{"sero": names[0]}, parent, strings.TrimSuffix(path.Base(names[0]), ".gz"))
	if refusal := ownpath.Refusal("the daemon's program", err); refusal != nil {
		return "", refusal
	}
	if err != nil {
		return "", cannotWrite(parent, err)
	}
	return filepath.Join(dir, "sero"), nil
}

func cannotWrite(dir string, err error) error {
	return driver.Errorf(daemonclient.DaemonFailed, "the daemon's program cannot be written: %w", err).About(dir).
		Remedy("set " + paths.HomeVariable + " to a directory that you can write")
}
