package testutil

import (
	"errors"
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
	server := serve(t, dir)
	answer = sync.OnceFunc(func() {
		_ = server.Close()                                                                         // who waits gets an error
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) { // it is no mount any more
			t.Errorf("unmounting %s: %v", dir, err)
		}
	})
	t.Cleanup(answer)
	return answer
}

// Lose makes a directory one whose file server was lost: who looks at it gets an
// error at once, until back is called, or the test ends.
func Lose(t testing.TB, dir string) (back func()) {
	t.Helper()
	_ = serve(t, dir).Close()
	back = sync.OnceFunc(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting %s: %v", dir, err)
		}
	})
	t.Cleanup(back)
	return back
}

// serve mounts a file server that never reads what it is asked.
func serve(t testing.TB, dir string) *os.File {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "root", "a file system can be mounted by root only")
	}
	server, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		Missing(t, "fuse", err.Error())
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", server.Fd())
	if err := unix.Mount("hung", dir, "fuse", 0, options); err != nil {
		_ = server.Close()
		Missing(t, "fuse", "mount: "+err.Error())
	}
	return server
}
