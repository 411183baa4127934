package handover_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/sero-labs/sero-runtime/internal/handover"
	"github.com/sero-labs/sero-runtime/internal/testutil"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver listens in a directory of its own.
func receiver(t *testing.T) (*handover.Receiver, string) {
	t.Helper()
	path := filepath.Join(testutil.ShortDir(t), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	r := handover.NewReceiver(l)
	t.Cleanup(func() { _ = r.Close() })
	return r, path
}

func pipe(t *testing.T) (read, write *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(read.Close(), write.Close()) })
	return read, write
}

func TestAPipeIsHandedOverOnce(t *testing.T) {
	r, path := receiver(t)
	read, write := pipe(t)
	name, err := handover.Give(t.Context(), path, write)
	if err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	if r.Take(name, handover.ReadEnd) != nil {
		t.Fatal("it is taken for the other end")
	}
	theirs := r.Take(name, handover.WriteEnd)
	if theirs == nil {
		t.Fatal("there is no pipe")
	}
	if r.Take(name, handover.WriteEnd) != nil || r.Take("", handover.WriteEnd) != nil || r.Take(strings.Repeat("x", 26), handover.WriteEnd) != nil {
		t.Error("there is a second one")
	}
	text := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() {
		_, _ = theirs.Write(text) // more than a pipe holds
		_ = theirs.Close()
	}()
	if got, err := io.ReadAll(read); err != nil || !bytes.Equal(got, text) {
		t.Errorf("%d bytes of %d came, %v", len(got), len(text), err)
	}
}

func TestTheReadEndIsHandedOver(t *testing.T) {
	r, path := receiver(t)
	read, write := pipe(t)
	name, err := handover.Give(t.Context(), path, read)
	if err != nil {
		t.Fatal(err)
	}
	_ = read.Close()
	if r.Take(name, handover.WriteEnd) != nil {
		t.Fatal("it is taken for the other end")
	}
	theirs := r.Take(name, handover.ReadEnd)
	if theirs == nil {
		t.Fatal("there is no pipe")
	}
	text := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() {
		_, _ = write.Write(text) // more than a pipe holds
		_ = write.Close()
	}()
	if got, err := io.ReadAll(theirs); err != nil || !bytes.Equal(got, text) {
		t.Errorf("%d bytes of %d came, %v", len(got), len(text), err)
	}
	_ = theirs.Close()
}

// What nobody takes is closed at the end, so that who reads from it sees an end.
func TestCloseEndsWhatWaits(t *testing.T) {
	r, path := receiver(t)
	read, write := pipe(t)
	if _, err := handover.Give(t.Context(), path, write); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(read); err != nil || len(got) != 0 {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := handover.Give(t.Context(), path, read); err == nil {
		t.Error("a pipe was taken after the end")
	}
}

// Only one end of a pipe is taken: whatever else it was would be read, written to,
// or kept open, in the daemon.
func TestOnlyPipesAreTaken(t *testing.T) {
	_, path := receiver(t)
	_, write := pipe(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	both, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer both.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	socket, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	connected, err := socket.File()
	if err != nil {
		t.Fatal(err)
	}
	defer connected.Close()
	for what, f := range map[string]*os.File{"both ends": both, "a file": file, "a socket": connected} {
		if _, err := handover.Give(t.Context(), path, f); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	name := strings.Repeat("n", 26)
	for what, message := range map[string]struct {
		name string
		fds  []int
	}{
		"nothing":              {name, nil},
		"no name":              {"n", []int{int(write.Fd())}},
		"a name that is long":  {strings.Repeat("n", 65), []int{int(write.Fd())}},
		"two pipes":            {name, []int{int(write.Fd()), int(write.Fd())}},
		"a pipe that is taken": {name, []int{int(write.Fd())}},
	} {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		var rights []byte
		if len(message.fds) > 0 {
			rights = unix.UnixRights(message.fds...)
		}
		if _, _, err := conn.WriteMsgUnix([]byte(message.name), rights, nil); err != nil {
			t.Fatal(err)
		}
		_, err = conn.Read(make([]byte, 1))
		if taken := err == nil; taken != (what == "a pipe that is taken") {
			t.Errorf("%s: %v", what, err)
		} else if !taken && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
