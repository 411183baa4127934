package conformance

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func execCases() []Case {
	return engine([]Case{
		{
			ID: "EXEC-1", Group: "exec", Run: execCodes,
			Must: "exit codes from 0 to 255 come through as they are",
		},
		{
			ID: "EXEC-2", Group: "exec", Run: execSignalled,
			Must: "death by a signal is reported as the signal",
		},
		{
			ID: "EXEC-3", Group: "exec", Run: execApart,
			Must: "standard output and standard error come apart",
		},
		{
			ID: "EXEC-4", Group: "exec", Run: execArgv,
			Must: "arguments come through as they are, whatever is in them",
		},
		{
			ID: "EXEC-5", Group: "exec", Run: execEnv,
			Must: "a command's own environment comes on top of the sandbox's",
		},
		{
			ID: "EXEC-6", Group: "exec", Run: execDir,
			Must: "a command runs in the directory asked for, and in the workspace if none was",
		},
		{
			ID: "EXEC-7", Group: "exec", Run: execMissing,
			Must: "a missing command is COMMAND_NOT_FOUND within five seconds, and is never reported as started",
		},
		{
			ID: "EXEC-8", Group: "exec", Run: execNotExecutable,
			Must: "a file that cannot be executed is COMMAND_NOT_EXECUTABLE",
		},
	})
}

func execEdgeCases() []Case {
	return engine([]Case{
		{
			ID: "EXEC-9", Group: "exec", Run: execNotRunning,
			Must: "Exec in a sandbox that does not run is NOT_RUNNING",
		},
		{
			ID: "EXEC-10", Group: "exec", Run: execAbsent,
			Must: "Exec in an absent sandbox is NOT_FOUND",
		},
		{
			ID: "EXEC-11", Group: "exec", Run: execEmpty,
			Must: "Exec without a command is INVALID_ARGUMENT",
		},
		{
			ID: "EXEC-12", Group: "exec", Run: execMany, last: true, // a case beside it would wait for the machine, not for the driver
			Must: "32 commands at once wait neither for each other nor keep another call waiting",
		},
		{
			ID: "EXEC-13", Group: "exec", Run: execOrphan,
			Must: "a process that a command leaves behind and that holds its output open does not hold up Exec",
		},
		{
			ID: "EXEC-14", Group: "exec", Run: execSignal, Needs: []driver.Capability{driver.CapExecSignal},
			Must: "a signal by name reaches the command's process group",
		},
		{
			ID: "EXEC-15", Group: "exec", Run: execUser, Needs: []driver.Capability{driver.CapExecUser},
			Must: "a command runs as the user asked for",
		},
		{
			ID: "EXEC-16", Group: "exec", Run: execPID,
			Must: "a command's pid, if it is told, is its pid in the sandbox",
		},
	})
}

func execCodes(t T, s *Session) {
	id := s.Running(t)
	for _, code := range []int{0, 1, 2, 77, 126, 127, 128, 137, 255} {
		o := s.Sh(t, id, fmt.Sprintf("exit %d", code))
		if o.Err != nil || o.Code != code || o.Signal != "" {
			t.Errorf("exit %d gives code %d, signal %q, error %v", code, o.Code, o.Signal, o.Err)
		}
	}
}

func execSignalled(t T, s *Session) {
	id := s.Running(t)
	for _, name := range []string{"KILL", "TERM", "HUP"} {
		o := s.Sh(t, id, "kill -s "+name+" $$; sleep 1")
		if o.Err != nil || o.Signal != "SIG"+name {
			t.Errorf("death by SIG%s gives code %d, signal %q, error %v", name, o.Code, o.Signal, o.Err)
		}
	}
}

func execApart(t T, s *Session) {
	o := s.Sh(t, s.Running(t), "echo out; echo err >&2")
	if o.Out != "out\n" || o.Errs != "err\n" {
		t.Errorf("standard output is %q, standard error %q (error %v)", o.Out, o.Errs, o.Err)
	}
}

func execArgv(t T, s *Session) {
	id := s.Running(t)
	args := []string{"", "-n", hostile, "two  spaces", "ü", strings.Repeat("x", 1000)}
	spec := s.script(id, "")
	spec.Argv = append([]string{"printf", `%s|`}, args...)
	o := s.exec(s.Driver(t), spec, nil)
	if want := strings.Join(args, "|") + "|"; o.Out != want {
		t.Errorf("the command got %.300q, want %.300q (error %v, stderr %q)", o.Out, want, o.Err, o.Errs)
	}
}

