package main

import (
	"context"
	"crypto/rand"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// markName is a variable in the environment of every command. Processes inherit
// it, so it finds those too that have left the command's process group.
const markName = "SERO_HELLO"

// newMark makes a mark that is nobody else's. A longer one that begins with it
// and a dot is below it: driver, sandbox, command.
func newMark() string { return markName + "=" + rand.Text() + "." }

// target is a set of processes: those that carry the mark or one below it, and
// those of the process groups. Groups find a process that cleared its
// environment; marks find one that left its group, but on systems that hide
// environments.
type target struct {
	mark   string
	groups []int
}

// pids lists the processes there are of it, and those of before that are still
// there: one that is about to end has no environment any more. A zombie has ended;
// when its parent asks how is not this driver's doing.
func (t target) pids(ctx context.Context, before []int) ([]int, error) {
	out, err := exec.CommandContext(ctx, "ps", psFlags(), "-o", "pid=,pgid=,stat=,command=").Output()
	if err != nil {
		return before, err
	}
	var pids []int
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(fields[2], "Z") {
			continue
		}
		pid, err := strconv.Atoi(fields[0])
		group, groupErr := strconv.Atoi(fields[1])
		hasMark := func(word string) bool { return strings.HasPrefix(word, t.mark) }
		if err == nil && groupErr == nil &&
			(slices.Contains(t.groups, group) || slices.Contains(before, pid) || slices.ContainsFunc(fields[3:], hasMark)) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func psFlags() string {
	if runtime.GOOS == "darwin" {
		return "-axEww"
	}
	return "axeww"
}

// patience bounds the wait for what was killed to be gone from the system, and
// each look at it.
const patience = 3 * time.Second

// end asks the processes to exit, kills those that are left after grace or the
// end of ctx, and waits until they are gone.
func (t target) end(ctx context.Context, grace time.Duration) {
	var pids []int
	signal := func(s syscall.Signal) (gone bool) {
		look, cancel := context.WithTimeoutCause(context.Background(), patience, errLost)
		defer cancel()
		var err error
		pids, err = t.pids(look, pids)
		for _, pid := range pids {
			_ = syscall.Kill(pid, s)
		}
		return err == nil && len(pids) == 0
	}
	signal(syscall.SIGTERM)
	asked, cancel := context.WithTimeoutCause(ctx, grace, errLost)
	defer cancel()
	poll(asked, func() bool { return signal(0) })

	killed, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), patience, errLost)
	defer cancel()
	poll(killed, func() bool { return signal(syscall.SIGKILL) }) // with what they started meanwhile
}

// poll returns when done does so or ctx ends.
func poll(ctx context.Context, done func() bool) {
	for !done() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

// guard starts a process that outlives this one by a moment, however this one
// ends, and kills whatever carries the mark then. It returns the end that must
// stay open until that.
func guard(mark string) (*os.File, error) {
	// cat ends when this process does. The brackets keep the shell from finding
	// itself.
	mark = strings.Replace(mark, "=", "[=]", 1)
	script := `cat >/dev/null
for round in 1 2 3; do
  ps ` + psFlags() + ` -o pid=,command= | grep "$1" | while read -r pid rest; do kill -KILL "$pid"; done
done`
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command("sh", "-c", script, "sh", mark) //nolint:noctx // it outlives this process
	cmd.Stdin = r
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		w.Close()
		return nil, err
	}
	go func() { _ = cmd.Wait() }()
	return w, nil
}
