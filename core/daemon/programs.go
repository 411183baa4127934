package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// programAge is how old another version's program is at least when it is
// removed. A younger one may be about to start.
const programAge = time.Hour

// removePrograms removes the programs that other versions put into a directory
// from which this one runs. The caller holds the home's lock: no daemon runs from
// them.
func removePrograms(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real // as the system has this program's path
	}
	mine, below := strings.CutPrefix(self, dir+string(filepath.Separator))
	if !below {
		return nil // of another kind, which puts nothing there
	}
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		info, gone := entry.Info()
		if gone != nil || entry.Name() == filepath.Dir(mine) || time.Since(info.ModTime()) < programAge {
			continue
		}
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, entry.Name())))
	}
	return err
}
