package applecontainer

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// client is the CLI's process of one exec: its streams, and what the script
// around the command tells among them. It outlives Exec for a moment, until the
// CLI has ended.
type client struct {
	cmd            *exec.Cmd
	stdin          *os.File // of the CLI: a pipe, or its terminal
	terminal       *os.File // nil without one
	stdout, stderr *sink
	events         chan event
	lost           chan error    // the caller's reader or writer failed
	ended          chan struct{} // the process has ended and its output is read
	left           chan struct{} // nobody takes events any more
	leave          sync.Once
	early          *capped       // what the CLI said before the command had started
	stderrOver     chan struct{} // the command's standard error is delivered
}

// startClient starts the CLI. Its caller ends it with release or abandon.
func (d *Driver) startClient(args []string, terminal *driver.TerminalSize, mark string) (*client, error) {
	b, err := d.cli.find()
	if err != nil {
		return nil, err
	}
	c := &client{
		cmd:    exec.Command(b.path, args...), //nolint:noctx,gosec // the user's own CLI; it ends with release or abandon
		stdout: newSink(), stderr: newSink(), events: make(chan event, 4), lost: make(chan error, 1),
		ended: make(chan struct{}), left: make(chan struct{}), stderrOver: make(chan struct{}),
		early: &capped{limit: 64 << 10},
	}
	c.cmd.Env = environ()
	stdout, stderr, err := c.start(terminal)
	if err != nil {
		return nil, err
	}
	var pumps sync.WaitGroup
	pumps.Go(func() { c.pumpStdout(stdout, mark) })
	pumps.Go(func() { c.pumpStderr(stderr, mark) })
	stop := context.AfterFunc(d.cli.alive, c.kill)
	d.work.Go(func() { // ends with the process, which release and abandon see to
		_ = c.cmd.Wait()
		pumps.Wait()
		stop()
		_ = c.stdin.Close()
		close(c.ended)
	})
	return c, nil
}

// start connects the CLI with pipes, or with a pseudo-terminal of its own and a
// pipe for its errors, and starts it. It returns what to read.
func (c *client) start(size *driver.TerminalSize) (stdout, stderr *os.File, err error) {
	var child, parent []*os.File
	defer func() {
		closeAll(child)
		if err != nil {
			closeAll(parent)
		}
	}()
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
		}
		return r, w
	}
	stderr, errs := pipe()
	child, parent = append(child, errs), append(parent, stderr)
	if size != nil && err == nil {
		var input, output *os.File
		stdout, input, output, err = openTerminal(*size)
		child, parent = append(child, input, output), append(parent, stdout)
		c.cmd.Stdin, c.cmd.Stdout, c.stdin, c.terminal = input, output, stdout, stdout
		c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	} else {
		in, stdin := pipe()
		out, w := pipe()
		stdout = out
		child, parent = append(child, in, w), append(parent, stdin, out)
		c.cmd.Stdin, c.cmd.Stdout, c.stdin = in, w, stdin
		c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	c.cmd.Stderr = errs
	if err != nil {
		return nil, nil, driver.Errorf(driver.Internal, "a command cannot be connected: %w", err)
	}
	if err = c.cmd.Start(); err != nil {
		err = startError(c.cmd.Path, err)
	}
	return stdout, stderr, err
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}

// pumpStdout reads what the CLI puts out: its own words, then from S on the
// command's, up to the script's last word; what comes then is of those whom the
// command has left behind, and dropped.
func (c *client) pumpStdout(file *os.File, mark string) {
	into := c.early.Write
	tell := func(e event) error {
		switch e.kind {
		case 'S':
			into = c.stdout.Write
		case 'E', 'K':
			into = io.Discard.Write
			if c.terminal == nil {
				select {
				case <-c.stderrOver:
				case <-c.left:
				}
			}
		default:
		}
		select {
		case c.events <- e:
		case <-c.left:
		}
		return nil
	}
	c.pump(file, mark, func(p []byte) error { _, err := into(p); return err }, tell)
	if file != c.terminal {
		_ = file.Close()
	}
}

// pumpStderr reads the CLI's errors and, without a terminal, from S to Z the
// command's.
func (c *client) pumpStderr(file *os.File, mark string) {
	defer file.Close()
	into := c.early.Write
	var once sync.Once
	over := func() { once.Do(func() { close(c.stderrOver) }) }
	defer over()
	c.pump(file, mark, func(p []byte) error { _, err := into(p); return err }, func(e event) error {
		switch e.kind {
		case 'S':
			into = c.stderr.Write
		case 'Z':
			into = c.early.Write // the CLI's last words
			over()
		default:
		}
		return nil
	})
}

