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
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// BenchmarkExec compares a command in a container with one on this machine. The
// driver of the container is the docker command.
func BenchmarkExec(b *testing.B) {
	b.Run("direct", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command("true").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, by := range []way{byDriver, bySocket} {
		b.Run("helper by "+string(by), func(b *testing.B) {
			g := inContainer(b, by)
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
}

// BenchmarkOutput compares how fast the output of a command in a container comes
// with a pipe on this machine.
func BenchmarkOutput(b *testing.B) {
	const size = 256 << 20
	argv := []string{"head", "-c", fmt.Sprint(size), "/dev/zero"}
	b.Run("direct", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Stdout = struct{ io.Writer }{io.Discard} // a pipe
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, by := range []way{byDriver, bySocket} {
		b.Run("helper by "+string(by), func(b *testing.B) {
			g := inContainer(b, by)
			b.SetBytes(size)
			for b.Loop() {
				_, err := g.Exec(b.Context(), driver.ExecSpec{Argv: argv, Dir: "/", ExecID: "output"}, driver.ExecIO{Stdout: io.Discard})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkListenerEvent measures from a listen, and from a close, in a container
// to the core's knowledge of it, and what watching costs the helper there.
func BenchmarkListenerEvent(b *testing.B) {
	id, engine := container(b, true)
	g := guestOf(b, id, bySocket, dockerExec{engine: engine})
	sets := make(chan []driver.Listener, 64)
	ctx, cancel := context.WithCancelCause(b.Context())
	done := make(chan error, 1)
	go func() { done <- g.Listeners(ctx, func(set []driver.Listener) error { sets <- set; return nil }) }()
	<-sets
	// The server listens and closes when it is told to, and then says so.
	said, say := io.Pipe()
	in, tell := io.Pipe()
	go func() {
		_, _ = g.Exec(ctx, driver.ExecSpec{Argv: []string{"python3", "-uc", `
import socket, sys
for line in sys.stdin:
    s = socket.create_server(("127.0.0.1", 0)); port = s.getsockname()[1]; print(port); sys.stdin.readline(); s.close(); print(port)`}, Dir: "/", ExecID: "bench"}, driver.ExecIO{Stdin: in, Stdout: say})
	}()
	ports := bufio.NewScanner(said)
	var worst time.Duration
	for b.Loop() {
		for _, listens := range []bool{true, false} {
			time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond) // at any time between two looks
			fmt.Fprintln(tell)
			ports.Scan()
			began := time.Now()
			isIt := func(l driver.Listener) bool { return fmt.Sprint(l.Port) == ports.Text() }
			for slices.ContainsFunc(<-sets, isIt) != listens {
				continue
			}
			worst = max(worst, time.Since(began))
		}
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
