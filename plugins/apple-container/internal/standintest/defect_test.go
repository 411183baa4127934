package standintest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// with runs a test on a version with one container.
func with(t *testing.T, version string, test func(s *Standin, id string)) {
	t.Helper()
	s := Start(t, version, AnyArgv(), Alone())
	test(s, s.container("defect"))
}

// command is a call that the test holds in its hands; it is killed at the end.
func (s *Standin) command(argv ...string) *exec.Cmd {
	s.t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, errors.New("the test is over"))
	s.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, s.Path, argv...)
	cmd.WaitDelay = time.Second
	return cmd
}

// lines collects output and lets a test wait for a part of it.
type lines struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func newLines() *lines { return &lines{changed: make(chan struct{}, 1)} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	select {
	case l.changed <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) wait(t *testing.T, part string) {
	t.Helper()
	l.waitTimes(t, part, 1)
}

func (l *lines) waitTimes(t *testing.T, part string, times int) {
	t.Helper()
	deadline := time.After(patience)
	for strings.Count(l.String(), part) < times {
		select {
		case <-l.changed:
		case <-deadline:
			t.Fatalf("no %q in %q", part, l)
		}
	}
}

// TestOutputIsCutWhereInputSharesItsFile is #1148: -i makes stdin non-blocking,
// and with it a stdout that is the same open file.
func TestOutputIsCutWhereInputSharesItsFile(t *testing.T) {
	for script, whole := range map[string]bool{"": false, "without=stdin-nonblocking": true} {
		with(t, "1.2.2", func(s *Standin, id string) {
			s.Fault(script)
			const size = 4 << 20
			pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err != nil {
				t.Fatal(err)
			}
			here, there := os.NewFile(uintptr(pair[0]), "here"), os.NewFile(uintptr(pair[1]), "there")
			defer here.Close()
			cmd := s.command("exec", "--interactive", id, "head", "-c", "4194304", "/dev/zero")
			cmd.Stdin, cmd.Stdout = there, there
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			there.Close()
			if !whole {
				// Nobody reads until it has ended.
				if err := cmd.Wait(); err != nil {
					t.Fatal(err)
				}
			}
			got, err := io.Copy(io.Discard, here)
			if err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Fatal(err)
			}
			if (got == size) != whole {
				t.Errorf("script %q: %d of %d bytes", script, got, size)
			}
			if whole {
				_ = cmd.Wait()
			}
		})
	}
}

// terminal runs a call on a terminal of its own.
func (s *Standin) terminal(argv ...string) (*exec.Cmd, *os.File, *lines) {
	s.t.Helper()
	cmd := s.command(argv...)
	file, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 30, Cols: 100})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { file.Close() })
	shown := newLines()
	go func() { _, _ = io.Copy(shown, file) }()
	return cmd, file, shown
}

func TestTerminal(t *testing.T) {
	everyVersion(t, func(t *testing.T, s *Standin) {
		id := s.container("terminal")
		cmd, file, shown := s.terminal("exec", "--interactive", "--tty", id, "sh")
		if _, err := file.WriteString("until stty size | grep 30; do sleep 0.1; done\n"); err != nil {
			t.Fatal(err)
		}
		shown.wait(t, "30 100")
		if err := pty.Setsize(file, &pty.Winsize{Rows: 41, Cols: 99}); err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString("until stty size | grep 41; do sleep 0.1; done\n"); err != nil {
			t.Fatal(err)
		}
		shown.wait(t, "41 99")
		if _, err := file.WriteString("exit 5\n"); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 5 {
			t.Errorf("%v", err)
		}
	})
}

// TestRawTerminalProcessesOutput is #2299.
func TestRawTerminalProcessesOutput(t *testing.T) {
	for script, want := range map[string]string{"": "a\r\nb!", "without=terminal-output-processing": "a\nb!"} {
		with(t, "1.2.2", func(s *Standin, id string) {
			s.Fault(script)
			cmd, _, shown := s.terminal("exec", "-it", id, "sh", "-c", `stty raw; printf 'a\nb!'; sleep 0.2`)
			_ = cmd.Wait()
			shown.wait(t, "b!")
			if shown.String() != want {
				t.Errorf("script %q: %q, want %q", script, shown, want)
			}
		})
	}
}

// TestRedirectIsIgnored is #949, in versions before those that the driver takes.
func TestRedirectIsIgnored(t *testing.T) {
	for script, want := range map[string]string{"with=redirect-ignored": "", "": "hello\r\n"} {
		with(t, "0.9.0", func(s *Standin, id string) {
			s.Fault(script)
			cmd := s.command("exec", "-it", id, "echo", "hello")
			var out bytes.Buffer
			cmd.Stdout = &out
			file, err := pty.Start(cmd)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			go func() { _, _ = io.Copy(io.Discard, file) }()
			_ = cmd.Wait()
			if out.String() != want {
				t.Errorf("script %q: stdout %q, want %q", script, &out, want)
			}
		})
	}
}

