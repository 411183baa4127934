package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
)

// detachKeys leave a terminal.
const detachKeys = "\x10\x11"

// viewer is a sero that looks at a terminal, on one of its own.
type viewer struct {
	*terminal
	cmd *exec.Cmd
}

func (m *machine) view(t *testing.T, args ...string) *viewer {
	t.Helper()
	v := &viewer{newTerminal(t), m.command(m.program, args...)}
	v.cmd.Stdin, v.cmd.Stdout, v.cmd.Stderr = v.tty, v.tty, v.tty
	v.cmd.SysProcAttr.Setsid, v.cmd.SysProcAttr.Setctty = true, true
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.cmd.Process.Kill() })
	return v
}

// end waits for the viewer's end and gives its exit code.
func (v *viewer) end() int {
	v.t.Helper()
	timer := time.AfterFunc(20*time.Second, func() { _ = v.cmd.Process.Kill() })
	defer timer.Stop()
	_ = v.cmd.Wait()
	if !v.isAsBefore() {
		v.t.Error("the terminal is not as before")
	}
	return v.cmd.ProcessState.ExitCode()
}

var leftTerminal = regexp.MustCompile(`left terminal ([a-z2-7]+);`)

// openTerminal opens a terminal, leaves it and gives its id.
func (m *machine) openTerminal(t *testing.T) string {
	t.Helper()
	v := m.view(t, "shell")
	v.write("echo its $((40 + 2))\n")
	v.await("its 42")
	v.write(detachKeys)
	if code := v.end(); code != 0 {
		t.Fatalf("leaving a terminal: exit code %d; %s", code, v.text())
	}
	v.await("left terminal ")
	return leftTerminal.FindStringSubmatch(v.text())[1]
}

func TestTerminals(t *testing.T) {
	m := newMachine(t)
	m.ok("up", "--driver", "host")
	m.env = append(m.env, "SHELL=/bin/sh", "ENV=", "PS1=prompt> ")
	id := m.openTerminal(t)
	if list := m.ok("terminal", "ls"); !strings.Contains(list, id) || !strings.Contains(list, "login shell") {
		t.Errorf("B40: the list is %s", list)
	}

	one := m.view(t, "attach")
	one.await("its 42") // the scrollback
	two := m.view(t, "attach", id[:4])
	two.await("sero attach --take-over " + id + " takes over\r")
	two.write("echo second $((1 + 1))\n") // dropped
	one.write("echo first $((1 + 0))\n")
	one.await("first 1")
	two.await("first 1") // both see it
	three := m.view(t, "attach", "--take-over", id)
	three.await("first 1")
	one.await("another viewer writes")
	three.write("echo third $((1 + 2)); stty size\n")
	one.await("third 3")
	one.await("33 99")
	if strings.Contains(one.text(), "second 2") {
		t.Error("B40: two viewers wrote at the same time")
	}
	two.write(detachKeys)
	if code := two.end(); code != 0 {
		t.Errorf("B40: leaving: exit code %d", code)
	}
	three.write(detachKeys)
	three.end()
	one.write("echo fourth $((2 + 2)); stty size\n") // nobody else writes
	one.await("fourth 4")
	one.await("this viewer writes to terminal " + id + "\r")
	three = m.view(t, "attach", "--take-over", id)
	three.await("fourth 4")
	_ = one.cmd.Process.Signal(syscall.SIGHUP) // its window is closed
	one.end()
	three.write("exit 6\n")
	if code := three.end(); code != 6 {
		t.Errorf("B40: the shell's exit code is %d; %s", code, three.text())
	}
	if _, _, code := m.sero("attach", id); code != 125 {
		t.Errorf("B40: a terminal that has ended: %d", code)
	}

	id = m.openTerminal(t)
	if out := m.ok("terminal", "kill"); !strings.Contains(out, id) {
		t.Errorf("B40: killed: %s", out)
	}
	if _, stderr, _ := m.sero("terminal", "ls"); !strings.Contains(stderr, "no terminal is open") {
		t.Errorf("B40: after the kill: %s", stderr)
	}
}

// buildWithHelper gives the directory of a sero that carries the helper, which is
// built once.
func buildWithHelper(t *testing.T) string {
	t.Helper()
	dir, err := withHelper()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// built is where a sero with the helper is, once a test has needed one.
var built string

var withHelper = sync.OnceValues(func() (string, error) {
	packed, err := filepath.Glob("../../core/guest/helper/bin/*.gz")
	if err != nil || len(packed) == 0 {
		if out, err := exec.Command("make", "-C", "../..", "helper").CombinedOutput(); err != nil {
			return "", fmt.Errorf("make helper: %w: %s", err, out)
		}
	}
	if built, err = os.MkdirTemp("", "sero-bin-"); err != nil {
		return "", err
	}
	if out, err := exec.Command("go", "build", "-o", filepath.Join(built, "sero"), ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	return built, nil
})

func TestTerminalOutlivesTheDaemon(t *testing.T) {
	if testing.Short() {
		testutil.Missing(t, "time", "-short")
	}
	host, image := dockertest.Engine(t), dockertest.BaseImage(t)
	m := newMachine(t)
	m.program = filepath.Join(buildWithHelper(t), "sero")
	m.env = append(m.env, "DOCKER_HOST="+host)
	if err := os.WriteFile(filepath.Join(m.dir, "sero.json"), []byte(`{"id": "terminal-test-`+strconv.Itoa(os.Getpid())+`", "driver": "docker", "image": "`+image+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.ok("rm") })
	v := m.view(t, "shell")
	v.write("echo the shell is $$.\n")
	shell := regexp.MustCompile(`the shell is (\d+)\.`)
	for range 1000 {
		if shell.MatchString(v.text()) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	found := shell.FindStringSubmatch(v.text())
	if found == nil {
		t.Fatalf("no shell: %s", v.text())
	}
	if out := m.ok("inspect"); !strings.Contains(out, "helper ") {
		t.Errorf("inspect does not tell of the helper: %s", out)
	}
	if err := m.command("kill", "-KILL", m.pid()).Run(); err != nil {
		t.Fatal(err)
	}
	v.end()

	again := m.view(t, "attach")
	again.await("the shell is " + found[1] + ".") // the scrollback
	again.write("echo and now $$.\n")
	again.await("and now " + found[1] + ".")
	again.write("exit 3\n")
	if code := again.end(); code != 3 {
		t.Errorf("B40: exit code %d; %s", code, again.text())
	}

	// Who stops the workspace is why what runs in it ends, and that is said.
	last, command := m.view(t, "shell"), m.view(t, "exec", "--", "sh", "-c", "echo it runs; sleep 600")
	command.await("it runs")
	last.write("echo it $((1 + 1))\n")
	last.await("it 2")
	m.ok("stop")
	for _, v := range []*viewer{last, command} {
		if code := v.end(); code != 125 || !strings.Contains(v.text(), "was stopped") {
			t.Errorf("the workspace was stopped: exit code %d; %s", code, v.text())
		}
	}
}
