package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// blocked runs a program with all signals blocked, or with those of its first
// argument, for what starts sero may have done so.
func blocked() {
	runtime.LockOSThread()
	var set unix.Sigset_t
	for i := range set.Val {
		set.Val[i] = ^uint64(0)
	}
	if os.Args[1] == "child" {
		set = unix.Sigset_t{Val: [16]uint64{1 << (unix.SIGCHLD - 1)}}
	}
	err := unix.PthreadSigmask(unix.SIG_SETMASK, &set, nil)
	if err == nil {
		err = syscall.Exec(os.Args[2], os.Args[2:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1) //nolint:forbidigo // it is a program's main function
}

func init() { standIns["blocked"] = blocked }

// TestA11NothingOfTheFirstCommandStays starts daemons from scripts that hold
// files, ignore and block signals and set umasks. What the daemon, its drivers and
// the commands of host mode have is the same each time.
func TestA11NothingOfTheFirstCommandStays(t *testing.T) {
	sero, err := exec.LookPath("sero")
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := exec.LookPath("blocked")
	if err != nil {
		t.Fatal(err)
	}
	const ignoreAll = "trap '' HUP INT QUIT PIPE CHLD TSTP TTIN TTOU USR1 USR2 ALRM WINCH TERM CONT; "
	for name, script := range map[string]string{
		"benign":                   "%s",
		"a lock":                   "exec 9>lock; flock 9; %s",
		"many files":               "exec 3<. 7>>seven 9>lock; flock 9; %s",
		"nohup":                    "nohup %s",
		"in the background":        "%s & wait $!",
		"all ignored":              ignoreAll + "%s",
		"all blocked":              "exec " + blocks + " all %s",
		"SIGCHLD blocked":          "exec " + blocks + " child %s",
		"umask 077":                "umask 077; %s",
		"umask 000":                "umask 000; %s",
		"all of it, in a daemon's": ignoreAll + "umask 077; exec 9>lock; flock 9; exec " + blocks + " all %s",
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			shell := m.command("/bin/bash", "-c", fmt.Sprintf(script, sero+" exec --driver host -- true"))
			if out, err := shell.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if out, err := m.command("flock", "-n", "lock", "true").CombinedOutput(); err != nil {
				t.Errorf("the script's lock is still held: %v: %s", err, out)
			}
			m.wantCleanProcesses(2)
			const look = `grep -E '^Sig(Ign|Blk)' /proc/self/status; umask; ls -l /proc/$$/fd | grep -c "$PWD" | cat`
			if got := strings.Fields(m.ok("exec", "--", "sh", "-c", look)); strings.Join(got, " ") != "SigBlk: 0000000000000000 SigIgn: 0000000000000000 0022 0" {
				t.Errorf("a command has %v", got)
			}
		})
	}
}

// TestA11DaemonInTheForegroundIsClean starts a daemon by hand, under nohup, which
// it heeds, and in a script that holds a file.
func TestA11DaemonInTheForegroundIsClean(t *testing.T) {
	sero, err := exec.LookPath("sero")
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t)
	serve := m.command("/bin/bash", "-c", "umask 077; exec 9>lock; flock 9; exec nohup "+sero+" serve")
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serve.Wait() }()
	for strings.Contains(m.ok("daemon", "status"), "is not running") {
		select {
		case err := <-ended:
			t.Fatal(err)
		default:
		}
	}
	m.ok("exec", "--driver", "host", "--", "true")
	m.wantCleanProcesses(2)
	if err := serve.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if pid := m.pid(); pid != fmt.Sprint(serve.Process.Pid) {
		t.Errorf("after a hangup the daemon is process %s", pid)
	}
	m.ok("daemon", "stop")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// wantCleanProcesses looks at the daemon and at what descends from it but
// commands, which are at least some.
func (m *machine) wantCleanProcesses(least int) {
	m.t.Helper()
	pids := []string{m.pid()}
	for i := 0; i < len(pids); i++ {
		children, err := filepath.Glob("/proc/" + pids[i] + "/task/*/children")
		if err != nil {
			m.t.Fatal(err)
		}
		for _, file := range children {
			text, _ := os.ReadFile(file)
			pids = append(pids, strings.Fields(string(text))...)
		}
	}
	looked := 0
	for _, pid := range pids {
		status, err := os.ReadFile("/proc/" + pid + "/status")
		args, _ := os.ReadFile("/proc/" + pid + "/cmdline")
		if err != nil || strings.HasPrefix(string(args), "sero-host-keeper") { // which ignores signals on purpose
			continue
		}
		looked++
		for _, want := range []string{"SigIgn:\t0000000000000000\n", "Umask:\t0022\n"} {
			if !strings.Contains(string(status), want) {
				m.t.Errorf("process %s, %q: not %q but:\n%s", pid, args, want, status)
			}
		}
		// Go blocks signals in one thread of its own.
		threads, _ := filepath.Glob("/proc/" + pid + "/task/*/status")
		if !slices.ContainsFunc(threads, func(file string) bool {
			text, _ := os.ReadFile(file)
			return strings.Contains(string(text), "SigBlk:\t0000000000000000\n")
		}) {
			m.t.Errorf("process %s, %q: all threads block signals", pid, args)
		}
		if dir, err := os.Readlink("/proc/" + pid + "/cwd"); err != nil || dir != "/" {
			m.t.Errorf("process %s is in %s, %v", pid, dir, err)
		}
		files, _ := filepath.Glob("/proc/" + pid + "/fd/*")
		for _, file := range files {
			if to, err := os.Readlink(file); err == nil && strings.HasPrefix(to, m.dir) {
				m.t.Errorf("process %s has %s open as %s", pid, to, file)
			}
		}
	}
	if looked < least {
		m.t.Errorf("only %d processes of %v", looked, pids)
	}
}
