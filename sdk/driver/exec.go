package driver

import (
	"io"
	"strconv"
	"strings"
	"time"
)

// MaxFrame is the largest piece of standard input or output in one message.
const MaxFrame = 64 << 10

// StdinWindow is how much standard input may be on its way to a command that
// does not read it; signals and sizes never wait behind more than that.
const StdinWindow = 256 << 10

// DefaultKillGrace is the time between the polite signal and SIGKILL when an
// Exec's context ends and its spec names no other.
const DefaultKillGrace = time.Second

// ExecSpec describes one command.
type ExecSpec struct {
	SandboxID string
	ExecID    string   // the caller's, unique in the sandbox; listeners name it
	Argv      []string // never empty; Argv[0] is looked up on the sandbox's PATH
	Env       []EnvVar // on top of the sandbox's
	Dir       string   // in the sandbox; empty: the workspace's
	User      string   // name or uid[:gid]; empty: the sandbox's. exec.user@1
	Terminal  *TerminalSize
	Detach    bool // the command goes on when ctx ends
	KillGrace time.Duration
}

// TerminalSize is a terminal's size in character cells: exec.tty@1.
type TerminalSize struct {
	Rows, Cols uint16
}

// ExecIO connects a command with its caller. Every field may be nil: no input
// is end of input, no writer discards.
//
// The rules, each a case of the conformance suite:
//
//   - Started is called once, before any output, when the command runs. It is
//     not called when Exec fails before that: CommandNotFound (within five
//     seconds), CommandNotExecutable, NotRunning, NotFound.
//   - Exec returns only when the command has ended and everything that it wrote
//     is written. A process that it left behind and that holds its output open
//     does not hold up Exec: once the command has ended and what it wrote
//     is out, half a second is enough.
//   - Bytes come through unchanged, standard output and error apart; with a
//     terminal there is standard output only.
//   - A writer that blocks slows the command down. A writer that fails is the
//     loss of the caller.
//   - End of Stdin is end of the command's input and nothing else. An error of
//     Stdin other than io.EOF is the loss of the caller.
//   - When ctx ends or the caller is lost, the command's process group, with
//     everything that descends from it, gets SIGTERM (on a terminal SIGHUP) and
//     after KillGrace SIGKILL; Exec then returns ctx's error. With Detach the
//     command goes on, its further output dropped.
//   - Commands do not wait for each other.
type ExecIO struct {
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Resize  <-chan TerminalSize // the last one wins
	Signals <-chan string       // "SIGINT", to the process group: exec.signal@1
	Started func(pid int64)     // pid in the sandbox's numbering; 0: not known
}

// ExitStatus is how a command ended: by itself with Code, or by Signal.
type ExitStatus struct {
	Code        int    // 0 to 255
	Signal      string // "SIGKILL"; empty unless it died from one
	OutOfMemory bool   // the kernel killed it, or what it ran and waited for (137), for memory
}

// The real-time signals of Linux, named "SIGRTMIN+1".
const firstRealtime, lastRealtime = 34, 64

// ShellCode is the status as a shell tells it: 128 and the signal's number
// for a death by signal.
func (s ExitStatus) ShellCode() int {
	if s.Signal == "" {
		return s.Code
	}
	if n, ok := SignalNumber(s.Signal); ok {
		return 128 + n
	}
	if text, ok := strings.CutPrefix(s.Signal, "SIGRTMIN+"); ok {
		if n, err := strconv.Atoi(text); err == nil && n >= 0 && n <= lastRealtime-firstRealtime {
			return 128 + firstRealtime + n
		}
	}
	return 255
}
