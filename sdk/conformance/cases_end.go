package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/internal/driverpb"
	"github.com/sero-labs/sero-runtime/sdk/internal/wire"
)

func execEndCases() []Case {
	return engine([]Case{
		{
			ID: "END-1", Group: "cancel", Run: endCancel,
			Must: "when the caller cancels, the command and all that descends from it are gone before Exec returns",
		},
		{
			ID: "END-2", Group: "cancel", Run: endPolite,
			Must: "a cancelled command gets SIGTERM first and may clean up",
		},
		{
			ID: "END-3", Group: "cancel", Run: endDeaf,
			Must: "a cancelled command that ignores SIGTERM is killed once the kill grace has passed",
		},
		{
			ID: "END-4", Group: "cancel", Run: endSession,
			Must: "a descendant that has left the process group ends with a cancelled command too",
		},
		{
			ID: "END-5", Group: "cancel", Run: endLost,
			Must: "a lost stream ends the command",
		},
		{
			ID: "END-6", Group: "cancel", Run: endDetach,
			Must: "a detached command goes on when its caller is gone, its further output dropped",
		},
		{
			ID: "END-7", Group: "cancel", Run: endWriter,
			Must: "a caller that fails to take output or to give input is a lost caller",
		},
		{
			ID: "END-8", Group: "cancel", Run: endNeighbours,
			Must: "the end of one command leaves the others in the sandbox alone",
		},
		{
			ID: "END-9", Group: "cancel", Run: endInput,
			Must: "a command whose caller is lost is ended, and does not see the end of its input: half of it would look whole",
		},
	})
}

// pidOf waits for a script's "pid N ." and gives N.
func (c *command) pidOf(t T) string {
	t.Helper()
	c.Expect(t, " .\n")
	fields := strings.Fields(c.output())
	for i, f := range fields {
		if f == "pid" && i+1 < len(fields) {
			return fields[i+1]
		}
	}
	t.Fatalf("no pid in %q", c.output())
	return ""
}

func endCancel(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	c := s.Begin(t, d, s.script(id, `sleep 600 & echo pid $! .; sleep 600`))
	child := c.pidOf(t)
	c.cancel(errCaseCancel)
	o := c.Wait(t, driver.DefaultKillGrace)
	if driver.ReasonOf(o.Err) != driver.Canceled {
		t.Errorf("Exec returned %v, want CANCELED", o.Err)
	}
	if s.alive(t, id, child) {
		t.Errorf("process %s goes on; Exec returned %v", child, o.Err)
	}
}

func endPolite(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	run := s.script(id, `trap 'echo cleaned >conf-cleaned; kill $!; exit 0' TERM; sleep 600 & echo pid $$ .; wait; wait`)
	run.KillGrace = 2 * time.Second
	c := s.Begin(t, d, run)
	c.pidOf(t)
	c.cancel(errCaseCancel)
	c.Wait(t, run.KillGrace)
	if got := s.Sh(t, id, "cat conf-cleaned"); got.Out != "cleaned\n" {
		t.Errorf("its handler for SIGTERM has not run")
	}
}

func endDeaf(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	run := s.script(id, `trap '' TERM; echo pid $$ .; sleep 600; sleep 600`)
	run.KillGrace = 300 * time.Millisecond
	c := s.Begin(t, d, run)
	pid := c.pidOf(t)
	c.cancel(errCaseCancel)
	o := c.Wait(t, run.KillGrace)
	if s.alive(t, id, pid) {
		t.Errorf("process %s goes on; Exec returned %v", pid, o.Err)
	}
}

func endSession(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	if s.Sh(t, id, "command -v setsid").ShellCode() != 0 {
		t.Skipf("there is no setsid in the sandbox")
	}
	c := s.Begin(t, d, s.script(id, `setsid sh -c 'echo pid $$ .; sleep 600' & wait`))
	pid := c.pidOf(t)
	c.cancel(errCaseCancel)
	o := c.Wait(t, driver.DefaultKillGrace)
	if s.alive(t, id, pid) {
		t.Errorf("process %s goes on; Exec returned %v", pid, o.Err)
	}
}

// endLost cuts the stream itself: no frame asks for anything.
func endLost(t T, s *Session) {
	r := s.Wire(t)
	d := r.driver(t, s)
	id := s.runningOn(t, d, s.Spec(t)).ID
	x := r.exec(s, t, &driverpb.ExecStart{SandboxId: id, ExecId: "conf-lost", Argv: []string{"sh", "-c", "echo pid $$ .; sleep 600"}})
	var out bytes.Buffer
	for !strings.Contains(out.String(), " .\n") {
		f, err := x.Recv()
		if err != nil {
			t.Fatalf("reading the output: %v", err)
		}
		out.Write(f.GetStdout())
	}
	pid := strings.Fields(out.String())[1]
	x.cut(errCaseCancel)
	ended := s.eventually(driver.DefaultKillGrace, func() bool { return !s.aliveOn(t, d, id, pid) })
	if !ended {
		t.Errorf("process %s goes on without its caller", pid)
	}
}

