package workspace

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// decidedByOthers refuses a sero.json above a directory that another user than
// this one or root could have put there: it would decide what the directory's
// commands run in, and with what. It is git's rule of safe.directory.
func decidedByOthers(dir, above string) error {
	file := filepath.Join(above, config.FileName)
	why := writableByOthers(above, os.Lstat)
	if why == "" {
		why = writableByOthers(file, os.Lstat)
	}
	if why == "" {
		why = writableByOthers(file, os.Stat) // what a link leads to; it may lead nowhere
	}
	if why == "" {
		return nil
	}
	err := driver.Errorf(driver.PermissionDenied, "%s would decide for %s, but %s", shown(file), shown(dir), why).About(file)
	err.Field = placeField
	return err.Remedy("open the directory itself, under an id of its own", "sero", "up", "--id", IDFromName(filepath.Base(dir)), dir).
		Remedy("or, if you trust who wrote that file, open the directory above, once", "sero", "up", above)
}

// writableByOthers says how others than this user and root may change a file or
// directory; empty: they may not.
func writableByOthers(path string, look func(string) (fs.FileInfo, error)) string {
	info, err := look(path)
	if err != nil {
		return ""
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	me := os.Getuid()
	if owner := int(stat.Uid); owner != me && owner != 0 {
		return fmt.Sprintf("%s belongs to another user, uid %d", shown(path), owner)
	}
	const groupMay, othersMay = 0o020, 0o002
	switch mode := info.Mode(); {
	case mode&fs.ModeSymlink != 0: // its own mode says nothing
	case mode.Perm()&othersMay != 0:
		return fmt.Sprintf("everybody may write to %s", shown(path))
	case mode.Perm()&groupMay != 0 && !ownGroup(int(stat.Gid), me):
		return fmt.Sprintf("the group %d may write to %s", stat.Gid, shown(path))
	}
	return ""
}

// ownGroup reports whether only this user and root are in a group: root's
// own, and the private one that most systems make for each user, with the same
// number.
func ownGroup(group, user int) bool {
	return group == 0 || group == user && group == os.Getgid()
}