func execEnv(t T, s *Session) {
	spec := s.Spec(t)
	spec.Env = []driver.EnvVar{{Name: "CONF_BOTH", Value: "sandbox"}, {Name: "CONF_OURS", Value: "sandbox"}}
	id := s.runningOn(t, s.Driver(t), spec).ID
	run := s.script(id, "printenv CONF_BOTH; printenv CONF_OURS; printenv CONF_NEW")
	run.Env = []driver.EnvVar{{Name: "CONF_BOTH", Value: "command"}, {Name: "CONF_NEW", Value: hostile}}
	o := s.exec(s.Driver(t), run, nil)
	if want := "command\nsandbox\n" + hostile + "\n"; o.Out != want {
		t.Errorf("the command sees %q, want %q (error %v)", o.Out, want, o.Err)
	}
}

func execDir(t T, s *Session) {
	d := s.Driver(t)
	sb := s.runningOn(t, d, s.Spec(t))
	if got := s.Out(t, sb.ID, "pwd"); got != sb.WorkspaceDir {
		t.Errorf("without a directory it runs in %q, want %q", got, sb.WorkspaceDir)
	}
	s.Out(t, sb.ID, "mkdir -p sub/dir")
	for _, dir := range []string{sb.WorkspaceDir + "/sub/dir", "/"} {
		run := s.script(sb.ID, "pwd")
		run.Dir = dir
		if o := s.exec(d, run, nil); o.Out != dir+"\n" {
			t.Errorf("it runs in %q, want %q (error %v)", o.Out, dir, o.Err)
		}
	}
}

func execMissing(t T, s *Session) {
	id := s.Running(t)
	for _, name := range []string{"no-such-command-" + s.r.nonce, "/no/such/command"} {
		ctx, cancel := context.WithTimeoutCause(s.Ctx, s.within(5*time.Second), errDeadline)
		started := false
		spec := s.script(id, "")
		spec.Argv = []string{name}
		_, err := s.Driver(t).Exec(ctx, spec, driver.ExecIO{Started: func(int64) { started = true }})
		cancel()
		s.Fails(t, "Exec of "+name, err, driver.CommandNotFound)
		if started {
			t.Errorf("it was reported as started")
		}
	}
}

func execNotExecutable(t T, s *Session) {
	id := s.Running(t)
	s.Out(t, id, "echo data >conf-data; chmod 644 conf-data")
	spec := s.script(id, "")
	spec.Argv = []string{"./conf-data"}
	s.Fails(t, "Exec of a data file", s.exec(s.Driver(t), spec, nil).Err, driver.CommandNotExecutable)
}

func execNotRunning(t T, s *Session) {
	s.Fails(t, "Exec", s.Sh(t, s.Created(t), "true").Err, driver.NotRunning)
}

func execAbsent(t T, s *Session) {
	s.Fails(t, "Exec", s.Sh(t, s.Spec(t).ID, "true").Err, driver.NotFound)
}

func execEmpty(t T, s *Session) {
	spec := s.script(s.Running(t), "")
	spec.Argv = nil
	s.Fails(t, "Exec", s.exec(s.Driver(t), spec, nil).Err, driver.InvalidArgument)
}

// execMany lets every command say that it is up before any may end: were they
// run one after the other, the second would never be up.
func execMany(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	commands := make([]*command, 32)
	for i := range commands {
		commands[i] = s.Begin(t, d, s.script(id, fmt.Sprintf("echo up-%d-; read x; echo got $x", i)))
	}
	t.Cleanup(func() {
		for _, c := range commands { // at once; each alone takes a while
			c.cancel(errCaseCancel)
		}
	})
	for i, c := range commands {
		c.Expect(t, fmt.Sprintf("up-%d-", i))
	}
	_, err := d.Get(s.Ctx, id)
	s.OK(t, "Get beside 32 commands", err)
	for i, c := range commands {
		if _, err := fmt.Fprintf(c.stdin, "line-%d\n", i); err != nil {
			t.Errorf("writing to command %d: %v", i, err)
		}
		if o := c.Wait(t, 10*time.Second); !strings.Contains(o.Out, fmt.Sprintf("got line-%d\n", i)) {
			t.Errorf("command %d said %q (error %v)", i, o.Out, o.Err)
		}
	}
}