// driver is the raw process as a driver.
func (r *raw) driver(t T, s *Session) driver.Driver {
	t.Helper()
	d, err := wire.NewClient(s.Ctx, r.conn, wire.Host{Name: "sero-conformance"}, func() error { return nil }, false)
	if err != nil {
		t.Fatalf("Handshake: %v", err)
	}
	return d
}

func endDetach(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	run := s.script(id, `echo pid $$ .; sleep 1; echo more; echo went on >conf-detached; sleep 600`)
	run.Detach = true
	c := s.Begin(t, d, run)
	pid := c.pidOf(t)
	c.cancel(errCaseCancel)
	c.Wait(t, driver.DefaultKillGrace+time.Second)
	if !s.eventually(2*time.Second, func() bool { return s.Sh(t, id, "cat conf-detached").Out == "went on\n" }) {
		t.Errorf("it did not go on")
	}
	s.Sh(t, id, "kill -s KILL "+pid)
}

// failing is a caller that breaks.
type failing struct{}

var errBroken = errors.New("broken on purpose")

// Write fails.
func (failing) Write([]byte) (int, error) { return 0, errBroken }

// Read fails.
func (failing) Read([]byte) (int, error) { return 0, errBroken }

func endWriter(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	breaks := map[string]func(*driver.ExecIO){
		"output": func(x *driver.ExecIO) { x.Stdout = failing{} },
		"input":  func(x *driver.ExecIO) { x.Stdin = io.MultiReader(strings.NewReader("one\n"), failing{}) },
	}
	for what, change := range breaks {
		c := s.Begin(t, d, s.script(id, "echo $$ >conf-pid-"+what+"; echo up; sleep 600"), change)
		o := c.Wait(t, driver.DefaultKillGrace)
		if o.Err == nil {
			t.Errorf("with failing %s Exec succeeded", what)
		}
		pid := s.Sh(t, id, "cat conf-pid-"+what).Out // absent if it was ended at once
		if pid = strings.TrimSpace(pid); pid != "" && s.alive(t, id, pid) {
			t.Errorf("with failing %s the command goes on", what)
		}
	}
}

func endNeighbours(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	other := s.Begin(t, d, s.script(id, "echo up; read x; echo got $x"))
	other.Expect(t, "up")
	c := s.Begin(t, d, s.script(id, "echo pid $$ .; sleep 600"))
	c.pidOf(t)
	c.cancel(errCaseCancel)
	c.Wait(t, driver.DefaultKillGrace)
	if _, err := fmt.Fprintln(other.stdin, "line"); err != nil {
		t.Errorf("writing: %v", err)
	}
	if o := other.Wait(t, 3*time.Second); !strings.Contains(o.Out, "got line") {
		t.Errorf("the other command said %q, error %v", o.Out, o.Err)
	}
}

func endInput(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	run := s.script(id, `trap '' TERM; echo up .; cat >conf-input && echo whole >conf-whole; sleep 600`)
	run.KillGrace = time.Second
	c := s.Begin(t, d, run)
	c.Expect(t, "up .")
	if _, err := c.stdin.Write([]byte("half\n")); err != nil {
		t.Errorf("writing: %v", err)
	}
	if !s.eventually(3*time.Second, func() bool { return s.Sh(t, id, "cat conf-input").Out == "half\n" }) {
		t.Fatalf("its input does not come")
	}
	c.cancel(errCaseCancel)
	c.Wait(t, run.KillGrace)
	if got := s.Sh(t, id, "cat conf-whole"); got.Out == "whole\n" {
		t.Errorf("it took what had come for all of its input")
	}
}

// ioFrames looks at the frames themselves.
func ioFrames(t T, s *Session) {
	r := s.Wire(t)
	d := r.driver(t, s)
	id := s.runningOn(t, d, s.Spec(t)).ID
	x := r.exec(s, t, &driverpb.ExecStart{
		SandboxId: id, ExecId: "conf-frames", Argv: []string{"sh", "-c", "head -c 1000000 /dev/zero; echo err >&2; cat >/dev/null; exit 4"},
	})
	x.closeStdin(t)
	frames, err := x.frames()
	s.OK(t, "Exec", err)
	total, started, exit := 0, -1, -1
	for i, f := range frames {
		switch frame := f.GetFrame().(type) {
		case *driverpb.ExecResponse_Started:
			if started >= 0 {
				t.Errorf("started came twice")
			}
			started = i
		case *driverpb.ExecResponse_Exit:
			exit = i
			if frame.Exit.GetCode() != 4 {
				t.Errorf("exit code %d, want 4", frame.Exit.GetCode())
			}
		case *driverpb.ExecResponse_Stdout:
			total += len(frame.Stdout)
			if len(frame.Stdout) > driver.MaxFrame {
				t.Errorf("frame %d has %d bytes", i, len(frame.Stdout))
			}
		case *driverpb.ExecResponse_Stderr:
			total += len(frame.Stderr)
		}
	}
	if started != 0 || exit != len(frames)-1 || total != 1000004 {
		t.Errorf("%d frames with %d bytes of output: started is number %d, exit is number %d", len(frames), total, started, exit)
	}
}
