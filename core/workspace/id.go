package workspace

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"sync"

	"github.com/sero-labs/sero-runtime/internal/brief"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// MaxID is the longest workspace id, in characters: with the prefix it is what
// every engine's naming allows.
const MaxID = 58

// SandboxPrefix begins the name of every sandbox.
const SandboxPrefix = "sero-"

// fallbackID is the id of a directory whose name has no letter or digit.
const fallbackID = "workspace"

var (
	validID    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,56}[a-z0-9])?$`) })
	notIDChars = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[^a-z0-9]+`) })
	driverName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`) })
)

// SandboxID is the name of a workspace's sandbox.
func SandboxID(id string) string { return SandboxPrefix + id }

// ValidateID is nil for a valid workspace id, else NameInvalid with the rule.
func ValidateID(id string) error {
	if validID().MatchString(id) {
		return nil
	}
	err := driver.Errorf(driver.NameInvalid,
		"%s is not a workspace id: use lower-case letters, digits and hyphens, a letter or digit first and last, at most %d characters",
		shown(id), MaxID).About(shown(id))
	err.Field = "id"
	if better := IDFromName(id); better != fallbackID {
		err = err.Remedy("use an id such as " + better)
	}
	return err.Remedy("leave the id out to have one made from the directory's name")
}

// IDFromName makes a valid id from a directory's name.
func IDFromName(name string) string {
	const most = 4 * MaxID // a name may be long; more than this cannot matter
	id := notIDChars().ReplaceAllString(strings.ToLower(name[:min(len(name), most)]), "-")
	id = strings.Trim(id, "-")
	id = strings.Trim(id[:min(len(id), MaxID)], "-")
	if id == "" {
		return fallbackID
	}
	return id
}

// idFromPath tells apart directories whose names make the same id.
func idFromPath(id, directory string) string {
	sum := sha256.Sum256([]byte(directory))
	suffix := "-" + hex.EncodeToString(sum[:4])
	return strings.TrimRight(id[:min(len(id), MaxID-len(suffix))], "-") + suffix
}

// shown is text from outside as a message may carry it: quoted, without control
// bytes or look-alikes, and short.
func shown(s string) string { return brief.Text(s) }
