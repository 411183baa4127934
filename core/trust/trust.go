// Package trust remembers which sero.json files a person allows to ask things of
// the host. A file comes with whatever a workspace is cloned from; what it asks
// for outside of the workspace waits until somebody has looked. The allowance is
// bound to the file's text: an edit takes it away.
package trust

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/internal/durable"
	"github.com/sero-labs/sero-runtime/internal/ownpath"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Item is one thing that a file asks of the host.
type Item struct {
	Field string // "mode", "mounts[1]", "secrets.TOKEN"
	Kind  string // "host", "limit", "mount", "secret" or "user"
	Text  string // one line: what is allowed if it is trusted
}

// Items lists what a file asks of the host, in the file's order where it has one.
func Items(file config.Workspace) []Item {
	var items []Item
	switch config.ModeHost {
	case file.Mode:
		items = append(items, Item{"mode", "host", hostText})
	case file.Driver: // the host's driver is named as the mode
		items = append(items, Item{"driver", "host", hostText})
	}
	if file.Fallback == config.FallbackHost {
		items = append(items, Item{"fallback", "host", hostText + ", when no driver that isolates can be used"})
	}
	if file.User != "" {
		items = append(items, Item{"user", "user", userText(file.User)})
	}
	if file.Resources.Processes > driver.DefaultProcesses {
		items = append(items, Item{"resources.processes", "limit", processesText(file.Resources.Processes)})
	}
	for i, m := range file.Mounts {
		items = append(items, Item{fieldOf("mounts", i), "mount", mountText(m)})
	}
	for i, root := range file.Roots {
		items = append(items, Item{fieldOf("roots", i), "mount", mountText(config.Mount{Source: root})})
	}
	for _, name := range slices.Sorted(maps.Keys(file.Secrets)) {
		items = append(items, Item{"secrets." + name, "secret", secretText(name, file.Secrets[name])})
	}
	return items
}

// Store keeps what is trusted, in one file. It is safe for concurrent use.
type Store struct {
	dir string
	log func(problem string)

	writing sync.Mutex // orders the changes of the file

	mu      sync.Mutex
	trusted map[string]grant // by workspace directory; never changed, but replaced
}

// grant is what is kept of one directory.
type grant struct {
	Hash  string    `json:"hash"` // of the file's text
	Since time.Time `json:"since"`
}

const fileName = "trust.json"

// Open gives the store in sero's state directory. A file that makes no sense is
// as good as none: everything has to be trusted anew, and report is told.
func Open(stateDir string, report func(problem string)) *Store {
	s := &Store{dir: stateDir, log: report}
	s.read()
	return s
}

// Trusted tells whether the file of that hash is trusted in a directory. A
// directory without a file asks for nothing.
func (s *Store) Trusted(directory, hash string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return hash != "" && s.trusted[directory].Hash == hash
}

// Trust allows what the file of that hash asks for.
func (s *Store) Trust(directory, hash string) error {
	return s.change(func(trusted map[string]grant) {
		trusted[directory] = grant{Hash: hash, Since: time.Now().UTC().Truncate(time.Second)}
	})
}

// Revoke takes the allowance of a directory away. It may have none.
func (s *Store) Revoke(directory string) error {
	return s.change(func(trusted map[string]grant) { delete(trusted, directory) })
}

func (s *Store) change(f func(trusted map[string]grant)) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	next := maps.Clone(s.trusted)
	s.mu.Unlock()
	f(next)
	text, err := json.MarshalIndent(next, "", "  ")
	if err == nil {
		err = durable.WriteFile(s.dir, fileName, append(text, '\n'))
	}
	if err != nil {
		return driver.Errorf(driver.Internal, "what is trusted cannot be kept: %w", err).About(filepath.Join(s.dir, fileName)).
			Remedy("make room, and make the directory of sero's state writable")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trusted = next
	return nil
}

// read fills trusted, before anybody else knows the store.
func (s *Store) read() {
	s.trusted = map[string]grant{}
	name := filepath.Join(s.dir, fileName)
	text, err := ownpath.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = json.Unmarshal(text, &s.trusted)
	}
	if err == nil && s.trusted == nil {
		err = errors.New("there is nothing in it")
	}
	if err != nil {
		s.trusted = map[string]grant{}
		s.log("what was trusted cannot be read and has to be trusted anew: " + err.Error())
	}
}
