package main

import (
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// macSignals are the numbers of macOS where they differ from Linux'. Up to 0.12
// the CLI sends its own number, and the guest takes it for a number of Linux.
var macSignals = map[string]syscall.Signal{
	"SIGBUS": 10, "SIGSYS": 12, "SIGURG": 16, "SIGSTOP": 17, "SIGTSTP": 18, "SIGCONT": 19,
	"SIGCHLD": 20, "SIGIO": 23, "SIGINFO": 29, "SIGUSR1": 30, "SIGUSR2": 31,
}

// signalFor is what --signal means in the guest, as a number.
func (s *session) signalFor(otherwise string) (string, error) {
	name, ok := s.call.Last("--signal")
	if !ok {
		name = otherwise
	}
	if _, err := strconv.Atoi(name); err == nil {
		return name, nil
	}
	number := s.guestSignal("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG"))
	if number == 0 {
		return "", failure(invalidArgument, "invalid signal: %s", name)
	}
	if number == unix.SIGKILL {
		return "KILL", nil
	}
	return strconv.Itoa(int(number)), nil
}

// guestSignal is the number that a name has when it arrives in the guest.
func (s *session) guestSignal(name string) syscall.Signal {
	if number, ok := macSignals[name]; ok && s.has("mac-signal-numbers") {
		return number
	}
	return unix.SignalNum(name)
}
