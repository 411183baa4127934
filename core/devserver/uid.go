package devserver

import (
	"crypto/rand"
	"encoding/hex"
	"regexp"
	"slices"
	"sync"
)

// uidPrefix makes a uid unlike any name, port or id of a server.
const uidPrefix = "ds_"

// uidDigits of a uid follow its prefix, and are a part of the ids of the server's
// commands: by those a later core knows the server as the one it was.
const uidDigits = 16

var execIDPattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^dev-([a-z0-9][a-z0-9-]*)-([0-9a-f]+)-[0-9]+$`)
})

// uidInExecID is the uid in the id of a command, empty where there is none. The id
// comes from a sandbox.
func uidInExecID(id string) string {
	m := execIDPattern().FindStringSubmatch(id)
	if m == nil || len(m[2]) != uidDigits {
		return ""
	}
	return uidPrefix + m[2]
}

// uniqueUID is the uid that a server had for an earlier core, unless it has none or
// another server has that. mu must be held.
func (s *Supervisor) uniqueUID(earlier string) string {
	if earlier != "" && !slices.ContainsFunc(s.servers, func(v *server) bool { return v.uid == earlier }) {
		return earlier
	}
	var random [uidDigits / 2]byte
	_, _ = rand.Read(random[:]) // it never fails
	return uidPrefix + hex.EncodeToString(random[:])
}
