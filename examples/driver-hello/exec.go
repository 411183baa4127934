package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// command is one command in a sandbox.
type command struct {
	cmd   *exec.Cmd
	pipes *pipes
	mark  string        // of it and of all that it started
	done  chan struct{} // closed when it has ended and its output is out
}

func (h *hello) Exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	c, err := h.start(spec, stdio)
	if err != nil {
		return driver.ExitStatus{}, err
	}
	if stdio.Started != nil {
		stdio.Started(int64(c.cmd.Process.Pid))
	}
	c.pipes.copy()
	go func() { // goes on after Exec when the command is detached
		defer close(c.done)
		c.wait()
		h.forget(spec.SandboxID, c)
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
		target{c.mark, []int{c.cmd.Process.Pid}}.end(context.WithoutCancel(ctx), grace)
		<-c.done
	}
	return driver.ExitStatus{}, err
}

// start starts a command in a process group of its own.
func (h *hello) start(spec driver.ExecSpec, stdio driver.ExecIO) (*command, error) {
	h.mu.Lock() // until the command runs, so that Stop sees it
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
	h.guarded.Do(func() { h.lifeline, err = guard(h.mark) })
	if err != nil {
		return nil, driver.Errorf(driver.Internal, "starting the guard: %w", err)
	}
	h.commands++
	mark := b.mark + strconv.Itoa(h.commands) + "."
	env := append(environment(b.env, spec.Env), mark)
	file, err := lookUp(spec.Argv[0], dir, env)
	if err != nil {
		return nil, err
	}
	c := &command{mark: mark, done: make(chan struct{}), pipes: newPipes(stdio), cmd: &exec.Cmd{
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
// left behind goes on; Stop finds it by its mark.
func (c *command) wait() {
	_ = c.cmd.Wait() // its state tells how it ended
	c.pipes.finish()
}

func (c *command) status() driver.ExitStatus {
	state, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && state.Signaled() {
		name, _ := driver.SignalName(int(state.Signal()))
		return driver.ExitStatus{Signal: name}
	}
	return driver.ExitStatus{Code: c.cmd.ProcessState.ExitCode()}
}
