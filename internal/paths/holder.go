package paths

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/sero-labs/sero-runtime/internal/ownpath"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// DaemonConflict tells that a daemon is in the way of another one's: it holds the
// same home, or serves in the same run directory.
const DaemonConflict driver.Reason = "DAEMON_CONFLICT"

// Holder is the daemon that holds a lock. It says so in the lock's file, and its
// words stay when the lock is given up: they tell where to look, not what is.
type Holder struct {
	PID    int    `json:"pid"`
	Socket string `json:"socket"`
	Home   string `json:"home"`
}

// HolderOf is who last wrote into a lock's file; zero when nobody did.
func HolderOf(lock string) (h Holder) {
	text, err := ownpath.Read(lock)
	if err != nil || json.Unmarshal(text, &h) != nil {
		return Holder{}
	}
	return h
}

// Write says in a lock's file who holds it. Only who does may.
func (h Holder) Write(lock string) error {
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	f, err := ownpath.Open(lock, os.O_WRONLY|os.O_CREATE, 0o600) // in place: another file would be another lock
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = f.Truncate(int64(len(text)) + 1)
	}
	return errors.Join(err, f.Close())
}

// Serves tells whether the daemon is that of a home, however its path is spelled.
func (h Holder) Serves(home string) bool {
	if h.Home == home {
		return true
	}
	a, errA := os.Stat(h.Home)
	b, errB := os.Stat(home)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// Conflict is the error of whoever wants a daemon for a home and finds this one
// in the way.
func (h Holder) Conflict(home string) *driver.Error {
	stop := []string{"env", HomeVariable + "=" + h.Home, RunVariable + "=" + filepath.Dir(h.Socket), "sero", "daemon", "stop"}
	if h.Serves(home) {
		return driver.Errorf(DaemonConflict, "the home %s has a daemon already: process %d, which serves %s", home, h.PID, h.Socket).
			About(h.Socket).Remedy("end that one", stop...).
			Remedy("set " + HomeVariable + " to another directory, to have a home besides that one")
	}
	return driver.Errorf(DaemonConflict, "the daemon at %s, process %d, is that of another home: %s is not %s", h.Socket, h.PID, h.Home, home).
		About(h.Socket).Remedy("unset "+RunVariable+", or set it to another directory: each home needs its own").
		Remedy("end that daemon", stop...)
}
