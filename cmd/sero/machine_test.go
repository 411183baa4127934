package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/paths"
)

// machine is a person's machine for a Go test: a home, a run directory, a
// workspace to be in, and no daemon yet.
type machine struct {
	t   *testing.T
	dir string // the workspace's directory
	env []string

	program string              // sero
	person  *syscall.Credential // nil: whoever runs the tests
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	return newMachineOf(t, t.TempDir(), nil)
}

// newMachineOf is a machine with a home that is there already, and somebody whose
// it is.
func newMachineOf(t *testing.T, home string, person *syscall.Credential) *machine {
	t.Helper()
	run, err := os.MkdirTemp("/tmp", "sero-t") //nolint:usetesting // its path must be short for sockets
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, person: person, program: "sero", dir: filepath.Join(home, "ws"), env: append(os.Environ(),
		"HOME="+home, paths.HomeVariable+"="+filepath.Join(home, ".sero"), paths.RunVariable+"="+run, noEngine(home))}
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if person != nil {
		for _, dir := range []string{home, m.dir, run} {
			if err := os.Chown(dir, int(person.Uid), int(person.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(func() {
		m.ok("daemon", "stop")
		if left := leftIn(home); len(left) > 0 {
			t.Errorf("processes left behind: %s", strings.Join(left, "; "))
		}
		if err := os.RemoveAll(run); err != nil {
			t.Error(err)
		}
	})
	return m
}

// command is a program in the workspace's directory that is killed after a
// minute or two at the latest.
func (m *machine) command(name string, args ...string) *exec.Cmd {
	m.t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), 2*time.Minute, errors.New("the program hangs"))
	m.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = m.dir, m.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: m.person}
	return cmd
}

// sero runs sero and returns its output and exit code.
func (m *machine) sero(args ...string) (stdout, stderr string, code int) {
	m.t.Helper()
	return m.outcome(m.command(m.program, args...))
}

func (m *machine) outcome(cmd *exec.Cmd) (stdout, stderr string, code int) {
	m.t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), errs.String(), e.ExitCode()
	}
	if err != nil {
		m.t.Fatalf("%s: %v", cmd, err)
	}
	return out.String(), errs.String(), 0
}

// ok runs sero, which must succeed, and returns its output.
func (m *machine) ok(args ...string) string {
	m.t.Helper()
	stdout, stderr, code := m.sero(args...)
	if code != 0 {
		m.t.Errorf("sero %s: exit code %d: %s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// pid is the daemon's.
func (m *machine) pid() string {
	m.t.Helper()
	out := m.ok("daemon", "status", "--json")
	_, rest, _ := strings.Cut(out, `"pid":`)
	var pid int
	if _, err := fmt.Sscanf(rest, "%d", &pid); err != nil {
		m.t.Fatalf("no pid in %s", out)
	}
	return fmt.Sprint(pid)
}

// engine gives the machine a driver named docker that runs nothing, with the
// images that examples speak of.
func (m *machine) engine() {
	m.t.Helper()
	drivers := filepath.Join(filepath.Dir(m.dir), ".sero", "drivers")
	if err := os.MkdirAll(drivers, 0o700); err != nil {
		m.t.Fatal(err)
	}
	const script = `{"name": "docker", "images": ["debian:bookworm-slim", "sero-node:latest"], "remote": ["node:22"]}`
	text := "#!/bin/sh\nexec sero driver serve fake '-script=" + script + "' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(drivers, "sero-driver-docker"), []byte(text), 0o700); err != nil { //nolint:gosec // it is a program
		m.t.Fatal(err)
	}
}
