package conformance

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFAliveKnowsZombies asks for processes as cases do, with each shell there is
// here and with ps in the place of /proc. Issue 6, row F.
func TestFAliveKnowsZombies(t *testing.T) {
	running := exec.CommandContext(t.Context(), "sleep", "600")
	// A name that looks like the rest of the line of a zombie.
	odd := exec.CommandContext(t.Context(), "bash", "-c", `printf 'x) Z 1 (y' >/proc/self/comm; echo named; read -r x`)
	zombie := exec.CommandContext(t.Context(), "true")
	waited := exec.CommandContext(t.Context(), "true")
	named, err := odd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := odd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*exec.Cmd{running, odd, zombie, waited} {
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, c := range []*exec.Cmd{running, odd} {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
		_ = zombie.Wait()
	})
	if err := waited.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := named.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); processLives(zombie.Process.Pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("true does not end")
		}
	}
	if err := syscall.Kill(zombie.Process.Pid, 0); err != nil {
		t.Fatalf("there is no zombie: %v", err)
	}
	for _, shell := range []string{"sh", "dash", "bash", "busybox sh"} {
		argv := strings.Fields(shell)
		if _, err := exec.LookPath(argv[0]); err != nil {
			t.Logf("there is no %s here", argv[0])
			continue
		}
		for _, proc := range []string{"/proc", "/nonexistent"} {
			for what, want := range map[*exec.Cmd]bool{running: true, odd: true, zombie: false, waited: false} {
				args := append(argv[1:len(argv):len(argv)], "-c", aliveScript, "sh", strconv.Itoa(what.Process.Pid), proc)
				out, err := exec.CommandContext(t.Context(), argv[0], args...).CombinedOutput()
				if got := err == nil; got != want || len(out) > 0 {
					t.Errorf("%s with %s: process of %v is alive: %t, want %t (%v, %q)", shell, proc, what.Args, got, want, err, out)
				}
			}
		}
	}
}
