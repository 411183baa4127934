package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/paths"
)

// random gives the same bytes each time.
func random() io.Reader { return rand.NewChaCha8([32]byte{1, 2, 3}) }

// Much goes through the sero that people have. The test's own may have the race
// detector, which makes each byte a hundred times as dear: less does there.
func TestBulkKeepsItsSum(t *testing.T) {
	if testing.Short() {
		t.Skip("200 MB")
	}
	t.Run("as built", func(t *testing.T) {
		m := newMachine(t)
		m.program = filepath.Join(buildWithHelper(t), "sero")
		m.keepsSum(t, 200<<20)
	})
	t.Run("as tested", func(t *testing.T) { newMachine(t).keepsSum(t, 20<<20) })
}

// keepsSum sends so many bytes into a command, and through one.
func (m *machine) keepsSum(t *testing.T, size int64) {
	sum := sha256.New()
	if _, err := io.CopyN(sum, random(), size); err != nil {
		t.Fatal(err)
	}
	want := hex.EncodeToString(sum.Sum(nil))

	t.Run("B39 in", func(t *testing.T) {
		cmd := m.command(m.program, "exec", "--", "sha256sum")
		cmd.Stdin = io.LimitReader(random(), size)
		out, stderr, code := m.outcome(cmd)
		if code != 0 || !strings.HasPrefix(out, want) {
			t.Errorf("exit code %d, %s%s; want %s", code, out, stderr, want)
		}
	})
	t.Run("B39 through", func(t *testing.T) {
		cmd := m.command(m.program, "exec", "--", "cat")
		cmd.Stdin = io.LimitReader(random(), size)
		got := sha256.New()
		cmd.Stdout = got
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		if hex.EncodeToString(got.Sum(nil)) != want {
			t.Error("the sum is another")
		}
	})
}

// What a command writes just before it ends arrives whole.
func TestB39LastBytesArrive(t *testing.T) {
	t.Run("as built", func(t *testing.T) {
		m := newMachine(t)
		m.program = filepath.Join(buildWithHelper(t), "sero")
		m.lastBytesArrive(t, 20)
	})
	t.Run("as tested", func(t *testing.T) { newMachine(t).lastBytesArrive(t, 4) })
}

func (m *machine) lastBytesArrive(t *testing.T, runs int) {
	const size = 8 << 20
	for i := range runs {
		cmd := m.command(m.program, "exec", "--", "head", "-c", fmt.Sprint(size), "/dev/zero")
		out, stderr, code := m.outcome(cmd)
		if code != 0 || len(out) != size {
			t.Fatalf("run %d: exit code %d, %d bytes of %d; %s", i, code, len(out), size, stderr)
		}
	}
}

// B41: a client that is killed takes its command along.
func TestB41KilledClientEndsItsCommand(t *testing.T) {
	m := newMachine(t)
	m.ok("up")
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			args := sleeps(6300 + int(sig))
			cmd := m.command("sero", append([]string{"exec", "--"}, strings.Fields(args)...)...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			awaitRuns(t, args)
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if !awaitGone(args) {
				t.Errorf("%s still runs", args)
			}
		})
	}
}

// Twenty commands at once with no daemon make one daemon.
func TestOneDaemon(t *testing.T) {
	m := newMachine(t)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { m.ok("ls") })
	}
	all.Wait()
	log, err := os.ReadFile(filepath.Join(filepath.Dir(m.dir), ".sero", "log", "daemon.log"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), "the daemon serves"); n != 1 {
		t.Errorf("%d daemons served:\n%s", n, log)
	}
}

// F: a daemon that another command starts begins only while that one waits, and then
// stays. One that came late took the locks after all others had ended.
func TestFDaemonThatComesLate(t *testing.T) {
	m := newMachine(t)
	serve := func() (*exec.Cmd, *os.File) {
		t.Helper()
		input, waits, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := m.command("sero", "serve", "--json", "--awaited")
		cmd.Stdin = input
		if err := errors.Join(cmd.Start(), input.Close()); err != nil {
			t.Fatal(err)
		}
		return cmd, waits
	}
	late, waits := serve()
	_ = waits.Close()
	if err := late.Wait(); err != nil {
		t.Errorf("it came late: %v", err)
	}
	if out := m.ok("daemon", "status"); !strings.Contains(out, "is not running") {
		t.Errorf("it stays: %s", out)
	}
	inTime, waits := serve()
	m.eventually("it serves", func() bool { return !strings.Contains(m.ok("daemon", "status"), "is not running") })
	_ = waits.Close()
	m.ok("exec", "--driver", "host", "--", "true")
	if pid := m.pid(); pid != fmt.Sprint(inTime.Process.Pid) {
		t.Errorf("the daemon is process %s, not %d", pid, inTime.Process.Pid)
	}
	m.ok("daemon", "stop")
	if err := inTime.Wait(); err != nil {
		t.Error(err)
	}
}

