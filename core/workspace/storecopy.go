package workspace

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sero-labs/sero-runtime/internal/durable"
	"github.com/sero-labs/sero-runtime/internal/ownpath"
)

// recordsDir is the directory of the records in that of the state.
const recordsDir = "workspaces"

// copySuffix makes the name of the directory of copies from that of the records.
const copySuffix = ".copy"

// isolated reports whether the workspace has had a sandbox that isolates. Such a
// record is kept twice: a workspace whose record is lost while its engine is down
// would be a new one, whose commands run on the host.
func (r record) isolated() bool {
	return r.Last.Driver != "" && !r.Last.HostMode || len(r.Before) > 0
}

func (s *store) openCopies() error {
	if err := os.MkdirAll(s.copies, 0o700); err != nil {
		return storeError(s.copies, err)
	}
	if refusal := ownpath.Refusal("the copies of the records of workspaces", ownpath.Directory(s.copies)); refusal != nil {
		return refusal
	}
	return nil
}

// saveCopy keeps a record for the second time.
func (s *store) saveCopy(r record, text []byte) error {
	if !r.isolated() {
		return nil
	}
	if err := durable.WriteFile(s.copies, r.ID+".json", text); err != nil {
		return storeError(filepath.Join(s.copies, r.ID+".json"), err)
	}
	return nil
}

// mend makes records and copies agree: a record that is lost or broken is restored
// from its copy, and a copy that is missing or differs from its record.
func (s *store) mend(records []record, directories map[string]string) ([]record, error) {
	entries, err := os.ReadDir(s.copies)
	if err != nil {
		return nil, storeError(s.copies, err)
	}
	known := map[string]bool{}
	for _, r := range records {
		known[r.ID] = true
		s.mendCopy(r)
	}
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, durable.TemporaryPrefix) {
			_ = os.Remove(filepath.Join(s.copies, name)) // left by a write that was cut off
			continue
		}
		id, isRecord := strings.CutSuffix(name, ".json")
		if !isRecord || known[id] || s.newer[id] {
			continue
		}
		r, problem, newer := readRecord(s.copies, id)
		switch {
		case newer:
			s.newer[id] = true
			s.notices = append(s.notices, fmt.Sprintf("workspace %s is left out: %s", id, problem))
		case problem != "":
			s.quarantine(s.copies, name, problem)
		case directories[r.Directory] != "":
			s.quarantine(s.copies, name, "its directory is that of workspace "+directories[r.Directory])
		default:
			notice := fmt.Sprintf("the record of workspace %s was lost or broken, and was restored from its copy", id)
			if err := s.save(r); err != nil {
				notice = fmt.Sprintf("the record of workspace %s was lost or broken, and its copy is used: %v", id, err)
			}
			s.notices = append(s.notices, notice)
			directories[r.Directory] = id
			records = append(records, r)
		}
	}
	return records, nil
}

// mendCopy writes the copy of a record that is as it should be, if it has to be.
func (s *store) mendCopy(r record) {
	if !r.isolated() {
		return
	}
	text, err := r.text()
	if err != nil {
		return
	}
	have, err := ownpath.Read(filepath.Join(s.copies, r.ID+".json"))
	if err == nil && bytes.Equal(have, text) {
		return
	}
	if err := s.saveCopy(r, text); err != nil {
		s.notices = append(s.notices, fmt.Sprintf("the record of workspace %s has no copy: %v", r.ID, err))
	}
}

// remove takes away a record and its copy. The copy goes first: a record without
// one is known at the next start, and can be removed again.
func (s *store) remove(id string) error {
	for _, dir := range []string{s.copies, s.dir} {
		if err := os.Remove(filepath.Join(dir, id+".json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return storeError(dir, err)
		}
	}
	return nil
}
