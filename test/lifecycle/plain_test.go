package lifecycle_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/creack/pty"
)

// withoutHelper is a sandbox that was made while the guest helper could not be
// written: it says so and what is lost, what is documented works in it, and what
// it says brings the helper.
func withoutHelper(s *sero) {
	blocked := filepath.Join(s.home, "guest")
	err := os.MkdirAll(s.home, 0o700)
	if err == nil {
		err = os.WriteFile(blocked, []byte("a file where a directory has to be"), 0o600)
	}
	if err != nil {
		s.Fatal(err)
	}
	s.workspace("a")
	const lost = "without sero's guest helper"
	if r := s.sero("a", "up"); r.code != 0 || !strings.Contains(r.stderr, lost) {
		s.Errorf("up: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	before := s.Instances()["sero-a"]
	s.runs("a")
	r := s.sero("a", "inspect")
	if !strings.Contains(r.stdout, "no helper: the sandbox was made without it") {
		s.Errorf("inspect does not say it: %s", r.stdout)
	}
	for _, said := range []string{lost, "terminals", "dev servers", "egress", "guest is not a directory but a file", "sero recreate -w a"} {
		if !strings.Contains(r.stderr, said) {
			s.Errorf("inspect does not say %q: %s", said, r.stderr)
		}
	}
	s.plainCommands()
	s.plainServer()
	s.plainTerminal()
	s.ok("a", "stop")
	s.becomes("a", "stopped")

	if err := os.Remove(blocked); err != nil {
		s.Fatal(err)
	}
	s.ok("a", "recreate")
	s.runs("a")
	if r := s.sero("a", "inspect"); s.Instances()["sero-a"] == before || strings.Contains(r.stdout, "no helper") ||
		!strings.Contains(r.stdout, "helper ") || strings.Contains(r.stderr, lost) {
		s.Errorf("made anew, it says %s%s", r.stdout, r.stderr)
	}
}

func (s *sero) plainCommands() {
	s.Helper()
	if r := s.sero("a", "exec", "--", "sh", "-c", "echo out; echo err >&2; exit 7"); r.code != 7 || r.stdout != "out\n" || r.stderr != "err\n" {
		s.Errorf("%+v", r)
	}
	r := s.sero("a", "exec", "--timeout", "1s", "--", "sh", "-c", "sleep 4711 & sleep 4711")
	if r.code != 124 {
		s.Errorf("a command that takes too long: %+v", r)
	}
	if left := s.ok("a", "exec", "--", "ps", "-eo", "args="); strings.Contains(left, "sleep 4711") {
		s.Errorf("it is left: %s", left)
	}
}

func (s *sero) plainServer() {
	s.Helper()
	s.ok("a", "run", "--name", "web", "--port", "8000", "--wait", "30s", "--", "python3", "-c", serve)
	type port struct {
		Port   int
		Server string
	}
	ports := decoded[struct{ Ports []port }](s, s.ok("a", "port", "ls", "--json")).Ports
	if !slices.ContainsFunc(ports, func(p port) bool { return p.Port == 8000 }) {
		s.Errorf("the listeners are %+v", ports)
	}
	s.ok("a", "dev", "stop", "web")
	if left := s.ok("a", "exec", "--", "ss", "-Htln", "sport = :8000"); left != "" {
		s.Errorf("it still listens: %s", left)
	}
}

// plainTerminal opens a terminal, leaves it and comes back.
func (s *sero) plainTerminal() {
	s.Helper()
	shell := s.onTerminal("shell")
	shell.types("echo $((6*7))-first\n")
	shell.sees("42-first")
	shell.types("\x10\x11") // ctrl-p ctrl-q
	shell.ends()
	again := s.onTerminal("attach")
	again.sees("42-first") // the scrollback
	again.types("echo $((6*7))-second; exit\n")
	again.sees("42-second")
	again.ends()
}

// screen is sero on a terminal.
type screen struct {
	s   *sero
	tty *os.File
	cmd *exec.Cmd

	done chan struct{}
	mu   sync.Mutex
	seen bytes.Buffer
}

func (s *sero) onTerminal(args ...string) *screen {
	s.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), 2*deadline, errors.New("no end"))
	s.Cleanup(cancel)
	x := &screen{s: s, done: make(chan struct{}), cmd: exec.CommandContext(ctx, s.bin, args...)}
	x.cmd.Dir, x.cmd.Env = filepath.Join(s.root, "a"), s.env
	var err error
	if x.tty, err = pty.Start(x.cmd); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = x.tty.Close() })
	go func() { // ends with the terminal
		defer close(x.done)
		b := make([]byte, 4096)
		for {
			n, err := x.tty.Read(b)
			x.mu.Lock()
			x.seen.Write(b[:n])
			x.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return x
}

func (x *screen) types(text string) {
	x.s.Helper()
	if _, err := x.tty.WriteString(text); err != nil {
		x.s.Fatal(err)
	}
}

func (x *screen) shown() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.seen.String()
}

func (x *screen) sees(text string) {
	x.s.Helper()
	for begin := time.Now(); !strings.Contains(x.shown(), text); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > deadline {
			x.s.Fatalf("%q is not seen in %q", text, x.shown())
		}
	}
}

// ends waits for the end of sero, with 0.
func (x *screen) ends() {
	x.s.Helper()
	<-x.done // the context ends it, too
	if err := x.cmd.Wait(); err != nil {
		x.s.Errorf("sero %s: %v: %q", x.cmd.Args[1], err, x.shown())
	}
}
