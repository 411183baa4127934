package driver_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// TestEFullDisk holds every way in which an error is made to E: that a disk is
// full is told by the cause, whatever reason was meant for the call.
func TestEFullDisk(t *testing.T) {
	full := func(errno syscall.Errno) []error {
		return []error{
			&fs.PathError{Op: "write", Path: "/srv/disk/state/a.json", Err: errno},
			&os.LinkError{Op: "rename", Old: "/tmp/x", New: "/srv/disk/state/b.json", Err: errno},
			fmt.Errorf("copy: %w", &fs.PathError{Op: "mkdir", Path: "/srv/disk/state/d", Err: errno}),
			errors.Join(&fs.PathError{Op: "sync", Path: "/srv/disk/state/a", Err: errno}, errors.New("close")),
			&net.OpError{Op: "listen", Net: "unix", Addr: &net.UnixAddr{Name: "/srv/disk/state/s.sock", Net: "unix"}, Err: os.NewSyscallError("bind", errno)},
		}
	}
	for errno, want := range map[syscall.Errno]struct {
		reason driver.Reason
		words  string
	}{
		syscall.ENOSPC: {driver.OutOfDisk, "the file system of /srv/disk/state is full"},
		syscall.EDQUOT: {driver.OutOfDisk, "the quota on the file system of /srv/disk/state is used up"},
		syscall.EROFS:  {driver.PermissionDenied, "the file system of /srv/disk/state is read-only"},
	} {
		for _, cause := range full(errno) {
			for name, err := range map[string]error{
				"bare":        cause,
				"internal":    driver.Errorf(driver.Internal, "the state cannot be kept: %w", cause),
				"other":       driver.Errorf(driver.DriverFailed, "it does not start: %w", cause),
				"two":         driver.Errorf(driver.ImageBuildFailed, "%w, %w", cause, errors.New("and another")),
				"about":       driver.Errorf(driver.Internal, "x: %w", cause).About("/elsewhere").Remedy("look"),
				"wrapped":     fmt.Errorf("outer: %w", driver.Errorf(driver.Internal, "x: %w", cause)),
				"literal":     &driver.Error{Reason: driver.Internal, Message: "not kept", Err: cause},
				"of an error": driver.Errorf(driver.Internal, "y: %w", driver.Errorf(driver.Internal, "x: %w", cause)),
			} {
				e := driver.AsError(err)
				if e.Reason != want.reason || strings.Count(e.Message, want.words) != 1 || len(e.Remedies) == 0 {
					t.Errorf("%s of %v: %s %q %v", name, cause, e.Reason, e.Message, e.Remedies)
				}
				if !errors.Is(e, errno) {
					t.Errorf("%s of %v lost its cause", name, cause)
				}
				if want.reason == driver.OutOfDisk && !slices.ContainsFunc(e.Remedies, func(r driver.Remedy) bool { return strings.Contains(r.Text, "make room") }) {
					t.Errorf("%s of %v: remedies %v", name, cause, e.Remedies)
				}
			}
		}
		if e := driver.AsError(errno); e.Reason != want.reason || len(e.Remedies) == 0 {
			t.Errorf("bare number: %s %q %v", e.Reason, e.Message, e.Remedies)
		}
	}
}

// TestEOtherErrorsKeepTheirReason has the benign twins of a full disk: the words
// alone decide nothing.
func TestEOtherErrorsKeepTheirReason(t *testing.T) {
	for _, err := range []error{
		errors.New("no space left on device"),
		&fs.PathError{Op: "write", Path: "/a", Err: syscall.EACCES},
		&fs.PathError{Op: "write", Path: "/a", Err: syscall.EFBIG},
		&fs.PathError{Op: "open", Path: "/a", Err: syscall.ENFILE},
		&fs.PathError{Op: "open", Path: "/dev/ptmx", Err: syscall.ENOSPC}, // no more terminals
	} {
		if e := driver.AsError(err); e.Reason != driver.Internal || e.Message != err.Error() {
			t.Errorf("%v is %s %q", err, e.Reason, e.Message)
		}
		if e := driver.Errorf(driver.DriverFailed, "x: %w", err); e.Reason != driver.DriverFailed {
			t.Errorf("%v is %s", err, e.Reason)
		}
	}
	remote := &driver.Error{Reason: driver.OutOfDisk, Message: "the engine has no room", Remedies: []driver.Remedy{{Text: "look"}}}
	if e := driver.Errorf(driver.Internal, "not made: %w", remote); e.Reason != driver.OutOfDisk || len(e.Remedies) != 1 {
		t.Errorf("what a driver calls full is %s, %v", e.Reason, e.Remedies)
	}
	ended := driver.Errorf(driver.Canceled, "ended: %w", errors.Join(context.Canceled, syscall.ENOSPC))
	if ended.Reason != driver.Canceled {
		t.Errorf("what the caller ended is %s", ended.Reason)
	}
}