// TestMissingExecutableHangs is #1277, up to 0.10 and with -it only.
func TestMissingExecutableHangs(t *testing.T) {
	for _, version := range Versions {
		with(t, version, func(s *Standin, id string) {
			cmd, _, shown := s.terminal("exec", "-it", id, "no-such")
			done := make(chan error, 1)
			go func() { done <- cmd.Wait() }()
			if since(version, "0.12.3") {
				<-done
				shown.wait(t, "failed to find target executable no-such")
				return
			}
			select {
			case err := <-done:
				t.Errorf("%s ended: %v: %s", version, err, shown)
			case <-time.After(time.Second):
			}
			_ = cmd.Process.Kill()
			<-done
		})
	}
}

// TestSignals: up to 0.12 they arrive with the numbers of macOS, then not at all.
func TestSignals(t *testing.T) {
	const guest = `for s in TERM USR1 PWR; do trap "echo got $s; exit 9" $s; done; echo ready; while :; do sleep 0.1; done`
	for version, want := range map[string]string{"0.9.0": "got PWR", "0.12.3": "got PWR", "1.0.0": "", "1.2.2": ""} {
		with(t, version, func(s *Standin, id string) {
			cmd := s.command("exec", id, "sh", "-c", guest)
			out, errs := newLines(), newLines()
			cmd.Stdout, cmd.Stderr = out, errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			out.wait(t, "ready")
			if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
			if want == "" {
				errs.wait(t, "missing signal in xpc message")
				return // killed at the end; the guest's process is not
			}
			out.wait(t, want)
			if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 9 {
				t.Errorf("%s: %v", version, err)
			}
		})
	}
}

func TestThirdInterruptEndsTheCLI(t *testing.T) {
	with(t, "1.2.2", func(s *Standin, id string) {
		cmd := s.command("exec", id, "sh", "-c", "echo ready; sleep 1000")
		out, errs := newLines(), newLines()
		cmd.Stdout, cmd.Stderr = out, errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		out.wait(t, "ready")
		for i := range 3 {
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			if i < 2 { // one at a time: equal signals that wait are one
				errs.waitTimes(t, "failed to send signal", i+1)
			}
		}
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("%v", err)
		}
		// And the guest's process goes on: facts 6.4.
		s.Run("exec", id, "sh", "-c", "ps -eo args | grep -c '^sleep 1000'").want(t, 0, "1\n")
	})
}

// TestGrandchildWithOutputOpen is facts 6.2.
func TestGrandchildWithOutputOpen(t *testing.T) {
	with(t, "1.0.0", func(s *Standin, id string) {
		r := s.Run("exec", id, "sh", "-c", "sleep 30 & echo text; exit 7")
		if r.Code != 1 || r.Stdout != "text\n" || !strings.HasPrefix(r.Stderr, "Error: failed to exec process") {
			t.Errorf("%+v", r)
		}
		s.Run("exec", id, "sh", "-c", "sleep 30 >/dev/null 2>&1 & echo text; exit 7").want(t, 7, "text\n")
	})
}

// TestEnvironmentIsKept is facts 6.1.
func TestEnvironmentIsKept(t *testing.T) {
	s := Start(t, "1.2.2", AnyArgv(), Alone())
	id := s.container("env", "--env", "A=create", "--env", "B=create")
	s.Run("exec", "--env", "A=exec", "--env", "C=exec", id, "sh", "-c", "echo $A $B $C").want(t, 0, "create create exec\n")
	s.Run("exec", id, "env", "A=exec", "sh", "-c", "echo $A").want(t, 0, "exec\n")
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("# a comment\n\nD=with spaces = and more\n  E=e\rF=f\u2028G=\"g\"  \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Run("exec", "--env-file", file, id, "sh", "-c", `echo "$D,$E,$F,$G,"`).want(t, 0, "with spaces = and more,e,f,\"g\"  ,\n")
}

// TestSameDirectoryTwice is facts 5.3.
func TestSameDirectoryTwice(t *testing.T) {
	tests := map[string][]string{ // version: what happens with ro first, with ro last
		"0.9.0": {"refused", "refused"}, "0.10.0": {"ro", "rw"}, "0.12.3": {"ro", "rw"}, "1.0.0": {"rw", "ro"}, "1.2.2": {"rw", "ro"},
	}
	for version, want := range tests {
		s := Start(t, version, AnyArgv(), Alone())
		dir := t.TempDir()
		for i, options := range [][2]string{{":ro", ""}, {"", ":ro"}} {
			id := []string{"first", "last"}[i]
			s.must("create", "--name", id, "--volume", dir+":/a"+options[0], "--volume", dir+":/b"+options[1], "--entrypoint", "/bin/sleep", "sero-base:bookworm", "infinity")
			r := s.Run("start", id)
			got := "refused"
			if r.Code == 0 {
				got = "rw"
				a, b := s.Run("exec", id, "touch", "/a/f"), s.Run("exec", id, "touch", "/b/f")
				if a.Code != b.Code {
					t.Errorf("%s: one share has two rules", version)
				}
				if a.Code != 0 {
					got = "ro"
				}
			}
			if got != want[i] {
				t.Errorf("%s, read-only %s: %s, want %s: %s", version, id, got, want[i], r.Stderr)
			}
		}
	}
}

func TestFailingExecBreaksOldContainers(t *testing.T) {
	with(t, "0.9.0", func(s *Standin, id string) {
		s.Fault("with=exec-breaks-container")
		s.Run("exec", id, "no-such")
		if r := s.Run("start", id); r.Code != 1 || !strings.Contains(r.Stderr, "config.json") {
			t.Errorf("%+v", r)
		}
	})
}
