package conformance

import (
	"errors"
	"slices"
	"strings"
	"syscall"
)

// process is one process of the host.
type process struct {
	pid, parent int
	born        string // tells it from a later process of the same pid
	line        string // its command line
}

// lives tells whether that very process is still there and no zombie.
func (p process) lives() bool {
	return slices.ContainsFunc(hostProcesses(), func(q process) bool { return q.pid == p.pid && q.born == p.born })
}

func processLives(pid int) bool {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return false
	}
	return slices.ContainsFunc(hostProcesses(), func(q process) bool { return q.pid == pid })
}

// descendantsOf lists what a process has started, and what that has.
func descendantsOf(pid int) []process {
	all := hostProcesses()
	family := map[int]bool{pid: true}
	var out []process
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if family[p.parent] && !family[p.pid] {
				family[p.pid], grown = true, true
				out = append(out, p)
			}
		}
	}
	return out
}

// hostCommands lists the command lines on the host that have a text in them.
func hostCommands(text string) []string {
	var out []string
	for _, p := range hostProcesses() {
		if strings.Contains(p.line, text) {
			out = append(out, p.line)
		}
	}
	return out
}

// killCommands ends what a case's marker finds, so that nothing stays.
func killCommands(mark string) {
	for _, p := range hostProcesses() {
		if strings.Contains(p.line, mark) {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
	}
}
