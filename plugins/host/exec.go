package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sero-labs/sero-runtime/plugins/host/internal/proc"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// command is one running command. Parts of it outlive the Exec that started it:
// with Detach all of it, else the drains of what it left behind.
type command struct {
	d       *Driver
	spec    driver.ExecSpec
	exe     *execution
	process *os.Process
	ending  *ending
	streams *streams
	outputs []*output
	state   *os.ProcessState // once exited is closed
	exited  chan struct{}    // the command was waited for
	done    chan struct{}    // and its output is delivered
	lost    chan error       // the caller's reader or writer failed
}

// Exec runs a command as a process of this machine.
func (d *Driver) Exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	if err := d.checkExec(spec); err != nil {
		return driver.ExitStatus{}, err
	}
	s, err := d.find(spec.SandboxID)
	if err != nil {
		return driver.ExitStatus{}, err
	}
	if ctx.Err() != nil {
		return driver.ExitStatus{}, ctxError(ctx)
	}
	c, err := d.startCommand(s, spec, stdio)
	if err != nil {
		return driver.ExitStatus{}, err
	}
	if stdio.Started != nil {
		stdio.Started(int64(c.process.Pid))
	}
	c.carry(stdio)
	left := make(chan struct{})
	defer close(left)
	d.work.Go(func() { c.obey(stdio, left) })
	select {
	case <-c.done:
		return exitStatus(c.state), nil
	case <-ctx.Done():
		return driver.ExitStatus{}, c.abandon(ctxError(ctx))
	case err := <-c.lost:
		if ctx.Err() != nil { // what ended the caller's streams too
			err = ctxError(ctx)
		}
		return driver.ExitStatus{}, c.abandon(err)
	}
}

// checkRunning is nil while commands may be started. mu must be held.
func (s *sandbox) checkRunning() error {
	if s.state != driver.SandboxRunning || s.removed {
		return driver.Errorf(driver.NotRunning, "sandbox %s is not running", s.spec.ID).
			About(s.spec.ID).Remedy("start it", "sero", "up")
	}
	return nil
}

// program is what a command runs, found before anything is started.
type program struct {
	binary string
	dir    string
	env    []string
	as     account
}

// findProgram finds the program of a command. The directory may be slow to answer, so no
// lock is held.
func (d *Driver) findProgram(s *sandbox, spec driver.ExecSpec) (p program, err error) {
	if p.dir = spec.Dir; p.dir == "" {
		p.dir = s.spec.WorkspaceDir
	}
	if err := checkDir(p.dir); err != nil {
		return p, err
	}
	if p.as, err = findAccount(spec.User); err != nil {
		return p, err
	}
	p.env = p.as.environment(d.environment(s, spec, p.dir, ""), spec.Env)
	path, _ := getEnv(p.env, "PATH")
	p.binary, err = lookup(spec.Argv[0], p.dir, path)
	return p, err
}

// startCommand starts the command if its sandbox is running.
func (d *Driver) startCommand(s *sandbox, spec driver.ExecSpec, stdio driver.ExecIO) (*command, error) {
	s.mu.RLock()
	err := s.checkRunning()
	s.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	p, err := d.findProgram(s, spec)
	if err != nil {
		return nil, err
	}
	if err := s.beginStart(); err != nil {
		return nil, err
	}
	defer s.endStart() // Stop waits for this, and then ends the command too
	st, err := openStreams(spec, stdio)
	if err != nil {
		return nil, err
	}
	defer st.closeChild()
	if p.as.credential != nil {
		st.giveTo(int(p.as.credential.Uid))
	}
	c := &command{
		d: d, spec: spec, streams: st,
		exe:    &execution{sandbox: s, execID: spec.ExecID, terminal: spec.Terminal != nil},
		exited: make(chan struct{}),
		done:   make(chan struct{}),
		lost:   make(chan error, 1),
	}
	sys := &syscall.SysProcAttr{Setsid: true, Setctty: spec.Terminal != nil, Credential: p.as.credential}
	c.ending = newEnding(sys)
	c.process, err = d.processes.start(c.exe, func(marker string) (*os.Process, error) {
		return os.StartProcess(p.binary, spec.Argv, &os.ProcAttr{
			Dir:   p.dir,
			Env:   setEnv(p.env, proc.MarkerEnv, marker),
			Files: st.child[:],
			Sys:   sys,
		})
	})
	if err != nil {
		st.closeParent()
		if _, closed := errors.AsType[*driver.Error](err); closed {
			return nil, err
		}
		return nil, startError(spec.Argv[0], err)
	}
	d.watch.poke()
	return c, nil
}

