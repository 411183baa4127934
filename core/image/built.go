package image

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/internal/durable"
	"github.com/sero-labs/sero-runtime/internal/ownpath"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// record keeps which images this installation built, by digest. The labels that
// it puts on them do not tell: whatever anybody builds upon one of them has the
// same labels. Without its file nothing is ours, and nothing is removed.
type record struct {
	dir string
	log func(problem string)

	writing sync.Mutex // orders the changes of the file

	mu    sync.Mutex
	built map[string]builtImage // never changed, but replaced
}

type builtImage struct {
	Reference string    `json:"reference"`
	Built     time.Time `json:"built"`
}

const (
	recordFile = "images.json"
	mostBuilt  = 1000 // the oldest are forgotten, and then are not ours
)

func (r *record) has(digest string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.built[digest]
	return ok
}

func (r *record) add(i driver.Image) {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.mu.Lock()
	built := maps.Clone(r.built)
	r.mu.Unlock()
	built[i.Digest] = builtImage{i.Reference, time.Now().UTC().Truncate(time.Second)}
	for len(built) > mostBuilt {
		oldest := ""
		for digest, b := range built {
			if oldest == "" || b.Built.Before(built[oldest].Built) {
				oldest = digest
			}
		}
		delete(built, oldest)
	}
	r.mu.Lock()
	r.built = built
	r.mu.Unlock()
	text, err := json.MarshalIndent(built, "", "  ")
	if err == nil {
		err = durable.WriteFile(r.dir, recordFile, append(text, '\n'))
	}
	if err != nil {
		r.log("that an image was built here cannot be kept, so it will not be pruned: " + err.Error())
	}
}

// openRecord reads what is kept in the state directory.
func openRecord(stateDir string, log func(problem string)) *record {
	r := &record{dir: stateDir, log: log}
	r.read()
	return r
}

// read fills built, before anybody else knows the record.
func (r *record) read() {
	r.built = map[string]builtImage{}
	text, err := ownpath.Read(filepath.Join(r.dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = json.Unmarshal(text, &r.built)
	}
	if err != nil || r.built == nil {
		r.built = map[string]builtImage{}
		r.log("which images were built here cannot be read")
	}
}

// Built tells whether this installation built an image.
func (s *Images) Built(i driver.Image) bool {
	return i.Labels[driver.LabelManaged] == "true" && i.Labels[driver.LabelInstallation] == s.options.Installation && s.record.has(i.Digest)
}