func execOrphan(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	c := s.Begin(t, d, s.script(id, "sleep 600 & echo $!; exit 3"))
	o := c.Wait(t, 500*time.Millisecond)
	pid := strings.TrimSpace(o.Out)
	if o.Err != nil || o.Code != 3 || pid == "" {
		t.Errorf("it ended with code %d, output %q, error %v", o.Code, o.Out, o.Err)
	}
	s.Sh(t, id, "kill -s KILL "+pid)
}

func execSignal(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	c := s.Begin(t, d, s.script(id, `trap 'echo got INT; kill $!; exit 5' INT; sleep 600 & echo up; wait; wait`))
	c.Expect(t, "up")
	c.signals <- "SIGINT"
	if o := c.Wait(t, 5*time.Second); o.Code != 5 || !strings.Contains(o.Out, "got INT") {
		t.Errorf("after SIGINT: code %d, signal %q, output %q, error %v", o.Code, o.Signal, o.Out, o.Err)
	}
	c = s.Begin(t, d, s.script(id, `sleep 600 & echo pid $!; wait`))
	c.Expect(t, "pid ")
	child := strings.TrimSpace(strings.TrimPrefix(c.output(), "pid "))
	c.signals <- "SIGUSR1" // kills both, for neither handles it
	if o := c.Wait(t, 5*time.Second); o.Signal != "SIGUSR1" {
		t.Errorf("after SIGUSR1: code %d, signal %q, error %v", o.Code, o.Signal, o.Err)
	}
	if !s.gone(t, id, child, 2*time.Second) {
		t.Errorf("the signal did not reach the rest of the process group")
	}
}

func execUser(t T, s *Session) {
	id := s.Running(t)
	run := s.script(id, "id -u")
	run.User = s.r.c.Profile.User
	if o := s.exec(s.Driver(t), run, nil); o.Out != run.User+"\n" {
		t.Errorf("it runs as %q, want %s (error %v, stderr %q)", o.Out, run.User, o.Err, o.Errs)
	}
}

func execPID(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	c := s.Begin(t, d, s.script(id, "echo pid $$ .; read x"))
	c.Expect(t, ".")
	var pid int64
	select {
	case pid = <-c.started:
	default:
		t.Fatalf("there is output, and it was not reported as started")
	}
	if want := fmt.Sprintf("pid %d .\n", pid); pid != 0 && c.output() != want {
		t.Errorf("it was reported as process %d, and says %q", pid, c.output())
	}
}

func execStreamCases() []Case {
	return engine([]Case{
		{
			ID: "IO-1", Group: "streams", Run: ioBytes,
			Must: "bytes come through unchanged, in and out",
		},
		{
			ID: "IO-2", Group: "streams", Run: ioWhole,
			Must: "what a command wrote right before it ended arrives whole",
		},
		{
			ID: "IO-3", Group: "streams", Run: ioFrames,
			Must: "the frames are started, then output of at most 64 KiB each, then exit, and nothing follows it",
		},
		{
			ID: "IO-4", Group: "streams", Run: ioStdinOpen,
			Must: "standard input ends only when its end is sent",
		},
		{
			ID: "IO-5", Group: "streams", Run: ioStdinEnd,
			Must: "the end of standard input reaches the command",
		},
		{
			ID: "IO-6", Group: "streams", Run: ioUnread,
			Must: "a command that ends without reading its input ends Exec",
		},
		{
			ID: "IO-7", Group: "streams", Run: ioSlow,
			Must: "a caller that does not read slows the command down, loses nothing, and keeps no other call waiting",
		},
		{
			ID: "IO-8", Group: "streams", Run: ioBlockedSignal, Needs: []driver.Capability{driver.CapExecSignal},
			Must: "a signal passes while standard input is blocked",
		},
	})
}

// sample holds every byte value, in pieces that straddle frames.
func sample(n int) []byte {
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
}

func ioBytes(t T, s *Session) {
	id := s.Running(t)
	want := sample(1<<20 + 7)
	o := s.exec(s.Driver(t), s.script(id, "cat"), bytes.NewReader(want))
	if o.Err != nil || o.Out != string(want) {
		t.Errorf("of %d bytes %d came back, the first difference at %d (error %v)", len(want), len(o.Out), difference(o.Out, string(want)), o.Err)
	}
}

