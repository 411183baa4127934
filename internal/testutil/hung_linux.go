package testutil

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Hang makes a directory one that does not answer, as on a file server that is
// gone: who looks at it waits until answer is called, or the test ends. Then it
// is what it was before.
func Hang(t testing.TB, dir string) (answer func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "root", "a file system can be mounted by root only")
	}
	server, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		Missing(t, "fuse", err.Error())
	}
	// A server that never reads what it is asked.
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", server.Fd())
	if err := unix.Mount("hung", dir, "fuse", 0, options); err != nil {
		_ = server.Close()
		Missing(t, "fuse", "mount: "+err.Error())
	}
	answer = sync.OnceFunc(func() {
		_ = server.Close() // who waits gets an error
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting %s: %v", dir, err)
		}
	})
	t.Cleanup(answer)
	return answer
}
