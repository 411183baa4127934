package workspace

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/sero-labs/sero-runtime/internal/durable"
	"github.com/sero-labs/sero-runtime/internal/ownpath"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// The two files of an installation's id. Each has it with a checksum.
const (
	installationFile = "installation"
	installationCopy = "installation.copy"
)

// plainInstallation is an id without a checksum, as it was written before there
// were any.
var plainInstallation = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z2-7]{26}$`) })

// InstallationID tells the sandboxes of one state directory from those of
// others: it is the value of driver.LabelInstallation. It is made once and kept
// in the directory, which is made too, in two copies. Where both are damaged it is
// what recovered returns; it may be nil, or a new one; lost says so.
// PermissionDenied or Internal when it can be neither read nor written, and
// PermissionDenied when another user could have written it.
func InstallationID(state string, recovered func() string) (id string, lost bool, err error) {
	if err := os.MkdirAll(state, 0o700); err != nil {
		return "", false, driver.Errorf(driver.PermissionDenied, "the state directory cannot be made: %w", err).About(state).
			Remedy("make it writable, or set SERO_HOME to another directory")
	}
	first, firstErr := readInstallation(state, installationFile)
	second, secondErr := readInstallation(state, installationCopy)
	for _, err := range []error{firstErr, secondErr} { // what others may have put there is no damage to be mended
		if refusal := ownpath.Refusal("the installation's id", err); refusal != nil {
			return "", false, refusal
		}
	}
	if err := errors.Join(firstErr, secondErr); err != nil && first.id == "" && second.id == "" {
		return "", false, driver.Errorf(driver.PermissionDenied, "the installation's id cannot be read: %w", err).
			About(filepath.Join(state, installationFile)).Remedy("make the file readable")
	}
	switch {
	case first.sound:
		id = first.id
	case second.sound:
		id = second.id
	case first.id != "":
		id = first.id
	default:
		if recovered != nil && (first.exists || second.exists || hasRecords(state)) {
			id, lost = recovered(), true
		}
		if id == "" {
			id = strings.ToLower(rand.Text())
		}
	}
	if first.sound && second.sound && first.id == second.id {
		return id, lost, nil
	}
	err = errors.Join(writeInstallation(state, installationCopy, id), writeInstallation(state, installationFile, id))
	if err != nil && first.id == "" && second.id == "" {
		return "", lost, driver.Errorf(driver.Internal, "the installation's id cannot be written: %w", err).
			About(filepath.Join(state, installationFile)).Remedy("free some space, or set SERO_HOME to another directory")
	}
	return id, lost, nil // a copy that cannot be written now is written at the next start
}

// installation is what a file says.
type installation struct {
	id     string // empty: it makes no sense
	sound  bool   // the checksum is right
	exists bool
}

func readInstallation(state, name string) (installation, error) {
	f, err := ownpath.Open(filepath.Join(state, name), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return installation{}, nil
	}
	if err != nil {
		return installation{exists: true}, err
	}
	defer func() { _ = f.Close() }()
	const most = 1 << 10 // far above what is written
	text, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return installation{exists: true}, err
	}
	id, sum, summed := strings.Cut(strings.TrimSpace(string(text)), " ")
	switch {
	case summed && sum == installationSum(id) && id != "":
		return installation{id, true, true}, nil
	case !summed && plainInstallation().MatchString(id):
		return installation{id, false, true}, nil
	}
	return installation{exists: true}, nil
}

func installationSum(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:8])
}

func writeInstallation(state, name, id string) error {
	return durable.WriteFile(state, name, []byte(id+" "+installationSum(id)+"\n"))
}

// hasRecords reports whether workspaces were opened in a state directory.
func hasRecords(state string) bool { return len(knownDirectories(state)) > 0 }

// knownDirectories are the directories of the records, by id.
func knownDirectories(state string) map[string]string {
	known := map[string]string{}
	records := filepath.Join(state, recordsDir)
	copies, _ := filepath.Glob(filepath.Join(records+copySuffix, "*.json")) // the patterns are sound
	files, _ := filepath.Glob(filepath.Join(records, "*.json"))
	for _, file := range append(copies, files...) {
		info, err := os.Lstat(file)
		if err != nil || !info.Mode().IsRegular() || info.Size() > maxRecord {
			continue
		}
		var r record
		if text, err := os.ReadFile(file); err == nil && json.Unmarshal(text, &r) == nil && r.ID != "" && r.Directory != "" {
			known[r.ID] = filepath.Clean(r.Directory)
		}
	}
	return known
}

// RecoverInstallation asks drivers for sandboxes of workspaces that a state
// directory has records of, and gives the installation that most of them have as
// their label; empty if there is none.
func RecoverInstallation(ctx context.Context, state string, drivers Drivers, names []string) string {
	known := knownDirectories(state)
	votes := map[string]int{}
	for _, name := range names {
		d, err := drivers.Driver(ctx, name)
		if err != nil {
			continue
		}
		sandboxes, err := d.List(ctx, map[string]string{driver.LabelManaged: "true"})
		if err != nil {
			continue
		}
		for _, s := range sandboxes {
			id, dir := s.Labels[driver.LabelWorkspaceID], s.Labels[driver.LabelWorkspacePath]
			if label := s.Labels[driver.LabelInstallation]; label != "" && !strings.ContainsAny(label, " \n") && dir != "" && known[id] == dir && s.ID == SandboxID(id) {
				votes[label]++
			}
		}
	}
	best := ""
	for label, n := range votes {
		if n > votes[best] || n == votes[best] && label < best {
			best = label
		}
	}
	return best
}
