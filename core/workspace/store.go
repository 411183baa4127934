package workspace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/internal/durable"
	"github.com/sero-labs/sero-runtime/internal/ownpath"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// recordVersion is the version of the record's form. A newer one is left alone.
const recordVersion = 1

// record is what is kept of a workspace. What runs is not in it: runtimes know.
type record struct {
	Version   int       `json:"version"`
	ID        string    `json:"id"`
	Directory string    `json:"directory"` // absolute, symlinks resolved
	Created   time.Time `json:"created"`
	Driver    string    `json:"driver,omitempty"` // the wish given with up; empty: none
	Last      lastUse   `json:"last,omitzero"`
	Before    []string  `json:"before,omitempty"` // drivers in which a sandbox that isolates was made, the newest last

	Mounts []attached `json:"mounts,omitempty"`
}

// lastUse says where the sandbox was made last, so that it is found again.
type lastUse struct {
	Driver   string `json:"driver"`
	HostMode bool   `json:"hostMode"`
}

// store keeps one file for each workspace, and a copy of those that must not be
// lost. A file that makes no sense is put aside, never deleted, and never in the
// way of the others.
type store struct {
	dir     string
	copies  string
	newer   map[string]bool // ids whose files a newer sero wrote
	notices []string
}

func openStore(dir string) (*store, []record, error) {
	s := &store{dir: dir, copies: dir + copySuffix, newer: map[string]bool{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, storeError(dir, err)
	}
	if refusal := ownpath.Refusal("the records of workspaces", ownpath.Directory(dir)); refusal != nil {
		return nil, nil, refusal
	}
	if err := s.openCopies(); err != nil {
		return nil, nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, storeError(dir, err)
	}
	var records []record
	directories := map[string]string{}
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, durable.TemporaryPrefix) {
			_ = os.Remove(filepath.Join(dir, name)) // left by a write that was cut off
			continue
		}
		id, isRecord := strings.CutSuffix(name, ".json")
		if !isRecord {
			continue
		}
		r, problem := s.read(id)
		if problem == "" && directories[r.Directory] != "" {
			problem = "its directory is that of workspace " + directories[r.Directory]
		}
		switch {
		case s.newer[id]:
			s.notices = append(s.notices, fmt.Sprintf("workspace %s is left out: %s", id, problem))
		case problem != "":
			s.quarantine(s.dir, name, problem)
		default:
			directories[r.Directory] = id
			records = append(records, r)
		}
	}
	records, err = s.mend(records, directories)
	return s, records, err
}

// maxRecord is far above any record that sero writes.
const maxRecord = 64 << 10

func (s *store) read(id string) (record, string) {
	r, problem, newer := readRecord(s.dir, id)
	if newer {
		s.newer[id] = true
	}
	return r, problem
}

// readRecord reads a record, or says what is wrong with it.
func readRecord(dir, id string) (r record, problem string, newer bool) {
	path := filepath.Join(dir, id+".json")
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return record{}, err.Error(), false
	case !info.Mode().IsRegular():
		return record{}, "it is not a regular file", false
	case info.Size() > maxRecord:
		return record{}, "it is too large", false
	}
	text, err := ownpath.Read(path)
	if err != nil {
		return record{}, err.Error(), false
	}
	var version struct{ Version int }
	if err := json.Unmarshal(text, &version); err == nil && version.Version > recordVersion {
		return record{}, "a newer sero wrote it", true
	}
	r, problem = parseRecord(id, text)
	return r, problem, false
}

func parseRecord(id string, text []byte) (record, string) {
	var r record
	decoder := json.NewDecoder(bytes.NewReader(text))
	switch err := decoder.Decode(&r); {
	case err != nil:
		return record{}, "it is not valid JSON"
	case r.Version != recordVersion:
		return record{}, "its version is missing"
	case r.ID != id || !validID().MatchString(id):
		return record{}, "its id is not its name"
	case !filepath.IsAbs(r.Directory) || strings.ContainsRune(r.Directory, 0):
		return record{}, "its directory is not absolute"
	case checkWish(r.Driver) != nil || checkWish(r.Last.Driver) != nil ||
		slices.ContainsFunc(r.Before, func(name string) bool { return checkWish(name) != nil }):
		return record{}, "its driver is not a driver's name"
	}
	r.Directory = filepath.Clean(r.Directory)
	return r, ""
}

// quarantine renames a broken file to name.corrupt-N.
func (s *store) quarantine(dir, name, problem string) {
	from := filepath.Join(dir, name)
	for n := 1; n < 1000; n++ {
		to := fmt.Sprintf("%s.corrupt-%d", from, n)
		if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.Rename(from, to); err != nil {
			problem += ", and cannot be put aside: " + err.Error()
			to = from
		}
		s.notices = append(s.notices, fmt.Sprintf("the record %s was broken (%s) and is put aside as %s", shown(name), problem, shown(filepath.Base(to))))
		return
	}
}

func (s *store) save(r record) error {
	if s.newer[r.ID] {
		return driver.Errorf(driver.AlreadyExists, "the record of workspace %s was written by a newer sero", r.ID).About(r.ID).
			Remedy("use the newer sero, or another id")
	}
	text, err := r.text()
	if err != nil {
		return storeError(s.dir, err)
	}
	if err := durable.WriteFile(s.dir, r.ID+".json", text); err != nil {
		return storeError(filepath.Join(s.dir, r.ID+".json"), err)
	}
	return s.saveCopy(r, text)
}

// text is what a record's file says.
func (r record) text() ([]byte, error) {
	r.Version = recordVersion
	text, err := json.MarshalIndent(r, "", "  ")
	return append(text, '\n'), err
}

func storeError(path string, err error) error {
	reason := driver.Internal
	if errors.Is(err, fs.ErrPermission) {
		reason = driver.PermissionDenied
	}
	return driver.Errorf(reason, "the state cannot be kept: %w", err).About(path).
		Remedy("make the directory of sero's state writable")
}
