package workspace

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sero-labs/sero-runtime/internal/durable"
	"github.com/sero-labs/sero-runtime/internal/ownpath"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// InstallationID tells the sandboxes of one state directory from those of
// others: it is the value of driver.LabelInstallation. It is made once and kept
// in the directory, which is made too. PermissionDenied or Internal when it can
// be neither read nor written.
func InstallationID(state string) (string, error) {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return "", driver.Errorf(driver.PermissionDenied, "the state directory cannot be made: %w", err).About(state).
			Remedy("make it writable, or set SERO_HOME to another directory")
	}
	const name = "installation"
	file := filepath.Join(state, name)
	b, err := ownpath.Read(file)
	if id := strings.TrimSpace(string(b)); err == nil && id != "" {
		return id, nil
	}
	if refusal := ownpath.Refusal("the installation's id", err); refusal != nil {
		return "", refusal
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", driver.Errorf(driver.PermissionDenied, "the installation's id cannot be read: %w", err).About(file).
			Remedy("make the file readable")
	}
	id := strings.ToLower(rand.Text())
	if err := durable.WriteFile(state, name, []byte(id+"\n")); err != nil {
		return "", driver.Errorf(driver.Internal, "the installation's id cannot be written: %w", err).About(file).
			Remedy("free some space, or set SERO_HOME to another directory")
	}
	return id, nil
}