// carry connects the streams with the caller and waits for the command, in the
// background.
func (c *command) carry(stdio driver.ExecIO) {
	if c.streams.stdout != nil {
		c.outputs = append(c.outputs, newOutput(c.streams.stdout, stdio.Stdout, c.spec.Terminal != nil, c.lose))
	}
	if c.streams.stderr != nil {
		c.outputs = append(c.outputs, newOutput(c.streams.stderr, stdio.Stderr, false, c.lose))
	}
	for _, o := range c.outputs {
		c.d.work.Go(o.run)
	}
	switch {
	case stdio.Stdin != nil:
		in := &input{file: c.streams.stdin, end: c.endInput, lost: c.lose}
		go in.run(stdio.Stdin) // ends when the caller's reader returns
	case c.streams.stdin != nil:
		c.endInput()
	}
	c.d.work.Go(c.wait)
}

func (c *command) endInput() {
	if c.spec.Terminal != nil {
		endTerminal(c.streams.stdin)
		return
	}
	c.streams.stdin.Close()
}

func (c *command) lose(err error) {
	select {
	case c.lost <- &driver.Error{Reason: driver.Canceled, Message: "the caller of the command is lost", Err: err}:
	default: // one loss is enough
	}
}

// wait waits for the command and then for the delivery of its output.
func (c *command) wait() {
	c.ending.wait()
	state, err := c.process.Wait()
	if err != nil {
		slog.Error("a command cannot be waited for", "pid", c.process.Pid, "error", err)
	}
	c.state = state
	c.d.processes.ended(c.exe)
	close(c.exited)
	if c.streams.stdin != nil && c.spec.Terminal == nil {
		c.streams.stdin.Close() // ends a write that nobody reads
	}
	for _, o := range c.outputs {
		c.d.work.Go(o.commandEnded)
	}
	for _, o := range c.outputs {
		<-o.delivered
	}
	close(c.done)
}

// obey takes signals and sizes from the caller until the command has ended or
// the caller has left.
func (c *command) obey(stdio driver.ExecIO, left <-chan struct{}) {
	resize, signals := stdio.Resize, stdio.Signals
	for {
		select {
		case <-c.exited:
			return
		case <-left:
			return
		case size, open := <-resize:
			if !open {
				resize = nil
			} else if c.spec.Terminal != nil {
				setSize(c.streams.stdin, size)
			}
		case name, open := <-signals:
			if !open {
				signals = nil
			} else {
				c.signal(name)
			}
		}
	}
}

// signal sends a signal to the command's process group; on a terminal to the
// one in the foreground, as the terminal's own keys do.
func (c *command) signal(name string) {
	sig := unix.SignalNum(name)
	if sig == 0 {
		slog.Warn("this machine has no such signal", "signal", name)
		return
	}
	group := c.process.Pid
	if c.spec.Terminal != nil {
		if foreground := foregroundGroup(c.streams.stdin); foreground > 1 && foreground != unix.Getpgrp() {
			group = foreground
		}
	}
	if err := unix.Kill(-group, sig); err != nil {
		slog.Debug("a signal found nobody", "signal", name, "error", err)
	}
}

// abandonPatience is how long a call waits for its caller to take the last
// output of a command that was ended.
const abandonPatience = 500 * time.Millisecond

// abandon is the end of a call whose caller is gone; it returns err. The command
// and all that it started are ended, unless it is to go on.
func (c *command) abandon(err error) error {
	patience := time.NewTimer(abandonPatience)
	defer patience.Stop()
	if !c.spec.Detach {
		c.end()
		patience.Reset(abandonPatience)
		select {
		case <-c.done:
		case <-patience.C:
		}
	} else if c.streams.stdin != nil && c.spec.Terminal == nil {
		c.streams.stdin.Close()
	}
	for _, o := range c.outputs {
		o.mute(abandonPatience)
	}
	return err
}

func (c *command) end() {
	grace := c.spec.KillGrace
	if grace <= 0 {
		grace = driver.DefaultKillGrace
	}
	// The caller's context has ended; the grace bounds this.
	err := c.d.processes.end(context.Background(), func(e *execution) bool { return e == c.exe },
		proc.Politeness{Hangup: c.spec.Terminal != nil, Grace: grace})
	if err != nil {
		slog.Error("a command could not be ended", "exec", c.spec.ExecID, "error", err)
	}
}

// realtimeSignals is the number of SIGRTMIN for programs on Linux.
const realtimeSignals = 34

func exitStatus(state *os.ProcessState) driver.ExitStatus {
	if state == nil {
		return driver.ExitStatus{Code: 255}
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return driver.ExitStatus{Code: state.ExitCode()}
	}
	name := unix.SignalName(status.Signal())
	if n := int(status.Signal()) - realtimeSignals; name == "" && n >= 0 {
		name = fmt.Sprintf("SIGRTMIN+%d", n)
	}
	return driver.ExitStatus{Signal: name}
}
