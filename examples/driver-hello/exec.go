package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// command is one process group.
type command struct {
	cmd   *exec.Cmd
	pipes *pipes
	done  chan struct{} // closed when it has ended and its output is out

	mu     sync.Mutex
	ending bool // end deals with what is left of the group
}

func (h *hello) Exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	c, err := h.start(spec, stdio)
	if err != nil {
		return driver.ExitStatus{}, err
	}
	if stdio.Started != nil {
		stdio.Started(int64(c.cmd.Process.Pid))
	}
	go func() { // goes on after Exec when the command is detached
		c.wait()
		h.forget(spec.SandboxID, c)
		close(c.done)
	}()
	select {
	case <-c.done:
		return c.status(), nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case err = <-c.pipes.lost:
	}
	c.pipes.drop()
	if !spec.Detach {
		grace := spec.KillGrace
		if grace == 0 {
			grace = driver.DefaultKillGrace
		}
		c.end(context.WithoutCancel(ctx), grace)
		<-c.done
	}
	return driver.ExitStatus{}, err
}

// start runs a command in a process group of its own.
func (h *hello) start(spec driver.ExecSpec, stdio driver.ExecIO) (*command, error) {
	h.mu.Lock() // until the command is in the books, so that Stop sees it
	defer h.mu.Unlock()
	b, err := h.find(spec.SandboxID)
	if err != nil {
		return nil, err
	}
	if b.State != driver.SandboxRunning {
		return nil, driver.Errorf(driver.NotRunning, "sandbox %s is not running", b.ID).About(b.ID).Remedy("start it first")
	}
	if len(spec.Argv) == 0 || spec.Argv[0] == "" {
		return nil, driver.Errorf(driver.InvalidArgument, "the command is empty")
	}
	dir := b.WorkspaceDir
	if spec.Dir != "" {
		dir = spec.Dir
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, driver.Errorf(driver.NotFound, "there is no directory %s", dir).About(dir)
	}
	env := environment(b.env, spec.Env)
	file, err := lookUp(spec.Argv[0], dir, env)
	if err != nil {
		return nil, err
	}
	c := &command{done: make(chan struct{}), pipes: newPipes(stdio), cmd: &exec.Cmd{
		Path: file, Args: spec.Argv, Dir: dir, Env: env,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
	}}
	if err := c.pipes.start(c.cmd); err != nil {
		return nil, startError(spec.Argv[0], err)
	}
	b.commands[c] = true
	return c, nil
}

func (h *hello) forget(id string, c *command) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if b := h.boxes[id]; b != nil {
		delete(b.commands, c)
	}
}

// environment is what a command sees: a few of the host's variables, then the
// sandbox's, then the command's own.
func environment(sets ...[]driver.EnvVar) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "USER", "SHELL", "LANG", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	for _, set := range sets {
		for _, v := range set {
			env = append(env, v.Name+"="+v.Value)
		}
	}
	return env
}

// lookUp finds a command's file as a shell in dir with that environment would.
func lookUp(name, dir string, env []string) (string, error) {
	candidates := []string{name}
	if !strings.Contains(name, "/") {
		candidates = nil
		for _, v := range env { // the last one wins
			if path, ok := strings.CutPrefix(v, "PATH="); ok {
				candidates = filepath.SplitList(path)
			}
		}
		for i, at := range candidates {
			candidates[i] = filepath.Join(at, name)
		}
	}
	err := startError(name, fs.ErrNotExist)
	for _, file := range candidates {
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		switch info, statErr := os.Stat(file); {
		case statErr != nil:
		case info.IsDir() || info.Mode().Perm()&0o111 == 0:
			err = startError(name, fs.ErrPermission)
		default:
			return file, nil
		}
	}
	return "", err
}

func startError(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return driver.Errorf(driver.CommandNotFound, "there is no command %s", name).About(name)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC):
		return driver.Errorf(driver.CommandNotExecutable, "%s cannot be executed", name).About(name)
	default:
		return driver.Errorf(driver.Internal, "starting %s: %w", name, err)
	}
}

// wait returns when the command has ended and what it wrote is out. What it
// left behind in its group ends with it, for nobody could end it later: the
// group's number may by then be another's.
func (c *command) wait() {
	_ = c.cmd.Wait() // its state tells how it ended
	c.mu.Lock()
	if !c.ending {
		c.signal(syscall.SIGKILL)
	}
	c.mu.Unlock()
	c.pipes.finish()
}

// end asks the group to exit and returns when nothing is left of it, having
// killed what there was after grace or the end of ctx.
func (c *command) end(ctx context.Context, grace time.Duration) {
	c.mu.Lock()
	first := !c.ending
	c.ending = true
	c.mu.Unlock()
	if !first || !c.signal(syscall.SIGTERM) {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, grace, errLost)
	defer cancel()
	c.vanish(ctx)
	c.signal(syscall.SIGKILL)
	ctx, cancel = context.WithTimeoutCause(context.WithoutCancel(ctx), time.Second, errLost)
	defer cancel()
	c.vanish(ctx)
}

// vanish returns when the group has no process any more, or when ctx ends.
func (c *command) vanish(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for c.signal(0) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// signal tells whether the group had a process to signal.
func (c *command) signal(s syscall.Signal) bool {
	return syscall.Kill(-c.cmd.Process.Pid, s) == nil
}

func endAll(ctx context.Context, commands []*command, grace time.Duration) {
	var all sync.WaitGroup
	for _, c := range commands {
		all.Go(func() {
			c.end(ctx, grace)
			<-c.done
		})
	}
	all.Wait()
}

func (c *command) status() driver.ExitStatus {
	state, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && state.Signaled() {
		name, _ := driver.SignalName(int(state.Signal()))
		return driver.ExitStatus{Signal: name}
	}
	return driver.ExitStatus{Code: c.cmd.ProcessState.ExitCode()}
}