// F: a daemon is ended also while it starts, and while it already ends.
func TestFStopWaitsForADaemonThatStarts(t *testing.T) {
	m := newMachine(t)
	m.ok("ls")
	m.ok("daemon", "stop")
	home := filepath.Join(filepath.Dir(m.dir), ".sero")
	holder := m.command("flock", paths.HomeLock(home), "sh", "-c", "echo $$; exec cat")
	input, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = holder.Wait() }()
	defer input.Close()
	starting := paths.Holder{Home: home}
	if _, err := fmt.Fscan(output, &starting.PID); err != nil {
		t.Fatal(err)
	}
	if err := starting.Write(paths.HomeLock(home)); err != nil {
		t.Fatal(err)
	}
	var stopped atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.ok("daemon", "stop")
		stopped.Store(true)
	}()
	for range 20 {
		if m.ok("daemon", "status"); stopped.Load() {
			t.Fatal("it does not wait for who has the lock")
		}
	}
	_ = input.Close()
	<-ended
}

// B8, B43: when the daemon is killed, what it ran is gone, and the next command
// works and shows no ghosts.
func TestB43KilledDaemon(t *testing.T) {
	m := newMachine(t)
	m.ok("up", "--driver", "host")
	sleep, dev := sleeps(6401), fmt.Sprint("npm run dev ", os.Getpid())
	m.ok(append([]string{"run", "--name", "web", "--"}, strings.Fields(dev)...)...)
	client := m.command("sero", append([]string{"exec", "--"}, strings.Fields(sleep)...)...)
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	awaitRuns(t, sleep)
	awaitRuns(t, dev)
	pid := m.pid()
	if out, err := m.command("kill", "-KILL", pid).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_ = client.Wait()
	if code := client.ProcessState.ExitCode(); code != 125 {
		t.Errorf("the client's exit code is %d, want 125", code)
	}
	for _, args := range []string{sleep, dev} {
		if !awaitGone(args) {
			t.Errorf("%s still runs", args)
		}
	}
	if out := m.ok("ls"); !strings.Contains(out, "ws") || strings.Contains(out, "web:") {
		t.Errorf("ls shows %s", out)
	}
	if m.pid() == pid {
		t.Error("the daemon is the same")
	}
}

// A daemon of an earlier version takes no pipe: input and output go in frames.
func TestB39WithoutPipes(t *testing.T) {
	m := newMachine(t)
	m.ok("up")
	m.takesNoPipes()
	cmd := m.command("sero", "exec", "--", "sh", "-c", "cat; exit 3")
	text := strings.Repeat("y\n", 2000000)
	cmd.Stdin = strings.NewReader(text)
	out, stderr, code := m.outcome(cmd)
	if code != 3 || out != text {
		t.Errorf("exit code %d, %d bytes, %s", code, len(out), stderr)
	}
}

// takesNoPipes has the daemon be as those of earlier versions.
func (m *machine) takesNoPipes() {
	m.t.Helper()
	for _, v := range m.env {
		if dir, ok := strings.CutPrefix(v, paths.RunVariable+"="); ok {
			if err := os.Remove(paths.Pipes(dir)); err != nil {
				m.t.Fatal(err)
			}
		}
	}
}

// B41: who kills a client or the daemon cuts a command's input, and half of it must
// not look whole to the command.
func TestB41AKillIsNoEndOfInput(t *testing.T) {
	for _, killed := range []string{"client", "client without pipes", "daemon"} {
		t.Run(killed, func(t *testing.T) {
			m := newMachine(t)
			m.ok("up", "--driver", "host")
			if killed == "client without pipes" {
				m.takesNoPipes()
			}
			cmd := m.command("sero", "exec", "--", "sh", "-c", `trap "" TERM; echo $$ >pid; cat >half && echo whole >whole; exec sleep 600`)
			input, give, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer give.Close() // after the end: the input itself goes on
			cmd.Stdin = input
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			_ = input.Close()
			if _, err := give.WriteString("half\n"); err != nil {
				t.Fatal(err)
			}
			m.eventually("the input comes", func() bool { return m.read("half") == "half\n" })
			victim := fmt.Sprint(cmd.Process.Pid)
			if killed == "daemon" {
				victim = m.pid()
			}
			if out, err := m.command("kill", "-KILL", victim).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			_ = cmd.Wait()
			pid := strings.TrimSpace(m.read("pid"))
			m.eventually("the command is gone", func() bool {
				_, err := os.Stat(filepath.Join("/proc", pid))
				return err != nil
			})
			if m.read("whole") != "" {
				t.Error("it took what had come for all of its input")
			}
		})
	}
}

// eventually waits until a condition holds.
func (m *machine) eventually(what string, is func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("not in time: %s", what)
		}
	}
}

// read gives what is in a file of the workspace, nothing while it is not there.
func (m *machine) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(m.dir, name))
	return string(text)
}

// Who stops reading ends the command, as in a pipe of the shell.
func TestB41AReaderThatLeavesEndsTheCommand(t *testing.T) {
	m := newMachine(t)
	out, stderr, _ := m.outcome(m.command("sh", "-c", `sero exec -- sh -c 'echo $$; exec yes' | head -n 2`))
	pid, yes, _ := strings.Cut(out, "\n")
	if yes != "y\n" {
		t.Fatalf("%q, %s", out, stderr)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join("/proc", pid)); err != nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %s still runs", pid)
		}
	}
}
