package guest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// localExec is a driver that runs the helper on this machine, so that nothing
// but the helper is measured.
type localExec struct {
	driver.Driver
	helper string
	env    []string
}

func (localExec) Info() driver.Info { return driver.Info{Name: "local"} }

func (d localExec) Exec(ctx context.Context, _ driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	cmd := exec.CommandContext(ctx, d.helper)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdio.Stdin, stdio.Stdout, stdio.Stderr
	cmd.Env = append(os.Environ(), d.env...)
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return driver.ExitStatus{}, driver.AsError(context.Cause(ctx))
	}
	return driver.ExitStatus{Code: cmd.ProcessState.ExitCode()}, err
}

// local is a Guest whose sandbox is this machine.
func local(t testing.TB) *guest.Guest {
	t.Helper()
	return guestOf(t, "local", true, localExec{helper: filepath.Join(helpers(t), "sero-guest-"+runtime.GOARCH)})
}

func BenchmarkExec(b *testing.B) {
	b.Run("direct", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command("true").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("helper", func(b *testing.B) {
		g := local(b)
		n := 0
		for b.Loop() {
			n++
			_, err := g.Exec(b.Context(), driver.ExecSpec{Argv: []string{"true"}, Dir: "/", ExecID: fmt.Sprint(n)}, driver.ExecIO{})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkListenerEvent measures from a listen in a container to the core's
// knowledge of it, and what watching costs the helper there.
func BenchmarkListenerEvent(b *testing.B) {
	id, engine := container(b, true)
	g := guestOf(b, id, true, dockerExec{engine: engine})
	sets := make(chan []driver.Listener, 64)
	ctx, cancel := context.WithCancelCause(b.Context())
	done := make(chan error, 1)
	go func() { done <- g.Listeners(ctx, func(set []driver.Listener) error { sets <- set; return nil }) }()
	<-sets
	// The server says when it listens, and closes when it is told to.
	listened, next := io.Pipe()
	in, tell := io.Pipe()
	go func() {
		_, _ = g.Exec(ctx, driver.ExecSpec{Argv: []string{"python3", "-uc", `
import socket, sys
for line in sys.stdin:
    s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1]); sys.stdin.readline(); s.close()`}, Dir: "/", ExecID: "bench"}, driver.ExecIO{Stdin: in, Stdout: next})
	}()
	ports := bufio.NewScanner(listened)
	var worst time.Duration
	for b.Loop() {
		time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond) // at any time between two looks
		fmt.Fprintln(tell)
		ports.Scan()
		began := time.Now()
		for has := false; !has; {
			for _, found := range <-sets {
				has = has || fmt.Sprint(found.Port) == ports.Text()
			}
		}
		worst = max(worst, time.Since(began))
		fmt.Fprintln(tell)
	}
	b.ReportMetric(float64(worst.Milliseconds()), "ms-worst")
	b.StopTimer()
	_ = tell.Close()
	before := hostCPU(b, id)
	const span = 10 * time.Second
	time.Sleep(span) // a measurement, which nothing is decided on
	b.ReportMetric((hostCPU(b, id)-before).Seconds()/span.Seconds()*100, "%-of-a-core")
	cancel(nil)
	<-done
}

// hostCPU is what the helper's host in a container has used.
func hostCPU(b *testing.B, container string) (used time.Duration) {
	b.Helper()
	cgroups, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, path := range cgroups {
		dir := filepath.Dir(path)
		cgroup, _ := os.ReadFile(path)
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if !strings.Contains(string(cgroup), container) || !strings.HasPrefix(string(cmdline), "sero-guest\x00host\x00") {
			continue
		}
		tasks, _ := filepath.Glob(filepath.Join(dir, "task/*/schedstat"))
		for _, task := range tasks {
			text, _ := os.ReadFile(task)
			var ns int64
			_, _ = fmt.Sscan(string(text), &ns)
			used += time.Duration(ns)
		}
	}
	return used
}
