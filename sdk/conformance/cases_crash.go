package conformance

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func crashCases() []Case {
	return engine([]Case{
		{
			ID: "CRASH-1", Group: "crash", Run: crashTruth,
			Must: "after a crash a new driver tells the truth: what it lists can be described and removed, what is gone is NOT_FOUND",
		},
		{
			ID: "CRASH-2", Group: "crash", Run: crashCommands,
			Must: "nothing that a command of a crashed driver started on the host goes on",
		},
		{
			ID: "ORPHAN-1", Group: "crash", Run: orphan,
			Must: "when its host is killed, the driver and what it runs on the host are gone within two seconds",
		},
	})
}

func crashTruth(t T, s *Session) {
	o := launchOptions{dir: s.r.dir()}
	first := s.launch(t, o)
	spec := s.Spec(t)
	mark := map[string]string{labelRun: s.r.nonce, driver.LabelSpecHash: spec.Labels[driver.LabelSpecHash]}
	s.runningOn(t, first, spec)
	first.Kill()
	<-first.Exited()
	second := s.launch(t, o)
	s.willRemove(t, second, spec.ID)
	listed, err := second.List(s.Ctx, mark)
	s.OK(t, "List", err)
	_, err = second.Get(s.Ctx, spec.ID)
	switch {
	case len(listed) > 0 && err != nil:
		t.Errorf("List has the sandbox as %s, Get says %v", listed[0].State, err)
	case len(listed) == 0 && driver.ReasonOf(err) != driver.NotFound:
		t.Errorf("List does not have the sandbox, Get says %v", describeAnswer(err))
	}
	s.OK(t, "Remove", second.Remove(s.Ctx, spec.ID, true))
	s.runningOn(t, second, spec)
}

// marker is a sleep that is found among the host's processes by its length.
func (s *Session) marker() (script, mark string) {
	mark = strconv.Itoa(700_000_000 + rand.IntN(100_000_000))
	return "sleep " + mark + " & echo up; sleep " + mark, "sleep " + mark
}

func crashCommands(t T, s *Session) {
	p := s.Launch(t)
	id := s.runningOn(t, p, s.Spec(t)).ID
	script, mark := s.marker()
	c := s.Begin(t, p, s.script(id, script))
	c.Expect(t, "up")
	p.Kill()
	if s.r.shake.Info.Isolation != driver.IsolationNone {
		second := s.Launch(t) // what an engine runs ends with its sandbox
		s.OK(t, "Remove", second.Remove(s.Ctx, id, true))
	}
	gone := s.eventually(2*time.Second, func() bool { return len(hostCommands(mark)) == 0 })
	for _, line := range hostCommands(mark) {
		if !gone {
			t.Errorf("still there: %s", line)
		}
	}
	killCommands(mark)
}

func orphan(t T, s *Session) {
	self := hostProgram()
	if self == "" {
		t.Skipf("this program cannot be the host that is killed: its main does not call conformance.HostMain first")
	}
	script, mark := s.marker()
	spec := s.Spec(t)
	h := startHost(t, self, hostOrder{
		Path: s.r.c.Path, Args: s.r.c.Args, Env: s.r.env(s.r.dir()), RunDir: s.r.dir(),
		Settings: s.r.c.Settings, Spec: spec, Script: script,
	})
	s.onKill(func() { h.kill(); syscall.Kill(-h.driverPID, syscall.SIGKILL) }) //nolint:errcheck // it may be gone
	t.Cleanup(func() {
		h.kill()
		_ = syscall.Kill(-h.driverPID, syscall.SIGKILL)
		killCommands(mark)
		p, err := s.r.launch(context.WithoutCancel(s.Ctx), launchOptions{})
		if err == nil {
			_ = p.Remove(context.WithoutCancel(s.Ctx), spec.ID, true)
			closeProcess(p)
		}
	})
	h.kill()
	gone := func() bool {
		onHost := s.r.shake.Info.Isolation == driver.IsolationNone && len(hostCommands(mark)) > 0
		return !processLives(h.driverPID) && !onHost
	}
	if !s.eventually(2*time.Second, gone) {
		t.Errorf("the driver (process %d) lives: %t; its commands: %v", h.driverPID, processLives(h.driverPID), hostCommands(mark))
	}
}

func cleanUpCases() []Case {
	cases := engine([]Case{
		{
			ID: "CLEAN-1", Group: "clean-up", Run: cleanList,
			Must: "once the suite has removed its sandboxes, List has none of them",
		},
		{
			ID: "CLEAN-2", Group: "clean-up", Run: cleanFiles,
			Must: "a driver that has ended leaves no file behind in its run and temporary directories",
		},
		{
			ID: "CLEAN-3", Group: "clean-up", Run: cleanProcesses,
			Must: "a driver that has ended leaves no process behind",
		},
	})
	for i := range cases {
		cases[i].last = true
	}
	return cases
}

func cleanList(t T, s *Session) {
	d := s.Driver(t)
	spec := s.Spec(t)
	s.Create(t, d, spec)
	s.OK(t, "Remove", d.Remove(s.Ctx, spec.ID, true))
	all, err := d.List(s.Ctx, map[string]string{labelRun: s.r.nonce})
	s.OK(t, "List", err)
	for _, sb := range all {
		t.Errorf("%s is still there, %s", sb.ID, sb.State)
	}
}

// wholeLife runs a driver from its start to its orderly end.
func (s *Session) wholeLife(t T) (dir string, descendants []process) {
	t.Helper()
	dir = s.r.dir()
	p := s.launch(t, launchOptions{dir: dir})
	spec := s.Spec(t)
	s.runningOn(t, p, spec)
	if o := s.exec(p, s.script(spec.ID, "echo lived"), nil); o.Out != "lived\n" {
		t.Errorf("a command said %q: %v", o.Out, o.Err)
	}
	s.OK(t, "Remove", p.Remove(s.Ctx, spec.ID, true))
	descendants = descendantsOf(p.PID())
	closeProcess(p)
	return dir, descendants
}

func cleanFiles(t T, s *Session) {
	dir, _ := s.wholeLife(t)
	_ = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			t.Errorf("it left %s", strings.TrimPrefix(path, dir+"/"))
		}
		return nil
	})
}

func cleanProcesses(t T, s *Session) {
	_, descendants := s.wholeLife(t)
	var left []process
	s.eventually(2*time.Second, func() bool {
		left = left[:0]
		for _, p := range descendants {
			if p.lives() {
				left = append(left, p)
			}
		}
		return len(left) == 0
	})
	for _, p := range left {
		t.Errorf("it left process %d: %s", p.pid, p.line)
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
	}
}
