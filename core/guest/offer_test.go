package guest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/core/guest/frame"
	"github.com/sero-labs/sero-runtime/core/guest/helper"
	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// meeting is a Guest whose helper is script, which gets the core's hello, the
// directory that the sandbox and this machine share, and the helper's input and
// output.
func meeting(t *testing.T, script func(offer *frame.Hello, dir string, in io.Reader, out io.Writer)) (*guest.Guest, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30)) // longer than a socket's path may be
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d := fakeHelper{run: func(in io.Reader, out io.Writer) {
		say(out, &frame.Frame{Hello: &frame.Hello{Version: frame.Version, Sockets: true}})
		if f := listen(in); f != nil && f.Hello != nil {
			script(f.Hello, dir, in, out)
		}
	}}
	g := guest.New(guest.Target{
		SandboxID: "meeting", HasHelper: true, Shared: dir,
		Driver: func(context.Context) (driver.Driver, error) { return d, nil },
	})
	t.Cleanup(g.Close)
	return g, dir
}

// knock connects to an offered socket and says something.
func knock(t *testing.T, offer *frame.Hello, dir, word string) *net.UnixConn {
	t.Helper()
	near, err := os.Open(dir)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer near.Close()
	name := fmt.Sprintf("/proc/self/fd/%d/%s", near.Fd(), filepath.Base(offer.Socket))
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		t.Error(err)
		return nil
	}
	_, _ = io.WriteString(conn, word)
	return conn
}

// serve answers every command with code 7, until the core is gone.
func serve(in io.Reader, out io.Writer) {
	for {
		f := listen(in)
		if f == nil {
			return
		}
		if f.Open != nil {
			say(out, &frame.Frame{Stream: f.Stream, Started: &frame.Started{PID: 1}}, &frame.Frame{Stream: f.Stream, Exit: &frame.Exit{Code: 7}})
		}
	}
}

func code(t *testing.T, g *guest.Guest) (int, error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errors.New("the command hung"))
	defer cancel()
	status, err := g.Exec(ctx, driver.ExecSpec{Argv: []string{"true"}, Dir: "/", ExecID: "x"}, driver.ExecIO{})
	return status.Code, err
}

func TestTheSocketIsForWhoKnowsTheToken(t *testing.T) {
	g, dir := meeting(t, func(offer *frame.Hello, dir string, _ io.Reader, _ io.Writer) {
		silent := knock(t, offer, dir, "")
		stranger := knock(t, offer, dir, strings.Repeat("x", len(offer.Token)))
		defer silent.Close()
		defer stranger.Close()
		_ = stranger.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := stranger.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a stranger was answered: %v", err)
		}
		own := knock(t, offer, dir, offer.Token)
		defer own.Close()
		if _, err := io.ReadFull(own, make([]byte, 1)); err != nil {
			t.Errorf("the helper was not answered: %v", err)
		}
		_ = silent.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("who said nothing is still connected: %v", err)
		}
		serve(own, own)
	})
	if got, err := code(t, g); err != nil || got != 7 {
		t.Errorf("the command ended with %d, %v", got, err)
	}
	if !strings.HasSuffix(g.Status(), "over a socket") {
		t.Errorf("the status is %q", g.Status())
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A sandbox that cannot reach the socket, as a virtual machine, is worked in
// through the driver.
func TestARefusedSocketLeavesTheDriver(t *testing.T) {
	g, dir := meeting(t, func(_ *frame.Hello, _ string, in io.Reader, out io.Writer) {
		say(out, &frame.Frame{Error: &frame.Error{Reason: frame.Refused, Message: "connection refused"}})
		serve(in, out)
	})
	if got, err := code(t, g); err != nil || got != 7 {
		t.Errorf("the command ended with %d, %v", got, err)
	}
	if !strings.HasSuffix(g.Status(), "over the driver") {
		t.Errorf("the status is %q", g.Status())
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestAHelperThatSpeaksBesideItsSocketIsHeardNoMore(t *testing.T) {
	g, _ := meeting(t, func(offer *frame.Hello, dir string, in io.Reader, out io.Writer) {
		own := knock(t, offer, dir, offer.Token)
		defer own.Close()
		_, _ = io.ReadFull(own, make([]byte, 1))
		go func() { _, _ = io.Copy(io.Discard, own) }()
		for say(out, &frame.Frame{Stream: 1, Started: &frame.Started{}}, &frame.Frame{Stream: 1, Exit: &frame.Exit{}}) {
			time.Sleep(time.Millisecond)
		}
		_, _ = io.Copy(io.Discard, in)
	})
	if got, err := code(t, g); err == nil {
		t.Errorf("it was believed: %d", got)
	}
}

// What a core that was killed has left behind goes when the next one starts.
func TestLeftSocketsAreRemoved(t *testing.T) {
	parent := t.TempDir()
	mount, err := guest.Mount(parent)
	if errors.Is(err, helper.ErrNotBuilt) {
		testutil.Missing(t, "helper", err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(mount.Source, "left.sock")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := guest.Mount(parent)
	if err != nil || again.Source != mount.Source {
		t.Fatalf("%+v, %v", again, err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if programs, _ := filepath.Glob(filepath.Join(again.Source, "sero-guest-*")); len(programs) == 0 {
		t.Error("the programs are gone")
	}
}

// listen reads one frame; nil at the end.
func listen(in io.Reader) *frame.Frame {
	var size [4]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return nil
	}
	b := make([]byte, int(size[0])<<24|int(size[1])<<16|int(size[2])<<8|int(size[3]))
	if _, err := io.ReadFull(in, b); err != nil {
		return nil
	}
	f, err := frame.Decode(b)
	if err != nil {
		return nil
	}
	return f
}
