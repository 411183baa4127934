package host

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/plugins/host/internal/proc"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// driverProcessEnv makes the test binary a driver process that runs a script.
const driverProcessEnv = "SERO_TEST_HOST_DRIVER"

// driverProcess is a process with a driver and no server: what is killed in the
// tests of a driver's death. It runs the script and stays. It says the marker
// prefix, its keeper and, whenever that changes, what it knows.
func driverProcess(script string) int {
	d := New()
	dir, err := os.Getwd()
	if err != nil {
		return 3
	}
	ctx := context.Background()
	if _, err := d.Create(ctx, driver.SandboxSpec{ID: "crash", WorkspaceDir: dir}); err != nil {
		return 4
	}
	if _, err := d.Start(ctx, "crash"); err != nil {
		return 5
	}
	go func() {
		_, _ = d.Exec(ctx, driver.ExecSpec{SandboxID: "crash", Argv: []string{"bash", "-c", script}}, driver.ExecIO{Stdout: os.Stdout})
	}()
	for said := ""; ; time.Sleep(5 * time.Millisecond) {
		commands, orphans := d.processes.known()
		now := fmt.Sprintln(d.processes.prefix, d.processes.keeper.PID(), commands, orphans, d.processes.keeper.Told())
		if now == said || d.processes.keeper.PID() == 0 {
			continue
		}
		said = now
		if _, err := os.Stdout.WriteString(now); err != nil { // the test reads it
			return 6
		}
	}
}

// known counts the commands that are not forgotten, and the orphans.
func (p *processes) known() (commands, orphans int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for e := range p.all {
		if e.sandbox == nil {
			orphans++
		}
	}
	return len(p.all) - orphans, orphans
}

// victim is a driver process to be killed.
type victim struct {
	cmd    *exec.Cmd
	out    *bufio.Reader
	prefix string
	keeper int
	dir    string

	commands, orphans int
	told              bool // the keeper, of all of them
}

func newVictim(t *testing.T, script string, wrapper ...string) *victim {
	t.Helper()
	v := &victim{dir: t.TempDir()}
	argv := append(wrapper, os.Args[0])
	v.cmd = exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	v.cmd.Env = append(os.Environ(), driverProcessEnv+"="+script)
	v.cmd.Dir = v.dir
	v.cmd.Stderr = os.Stderr
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.cmd.Process.Kill(); _ = v.cmd.Wait() })
	v.out = bufio.NewReader(out)
	v.until(t, "there is a keeper", func() bool { return v.prefix != "" })
	made.Lock()
	made.prefixes = append(made.prefixes, v.prefix)
	made.Unlock()
	return v
}

// until reads what the driver process knows until ok.
func (v *victim) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.AfterFunc(patience, func() { _ = v.cmd.Process.Kill() })
	defer limit.Stop()
	for !ok() {
		text, err := v.out.ReadString('\n')
		if err != nil {
			t.Fatalf("not seen: %s; the driver process ended: %v", what, err)
		}
		var now victim
		if _, err := fmt.Sscan(text, &now.prefix, &now.keeper, &now.commands, &now.orphans, &now.told); err == nil { // no line of the script
			v.prefix, v.keeper, v.commands, v.orphans, v.told = now.prefix, now.keeper, now.commands, now.orphans, now.told
		}
	}
}

func (v *victim) pids(t *testing.T, n int) []int {
	t.Helper()
	var pids []int
	eventually(t, "the commands", func() bool {
		pids = numbers(v.dir + "/pids")
		return len(pids) == n
	})
	return pids
}