func (c *client) pump(file *os.File, mark string, data func([]byte) error, tell func(event) error) {
	s := newScanner(mark)
	deliver := func(p []byte) error {
		if err := data(p); err != nil {
			c.lose(err)
		}
		return nil
	}
	buf := make([]byte, driver.MaxFrame)
	for {
		n, err := file.Read(buf)
		if n > 0 {
			_ = s.feed(buf[:n], deliver, tell) // neither fails
		}
		if err != nil {
			_ = s.flush(deliver)
			return
		}
	}
}

// open lets the command's output go to its caller, and the caller's input to it.
func (c *client) open(stdio driver.ExecIO) {
	c.stdout.open(stdio.Stdout)
	c.stderr.open(stdio.Stderr)
	if stdio.Stdin != nil {
		go c.copyInput(stdio.Stdin) // ends when the caller's reader returns
	}
}

// terminalEnd is what ends input on a terminal.
const terminalEnd = 4

func (c *client) copyInput(r io.Reader) {
	buf := make([]byte, driver.MaxFrame/2)
	for {
		n, err := r.Read(buf)
		if n > 0 && !c.write(buf[:n]) {
			return // the command has ended
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			if c.terminal != nil {
				c.write([]byte{terminalEnd})
			} else {
				_ = c.stdin.Close()
			}
			return
		default:
			c.lose(err)
			return
		}
	}
}

func (c *client) write(p []byte) bool {
	_, err := c.stdin.Write(p)
	return err == nil
}

func (c *client) resize(size driver.TerminalSize) {
	if c.terminal != nil { // the CLI is told by SIGWINCH, and tells the sandbox
		_ = pty.Setsize(c.terminal, &pty.Winsize{Rows: size.Rows, Cols: size.Cols})
	}
}

func (c *client) lose(err error) {
	select {
	case c.lost <- &driver.Error{Reason: driver.Canceled, Message: "the caller of the command is lost", Err: err}:
	default: // one loss is enough
	}
}

// said is what the CLI itself has said.
func (c *client) said() string { return c.early.String() }

// code is the CLI's exit code, once it has ended.
func (c *client) code() int { return c.cmd.ProcessState.ExitCode() }

func (c *client) kill() { _ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) }

// endPatience is how long the CLI may take to end once its command has.
const endPatience = 6 * time.Second

// release lets the CLI end by itself: the command has ended, and what it wrote
// is delivered.
func (c *client) release() {
	c.leave.Do(func() { close(c.left) })
	if c.terminal != nil {
		_ = c.terminal.SetWriteDeadline(time.Now().Add(time.Second))
		go c.write([]byte("\n")) // ends with its deadline
	} else {
		_ = c.stdin.Close()
	}
	timer := time.AfterFunc(endPatience, c.kill)
	go func() { // ends with the CLI
		<-c.ended
		timer.Stop()
	}()
	c.stdout.mute(0)
	c.stderr.mute(0)
}

// abandon ends the CLI. A last write to the caller gets a moment.
func (c *client) abandon(patience time.Duration) {
	select {
	case <-c.ended:
	case <-time.After(patience):
	}
	c.leave.Do(func() { close(c.left) })
	c.stdout.mute(patience)
	c.stderr.mute(patience)
	_ = c.stdin.Close()
	c.kill()
}

// sink is one output of a command on its way to the caller.
type sink struct {
	opened chan struct{} // closed when there is a writer, or nobody to write to
	gate   chan struct{} // held around each write
	writer io.Writer     // nil: nowhere; guarded by gate
	once   sync.Once
}

func newSink() *sink {
	return &sink{opened: make(chan struct{}), gate: make(chan struct{}, 1)}
}

func (s *sink) open(w io.Writer) {
	s.gate <- struct{}{}
	s.writer = w
	<-s.gate
	s.once.Do(func() { close(s.opened) })
}

// Write waits until the sink is open. It fails when the caller's writer does, and
// drops what comes then.
func (s *sink) Write(p []byte) (int, error) {
	<-s.opened
	s.gate <- struct{}{}
	defer func() { <-s.gate }()
	if s.writer == nil {
		return len(p), nil
	}
	n, err := s.writer.Write(p)
	if err != nil {
		s.writer = nil
	}
	return n, err
}

// mute drops what comes from now on. It waits for a write that is under way, but
// not longer than patience.
func (s *sink) mute(patience time.Duration) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case s.gate <- struct{}{}:
		s.writer = nil
		<-s.gate
	case <-timer.C:
	}
	s.once.Do(func() { close(s.opened) })
}
