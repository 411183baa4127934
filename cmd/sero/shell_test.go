package main

import (
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// terminal is a person's terminal with sero in it.
type terminal struct {
	t      *testing.T
	master *os.File
	tty    *os.File
	before *term.State
	done   sync.WaitGroup

	mu  sync.Mutex
	out strings.Builder
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, master: master, tty: tty}
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 33, Cols: 99}); err != nil {
		t.Fatal(err)
	}
	if x.before, err = term.GetState(int(tty.Fd())); err != nil {
		t.Fatal(err)
	}
	x.done.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			x.mu.Lock()
			x.out.Write(buf[:n])
			x.mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		tty.Close()
		master.Close()
		x.done.Wait()
	})
	return x
}

func (x *terminal) text() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.out.String()
}

// await waits until the terminal shows text.
func (x *terminal) await(text string) {
	x.t.Helper()
	for range 500 {
		if strings.Contains(x.text(), text) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	x.t.Fatalf("the terminal does not show %q but %q", text, x.text())
}

// awaitEnd waits until text is the last thing that the terminal shows.
func (x *terminal) awaitEnd(text string) {
	x.t.Helper()
	for range 500 {
		if strings.HasSuffix(x.text(), text) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	x.t.Fatalf("the terminal does not end with %q: %q", text, x.text())
}

func (x *terminal) write(text string) {
	x.t.Helper()
	if _, err := io.WriteString(x.master, text); err != nil {
		x.t.Fatal(err)
	}
}

func (x *terminal) isAsBefore() bool {
	now, err := term.GetState(int(x.tty.Fd()))
	return err == nil && *now == *x.before
}

func TestShell(t *testing.T) {
	m := newMachine(t)
	m.ok("up", "--driver", "host")
	m.env = append(m.env, "SHELL=/bin/sh", "ENV=", "PS1=prompt> ")
	for _, c := range []struct {
		name string
		end  func(x *terminal, sero *os.Process)
		code int
	}{
		{"exit", func(x *terminal, _ *os.Process) { x.write("exit 5\n") }, 5},
		{"SIGTERM", func(_ *terminal, p *os.Process) { _ = p.Signal(syscall.SIGTERM) }, 128 + 15},
		{"SIGHUP", func(_ *terminal, p *os.Process) { _ = p.Signal(syscall.SIGHUP) }, 128 + 1},
		{"daemon killed", func(*terminal, *os.Process) { _ = m.command("kill", "-KILL", m.pid()).Run() }, 125},
	} {
		t.Run("B40 "+c.name, func(t *testing.T) {
			x := newTerminal(t)
			cmd := m.command("sero", "shell")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = x.tty, x.tty, x.tty
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			x.await("host mode") // B5
			x.write("stty size; echo term=$TERM\n")
			x.await("33 99")
			x.await("term=xterm-256color")
			if x.isAsBefore() {
				t.Error("the terminal is not raw")
			}
			if err := pty.Setsize(x.tty, &pty.Winsize{Rows: 44, Cols: 111}); err != nil {
				t.Fatal(err)
			}
			for range 100 { // the new size comes soon, not at once
				x.write("stty size\n")
				time.Sleep(50 * time.Millisecond)
				if strings.Contains(x.text(), "44 111") {
					break
				}
			}
			x.await("44 111")
			sleep := sleeps(6501)
			x.write(sleep + "\n")
			awaitRuns(t, sleep)
			x.write("\x03") // a key, for the command
			if !awaitGone(sleep) {
				t.Error("Ctrl-C did not reach the command")
			}
			c.end(x, cmd.Process)
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != c.code {
				t.Errorf("exit code %d, want %d; %s", got, c.code, x.text())
			}
			if !x.isAsBefore() {
				t.Error("the terminal is not as before")
			}
		})
	}
}

// Ctrl-Z on a command without a terminal of its own stops it, and fg continues.
func TestSuspend(t *testing.T) {
	m := newMachine(t)
	m.ok("up", "--driver", "host")
	x := newTerminal(t)
	cmd := m.command("sh", "-i")
	cmd.Env = append(cmd.Env, "ENV=", "PS1=prompt> ")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = x.tty, x.tty, x.tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	x.await("prompt>")
	x.write("sero exec -- sh -c 'echo on=ce; sleep 1; echo twi=ce'\n")
	x.await("\non=ce")
	x.write("\x1a")
	x.await("topped")
	x.write("echo stopp=ed\n")
	x.await("\nstopp=ed")
	x.write("fg\n")
	x.await("\ntwi=ce")
	x.awaitEnd("prompt> ") // before it, what is typed is the command's
	x.write("exit\n")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
