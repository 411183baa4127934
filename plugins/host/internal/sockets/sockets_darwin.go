package sockets

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	minInterval = 500 * time.Millisecond // a look is a run of lsof
	lookTimeout = 5 * time.Second        // bounds one look
)

// finder asks lsof, which is part of macOS: the system has no other public way
// to the sockets of a process.
type finder struct{}

func (*finder) close() {}

func (*finder) changed() bool { return true }

func (*finder) find(pids []int) ([]Socket, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), lookTimeout, errors.New("lsof took too long"))
	defer cancel()
	list := make([]string, len(pids))
	for i, pid := range pids {
		list[i] = strconv.Itoa(pid)
	}
	cmd := exec.CommandContext(ctx, "/usr/sbin/lsof", "-nP", "-a", "-p", strings.Join(list, ","), "-iTCP", "-sTCP:LISTEN", "-Fpn")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	// lsof exits with 1 when a process has no such socket or is gone.
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
		return nil, fmt.Errorf("list listening sockets with lsof: %w", err)
	}
	return parseLsof(string(out), pids), nil
}
