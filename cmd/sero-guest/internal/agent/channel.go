//go:build linux

// Package agent is sero-guest: what the core does inside a sandbox.
//
// It is two kinds of process. A channel is what the driver's Exec starts; it
// hands its standard input and output to the host and then only waits. The host
// is there once for each build of the helper and user, detached from every
// channel: it runs the commands, so that those which are to outlive a channel do.
package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sero-labs/sero-runtime/internal/identity"
)

// self is this program, whatever became of its file.
const self = "/proc/self/exe"

// hostArgument makes the program a host.
const hostArgument = "host"

// Main runs the program and gives its exit code.
func Main(args []string) int {
	var err error
	switch {
	case len(args) == 3 && args[1] == hostArgument:
		err = runHost(args[2])
	case len(args) > 2 && args[1] == identity.Argument:
		identify(os.Stdout, args[2:])
	default:
		err = runChannel()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sero-guest:", err)
		return 1
	}
	return 0
}

// runChannel gives standard input and output to the host, starting one if there
// is none, and shows that it lives until the connection is over.
func runChannel() error {
	build, err := buildOf(self)
	if err != nil {
		return err
	}
	dir, err := socketDir()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, build+".sock")
	var last error
	for range 10 {
		host, err := handOver(path)
		if err == nil {
			echo(host)
			return nil
		}
		last = err
		if err := startHost(path); err != nil {
			last = err
		}
		time.Sleep(10 * time.Millisecond) // another channel's host may be about to listen, or to end
	}
	return fmt.Errorf("the host cannot be reached: %w", last)
}

// echo writes back what it reads, until the other side closes the connection. What was
// killed writes nothing back, even if it takes a while to die.
func echo(host net.Conn) {
	b := make([]byte, 256)
	for {
		n, err := host.Read(b)
		if err == nil {
			_, err = host.Write(b[:n])
		}
		if err != nil {
			return
		}
	}
}

// buildOf is a short name for the content of a program.
func buildOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:6]), nil
}

// socketDir is a directory that nobody else can enter.
func socketDir() (string, error) {
	name := "sero-guest-" + strconv.Itoa(os.Geteuid())
	var errs []error
	for _, parent := range []string{"/run", os.TempDir(), "/dev/shm"} {
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			errs = append(errs, err)
			continue
		}
		info, err := os.Lstat(dir)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || !info.IsDir() || info.Mode().Perm() != 0o700 || int(stat.Uid) != os.Geteuid() {
			errs = append(errs, fmt.Errorf("%s is not this user's alone", dir))
			continue
		}
		return dir, nil
	}
	return "", errors.Join(errs...)
}

// handOver passes standard input and output to the host behind a socket.
func handOver(path string) (*net.UnixConn, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	rights := unix.UnixRights(0, 1)
	_, _, err = conn.WriteMsgUnix([]byte{1}, rights, nil)
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1)) // the host has them
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// startHost starts a host and waits until it listens, or finds another one.
func startHost(path string) error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		write.Close()
		return err
	}
	defer null.Close()
	process, err := os.StartProcess(self, []string{"sero-guest", hostArgument, path}, &os.ProcAttr{
		Dir: "/", Env: os.Environ(), Files: []*os.File{null, null, null, write}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	write.Close()
	if err != nil {
		return err
	}
	_ = read.SetReadDeadline(time.Now().Add(5 * time.Second))
	said, err := io.ReadAll(io.LimitReader(read, 1024))
	if err != nil {
		return err
	}
	if len(said) > 0 {
		_, _ = process.Wait()
		return errors.New(string(said))
	}
	return process.Release()
}
