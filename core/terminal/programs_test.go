package terminal

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// B: what people use, through a real pseudo-terminal: who comes later sees what
// the first viewer does, with wide characters, and after a change of the size.
func TestBPrograms(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "text")
	if err := os.WriteFile(file, []byte(strings.Repeat("first\n日本語 and é\nemoji 🎉 end\n", 60)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		argv        []string
		shows, keys string
	}{
		{[]string{"vim", "-u", "NONE", "-i", "NONE", "-n", file}, "日本語", "jjix\x1bG"},
		{[]string{"less", file}, "日本語", "  k"},
		{[]string{"htop"}, "PID", ""},
		{[]string{"tmux", "-L", filepath.Base(dir), "-f", "/dev/null", "new-session", "cat " + file + "; exec cat"}, "日本語", "typed\r"},
		{[]string{"fish", "--no-config", "--private"}, "@", "echo 日本\r"},
	} {
		t.Run(c.argv[0], func(t *testing.T) {
			path, err := exec.LookPath(c.argv[0])
			if err != nil {
				testutil.Missing(t, c.argv[0], "the program is not installed")
			}
			cmd := exec.Command(path, c.argv[1:]...)
			cmd.Env = append(os.Environ(), "TERM=xterm-256color", "LC_ALL=C.UTF-8", "HOME="+dir, "XDG_CONFIG_HOME="+dir)
			master, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			last := time.Now()
			s := newScreen(usualSize)
			var reading sync.WaitGroup
			reading.Go(func() {
				buf := make([]byte, 4096)
				for {
					n, err := master.Read(buf)
					mu.Lock()
					s.write(buf[:n], screenAnswers)
					if answers := s.answers; len(answers) > 0 { // nobody is there
						s.answers = nil
						_, _ = master.Write(answers)
					}
					last = time.Now()
					mu.Unlock()
					if err != nil {
						return
					}
				}
			})
			defer func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				if c.argv[0] == "tmux" {
					_ = exec.Command(path, "-L", filepath.Base(dir), "kill-server").Run()
				}
				reading.Wait()
				master.Close()
			}()
			check := func(size driver.TerminalSize, shows string) {
				t.Helper()
				for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
					mu.Lock()
					copied := drawn(size, string(s.replay(size)))
					quiet := time.Since(last) > 200*time.Millisecond || c.argv[0] == "htop"
					done := quiet && strings.Contains(s.shown().String(), shows)
					same := s.shown().Render() == copied.shown().Render() && s.shown().CursorPosition() == copied.shown().CursorPosition() && s.modes.Set() == copied.modes.Set()
					a, b, asks := s.shown().String(), copied.shown().String(), copied.answers
					mu.Unlock()
					if !done && time.Now().Before(deadline) {
						continue
					}
					if !done || !same || len(asks) > 0 {
						t.Errorf("shown %v, the same %v, asked %q: the screen is\n%s\nand who comes later sees\n%s", done, same, asks, a, b)
					}
					return
				}
			}
			check(usualSize, c.shows)
			if _, err := io.WriteString(master, c.keys); err != nil {
				t.Fatal(err)
			}
			check(usualSize, "")
			size := driver.TerminalSize{Rows: 30, Cols: 100}
			mu.Lock()
			s.resize(size)
			mu.Unlock()
			if err := pty.Setsize(master, &pty.Winsize{Rows: 30, Cols: 100}); err != nil {
				t.Fatal(err)
			}
			check(size, "")
		})
	}
}