func difference(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func ioWhole(t T, s *Session) {
	id := s.Running(t)
	const size = 8 << 20
	for range 2 {
		if o := s.Sh(t, id, fmt.Sprintf("head -c %d /dev/zero; echo end", size)); len(o.Out) != size+4 || o.Err != nil {
			t.Errorf("%d bytes arrived of %d (error %v)", len(o.Out), size+4, o.Err)
		}
	}
	for range 20 {
		if o := s.Sh(t, id, "echo first; echo second >&2; echo last"); o.Out != "first\nlast\n" || o.Errs != "second\n" {
			t.Errorf("standard output is %q, standard error %q", o.Out, o.Errs)
		}
	}
}

func ioStdinOpen(t T, s *Session) {
	c := s.Begin(t, s.Driver(t), s.script(s.Running(t), "cat; echo after"))
	if _, err := c.stdin.Write([]byte("one\n")); err != nil {
		t.Fatalf("writing: %v", err)
	}
	c.Expect(t, "one\n")
	time.Sleep(300 * time.Millisecond)
	if isClosed(c.done) || strings.Contains(c.output(), "after") {
		t.Fatalf("its input ended by itself; output %q", c.output())
	}
	if _, err := c.stdin.Write([]byte("two\n")); err != nil {
		t.Errorf("writing: %v", err)
	}
	c.Expect(t, "two\n")
}

func ioStdinEnd(t T, s *Session) {
	c := s.Begin(t, s.Driver(t), s.script(s.Running(t), "cat; echo after"))
	if _, err := c.stdin.Write([]byte("one\n")); err != nil {
		t.Fatalf("writing: %v", err)
	}
	_ = c.stdin.Close()
	if o := c.Wait(t, 4*time.Second); o.Out != "one\nafter\n" {
		t.Errorf("the output is %q (error %v)", o.Out, o.Err)
	}
}

// endless is input without an end.
type endless struct{}

// Read fills p.
func (endless) Read(p []byte) (int, error) { return len(p), nil }

// filling is endless, too, and tells once more than a window of it is read: then
// a whole one has gone to the driver, which is more than a command has room for.
type filling struct {
	endless
	full chan struct{}
	n    int
}

// Read fills p.
func (f *filling) Read(p []byte) (int, error) {
	if f.n <= driver.StdinWindow && f.n+len(p) > driver.StdinWindow {
		close(f.full)
	}
	f.n += len(p)
	return f.endless.Read(p)
}

func ioUnread(t T, s *Session) {
	c := s.Begin(t, s.Driver(t), s.script(s.Running(t), "sleep 1; exit 9"), func(io *driver.ExecIO) { io.Stdin = endless{} })
	if o := c.Wait(t, 4*time.Second); o.Code != 9 || o.Err != nil {
		t.Errorf("code %d, error %v", o.Code, o.Err)
	}
}

// valve is a writer that blocks until it is opened.
type valve struct {
	open chan struct{}
	n    int
}

// Write counts p once the valve is open.
func (v *valve) Write(p []byte) (int, error) {
	<-v.open
	v.n += len(p)
	return len(p), nil
}

func ioSlow(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	const size = 12 << 20
	v := &valve{open: make(chan struct{})}
	opened := false
	open := func() {
		if !opened {
			opened = true
			close(v.open)
		}
	}
	c := s.Begin(t, d, s.script(id, fmt.Sprintf("head -c %d /dev/zero; echo done >conf-done", size)), func(io *driver.ExecIO) { io.Stdout = v })
	t.Cleanup(open)
	time.Sleep(700 * time.Millisecond)
	if o := s.Sh(t, id, "test -e conf-done"); o.Err != nil || o.ShellCode() == 0 {
		t.Errorf("nobody reads, and the command has written %d bytes and gone on (error %v)", size, o.Err)
	}
	open()
	if o := c.Wait(t, 20*time.Second); v.n != size || o.Err != nil {
		t.Errorf("%d bytes arrived of %d (error %v)", v.n, size, o.Err)
	}
}

func ioBlockedSignal(t T, s *Session) {
	in := &filling{full: make(chan struct{})}
	c := s.Begin(t, s.Driver(t), s.script(s.Running(t), "echo up; sleep 600"), func(io *driver.ExecIO) { io.Stdin = in })
	c.Expect(t, "up")
	select {
	case <-in.full:
	case <-time.After(s.within(4 * time.Second)):
		t.Fatalf("its input is not taken")
	}
	c.signals <- "SIGTERM"
	if o := c.Wait(t, 4*time.Second); o.Signal != "SIGTERM" {
		t.Errorf("code %d, signal %q, error %v", o.Code, o.Signal, o.Err)
	}
}