// wantSoon is for ends that may take two seconds, and a little more where many
// other tests run.
func wantSoon(t *testing.T, since time.Time) {
	t.Helper()
	if took := time.Since(since); took > 4*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestB43KilledDriverLeavesNothing(t *testing.T) {
	var script []string
	n := 1
	for name, spread := range families {
		if name == "own group" { // set -m would change the others
			spread = "bash -c '" + spread + "; wait' &"
		}
		if name == "bare daemon" {
			// Without the marker, in a session of its own and an orphan: the
			// driver has to see it before it can tell the keeper.
			continue
		}
		script = append(script, spread)
		n += strings.Count(spread, ">> pids")
	}
	v := newVictim(t, strings.Join(script, "\n")+"\necho $$ >> pids; wait; sleep 300")
	pids := v.pids(t, n)
	for _, pid := range append(pids, v.keeper) {
		if !alive(pid) {
			t.Fatalf("process %d is not there", pid)
		}
	}
	killed := time.Now()
	if err := v.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all gone", func() bool { return !slices.ContainsFunc(pids, alive) })
	wantSoon(t, killed)
	eventually(t, "the keeper gone", func() bool { return !alive(v.keeper) })
}

func TestB43KilledDriverLeavesNoOrphanWithoutMarker(t *testing.T) {
	v := newVictim(t, families["bare daemon"]+"\nexit 0")
	pids := v.pids(t, 1)
	v.until(t, "the keeper knows the orphan", func() bool { return v.commands == 0 && v.orphans == 1 && v.told })
	if !alive(pids[0]) {
		t.Fatal("the orphan is not there")
	}
	if err := v.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the orphan gone", func() bool { return !alive(pids[0]) && !alive(v.keeper) })
}

func TestKeeperEndsWithoutWork(t *testing.T) {
	v := newVictim(t, "true")
	v.until(t, "there is a command", func() bool { return v.commands == 1 })
	v.until(t, "the command is forgotten", func() bool { return v.commands == 0 })
	if err := v.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the keeper gone", func() bool { return !alive(v.keeper) })
}

func TestKeeperHoldsNothing(t *testing.T) {
	b := newBox(t)
	b.must(b.spec("true"), nil)
	keeper := b.processes.keeper.PID()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", keeper))
	if err != nil {
		testutil.Missing(t, "procfs", err.Error())
	}
	for _, e := range entries {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", keeper, e.Name()))
		if err != nil {
			continue
		}
		switch {
		case target == "/dev/null", strings.HasPrefix(target, "anon_inode:"):
		case strings.HasSuffix(target, "/cgroup"), strings.HasPrefix(target, "/sys/fs/cgroup/"): // of Go's runtime
		case strings.HasPrefix(target, "pipe:") && e.Name() == "3":
		default:
			t.Errorf("descriptor %s is %s", e.Name(), target)
		}
	}
	if p, err := proc.Read(keeper); err != nil || p.Session != keeper {
		t.Errorf("the keeper is not a session of its own: %+v, %v", p, err)
	}
	// Commands do not hold the pipe that tells the keeper of the driver's death.
	if got := b.must(b.script("ls -l /proc/self/fd | grep -c pipe: || true"), nil); got != "1\n" && got != "2\n" {
		t.Errorf("pipes in a command: %q", got)
	}
}

func TestKeeperComesBack(t *testing.T) {
	b := newBox(t)
	b.must(b.spec("true"), nil)
	first := b.processes.keeper.PID()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the keeper noticed", func() bool { return b.processes.keeper.PID() != first })
	eventually(t, "another keeper runs", func() bool {
		b.must(b.spec("true"), nil) // which does not wait for it
		second := b.processes.keeper.PID()
		return second != 0 && second != first && alive(second)
	})
}

func TestCommandsDoNotInheritDescriptors(t *testing.T) {
	v := newVictim(t, `echo $$ >> pids; (ls /dev/fd/; echo over) > fds; sleep 300`, "bash", "-c", `exec 9</dev/null; exec "$0"`)
	v.pids(t, 1)
	eventually(t, "the command's descriptors", func() bool {
		data, _ := os.ReadFile(v.dir + "/fds")
		if strings.Contains(string(data), "9") {
			t.Fatalf("open in a command: %q", data)
		}
		return strings.HasSuffix(string(data), "over\n")
	})
}

func TestCommandsDoNotInheritIgnoredSignals(t *testing.T) {
	// A driver whose parents ignore signals, as nohup and some daemons do.
	v := newVictim(t, `echo $$ >> pids; trap > trap; echo over >> trap; sleep 300`,
		"sh", "-c", `trap "" HUP INT QUIT; exec "$0"`)
	v.pids(t, 1)
	var got string
	eventually(t, "the command's signals", func() bool {
		data, _ := os.ReadFile(v.dir + "/trap")
		got = string(data)
		return strings.HasSuffix(got, "over\n")
	})
	if got != "over\n" { // a shell lists what was ignored at its start
		t.Errorf("ignored in commands: %q", got)
	}
}
