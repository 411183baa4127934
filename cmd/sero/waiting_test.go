package main

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// C5: a signal while a start or a restart is waited for says what goes on, and how
// to see and stop it.
func TestC5InterruptedWaitSaysWhatGoesOn(t *testing.T) {
	m := newMachine(t)
	m.ok("up", "--id", "ws", "--driver", "host")
	for name, c := range map[string]struct {
		args   []string
		signal syscall.Signal
		code   int
	}{
		"run":            {[]string{"run", "--name", "slow", "--", "sleep", "6302"}, syscall.SIGINT, 130},
		"run, guessed":   {[]string{"run", "--", "sleep", "6303"}, syscall.SIGINT, 130},
		"start, SIGTERM": {[]string{"dev", "start", "--name", "other", "--json", "--", "sleep", "6304"}, syscall.SIGTERM, 143},
	} {
		stderr := m.interrupted(c.args, c.signal, c.code, func() bool {
			stdout, _, _ := m.sero("dev", "ls", "--json")
			return strings.Contains(stdout, c.args[len(c.args)-1])
		})
		for _, words := range []string{"goes on starting", "sero dev logs -f -w ws ", "sero dev stop -w ws "} {
			if !strings.Contains(stderr, words) {
				t.Errorf("%s: %q has no %q", name, stderr, words)
			}
		}
	}
	stderr := m.interrupted([]string{"dev", "restart", "slow"}, syscall.SIGINT, 130, func() bool {
		stdout, _, _ := m.sero("dev", "logs", "slow")
		return strings.Contains(stdout, "restarted at")
	})
	if !strings.Contains(stderr, "slow goes on starting") {
		t.Errorf("restart: %q", stderr)
	}
}

// interrupted runs sero, sends it a signal once ready is true, and returns its
// standard error.
func (m *machine) interrupted(args []string, signal syscall.Signal, code int, ready func() bool) string {
	m.t.Helper()
	var stderr strings.Builder
	cmd := m.command(m.program, args...)
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); !ready(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatal("it was not started")
		}
	}
	_ = cmd.Process.Signal(signal)
	_ = cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != code {
		m.t.Errorf("%v: exit %d, want %d: %s", args, got, code, stderr.String())
	}
	return stderr.String()
}
