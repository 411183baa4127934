package conformance

import (
	"fmt"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func terminalCases() []Case {
	cases := engine([]Case{
		{
			ID: "TTY-1", Group: "terminal", Run: ttyIs,
			Must: "a command that asked for a terminal has one, of the size asked for from its start",
		},
		{
			ID: "TTY-2", Group: "terminal", Run: ttyNone,
			Must: "a command that did not ask for a terminal has none",
		},
		{
			ID: "TTY-3", Group: "terminal", Run: ttyResize,
			Must: "a resize reaches the command's terminal, the last one wins",
		},
		{
			ID: "TTY-4", Group: "terminal", Run: ttyOne,
			Must: "with a terminal all output is standard output",
		},
		{
			ID: "TTY-5", Group: "terminal", Run: ttyInterrupt,
			Must: "a typed ^C interrupts the command",
		},
		{
			ID: "TTY-6", Group: "terminal", Run: ttyHangUp,
			Must: "a command on a terminal gets SIGHUP when its caller is lost",
		},
	})
	for i := range cases {
		cases[i].Needs = []driver.Capability{driver.CapExecTTY}
	}
	return cases
}

func (s *Session) onTerminal(t T, id, script string) *command {
	t.Helper()
	run := s.script(id, script)
	run.Terminal = &driver.TerminalSize{Rows: 31, Cols: 97}
	return s.Begin(t, s.Driver(t), run)
}

func ttyIs(t T, s *Session) {
	c := s.onTerminal(t, s.Running(t), "test -t 0 && test -t 1 && test -t 2 && echo yes; stty size; echo end .")
	c.Expect(t, "end .")
	if out := c.output(); !strings.Contains(out, "yes") || !strings.Contains(out, "31 97") {
		t.Errorf("it says %q, want yes and 31 97", out)
	}
	if o := c.Wait(t, 4*time.Second); o.Code != 0 {
		t.Errorf("code %d, signal %q, error %v", o.Code, o.Signal, o.Err)
	}
}

func ttyNone(t T, s *Session) {
	if o := s.Sh(t, s.Running(t), "test -t 0 || test -t 1 || echo none"); o.Out != "none\n" {
		t.Errorf("it says %q", o.Out)
	}
}

func ttyResize(t T, s *Session) {
	c := s.onTerminal(t, s.Running(t), `echo up .; while read x; do stty size; done`)
	c.Expect(t, "up .")
	for i := range 4 { // each replaces the one before, or comes after it
		select {
		case c.resize <- driver.TerminalSize{Rows: uint16(40 + i), Cols: 123}:
		case <-time.After(s.within(2 * time.Second)):
			t.Fatalf("the sizes are not taken")
		}
	}
	ok := s.eventually(4*time.Second, func() bool {
		_, err := fmt.Fprintln(c.stdin, "now")
		return err != nil || strings.Contains(c.output(), "43 123")
	})
	if !ok || !strings.Contains(c.output(), "43 123") {
		t.Errorf("the terminal's size is never 43 123: %.300q", c.output())
	}
}

func ttyOne(t T, s *Session) {
	c := s.onTerminal(t, s.Running(t), "echo out; echo err >&2")
	o := c.Wait(t, 4*time.Second)
	if !strings.Contains(o.Out, "out") || !strings.Contains(o.Out, "err") || o.Errs != "" {
		t.Errorf("standard output is %q, standard error %q", o.Out, o.Errs)
	}
}

func ttyInterrupt(t T, s *Session) {
	c := s.onTerminal(t, s.Running(t), "echo up .; sleep 600")
	c.Expect(t, "up .")
	time.Sleep(100 * time.Millisecond) // let sleep be what is interrupted
	if _, err := c.stdin.Write([]byte{0x03}); err != nil {
		t.Errorf("writing: %v", err)
	}
	if o := c.Wait(t, 4*time.Second); o.ShellCode() != 130 || o.Err != nil {
		t.Errorf("code %d, signal %q, error %v", o.Code, o.Signal, o.Err)
	}
}

func ttyHangUp(t T, s *Session) {
	id := s.Running(t)
	run := s.script(id, `trap 'echo hung up >conf-hup; kill $!; exit 0' HUP; trap 'kill $!; exit 0' TERM; sleep 600 & echo up .; wait; wait`)
	run.Terminal = &driver.TerminalSize{Rows: 24, Cols: 80}
	run.KillGrace = 2 * time.Second
	c := s.Begin(t, s.Driver(t), run)
	c.Expect(t, "up .")
	c.cancel(errCaseCancel)
	c.Wait(t, run.KillGrace)
	if got := s.Sh(t, id, "cat conf-hup"); got.Out != "hung up\n" {
		t.Errorf("its handler for SIGHUP has not run")
	}
}
