package conformance

import (
	"context"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func createCases() []Case {
	return engine([]Case{
		{
			ID: "CREATE-1", Group: "lifecycle", Run: createFirst,
			Must: "Create makes a stopped sandbox with the id and labels asked for, an instance and an absolute workspace directory, and Get says the same",
		},
		{
			ID: "CREATE-2", Group: "lifecycle", Run: createTwice,
			Must: "the same specification ten times gives the one sandbox, the same instance each time",
		},
		{
			ID: "CREATE-3", Group: "lifecycle", Run: createOther,
			Must: "another specification under the same id is ALREADY_EXISTS and changes nothing",
		},
		{
			ID: "CREATE-4", Group: "lifecycle", Run: createConcurrently,
			Must: "concurrent Creates of one specification make one sandbox",
		},
		{
			ID: "CREATE-5", Group: "lifecycle", Run: createAnew,
			Must: "a sandbox that is made anew after its removal has another instance",
		},
		{
			ID: "CREATE-6", Group: "lifecycle", Run: createEnv,
			Must: "a sandbox's environment is the environment of every command in it, values unchanged",
		},
		{
			ID: "CREATE-7", Group: "lifecycle", Run: createSecret,
			Must: "a secret value is on no command line of the host and in none of the driver's errors",
		},
	})
}

// engine marks cases that need a runtime that is ready.
func engine(cases []Case) []Case {
	for i := range cases {
		cases[i].engine = true
	}
	return cases
}

func createFirst(t T, s *Session) {
	d, spec := s.Driver(t), s.Spec(t)
	made := s.Create(t, d, spec)
	got, err := d.Get(s.Ctx, spec.ID)
	s.OK(t, "Get", err)
	for what, sb := range map[string]driver.Sandbox{"Create": made, "Get": got} {
		if sb.ID != spec.ID || sb.State != driver.SandboxStopped || sb.Instance == "" || !path.IsAbs(sb.WorkspaceDir) {
			t.Errorf("%s gives id %q, state %s, instance %q, workspace %q", what, sb.ID, sb.State, sb.Instance, sb.WorkspaceDir)
		}
		if !maps.Equal(sb.Labels, spec.Labels) {
			t.Errorf("%s gives labels %v, want %v", what, sb.Labels, spec.Labels)
		}
	}
}

func createTwice(t T, s *Session) {
	d, spec := s.Driver(t), s.Spec(t)
	first := s.Create(t, d, spec)
	for range 9 {
		again, err := d.Create(s.Ctx, spec)
		s.OK(t, "Create again", err)
		if err == nil && again.Instance != first.Instance {
			t.Errorf("instance %q, then %q", first.Instance, again.Instance)
		}
	}
}

func createOther(t T, s *Session) {
	d, spec := s.Driver(t), s.Spec(t)
	first := s.Create(t, d, spec)
	other := spec
	other.Labels = maps.Clone(spec.Labels)
	other.Labels[driver.LabelSpecHash] = "another"
	_, err := d.Create(s.Ctx, other)
	s.Fails(t, "Create with another specification", err, driver.AlreadyExists)
	got, err := d.Get(s.Ctx, spec.ID)
	s.OK(t, "Get", err)
	if got.Instance != first.Instance || !maps.Equal(got.Labels, spec.Labels) {
		t.Errorf("it is now instance %q with labels %v", got.Instance, got.Labels)
	}
}

func createConcurrently(t T, s *Session) {
	d, spec := s.Driver(t), s.Spec(t)
	s.willRemove(t, d, spec.ID)
	instances := make([]string, 8)
	var all sync.WaitGroup
	for i := range instances {
		all.Go(func() {
			sb, err := d.Create(s.Ctx, spec)
			s.OK(t, "concurrent Create", err)
			instances[i] = sb.Instance
		})
	}
	all.Wait()
	if distinct := slices.Compact(slices.Sorted(slices.Values(instances))); len(distinct) != 1 {
		t.Errorf("instances %q", distinct)
	}
}

func createAnew(t T, s *Session) {
	d, spec := s.Driver(t), s.Spec(t)
	first := s.Create(t, d, spec)
	s.OK(t, "Remove", d.Remove(s.Ctx, spec.ID, true))
	if again := s.Create(t, d, spec); again.Instance == first.Instance {
		t.Errorf("both instances are %q", first.Instance)
	}
}

// hostile is a value that a careless quoting breaks.
const hostile = `a b"c'd$HOME;e` + "\n" + `f\g=h ü*`

func createEnv(t T, s *Session) {
	spec := s.Spec(t)
	spec.Env = []driver.EnvVar{{Name: "CONF_A", Value: hostile}, {Name: "CONF_EMPTY", Value: ""}}
	id := s.runningOn(t, s.Driver(t), spec).ID
	if got := s.Out(t, id, "printenv CONF_A"); got != hostile {
		t.Errorf("CONF_A is %q, want %q", got, hostile)
	}
	if got := s.Out(t, id, "printenv CONF_EMPTY"); got != "" {
		t.Errorf("CONF_EMPTY is %q", got)
	}
}

func createSecret(t T, s *Session) {
	secret := "secret-" + s.r.nonce + "-value"
	d, spec := s.Driver(t), s.Spec(t)
	spec.Env = []driver.EnvVar{{Name: "CONF_SECRET", Value: secret, Secret: true}}
	id := s.runningOn(t, d, spec).ID
	run := s.script(id, `printenv CONF_SECRET CONF_OTHER; echo up; cat`)
	run.Env = []driver.EnvVar{{Name: "CONF_OTHER", Value: secret + "2", Secret: true}}
	c := s.Begin(t, d, run)
	c.Expect(t, "up")
	for _, line := range hostCommands(secret) {
		t.Errorf("a command line of the host has it: %s", line)
	}
	_, err := d.Create(s.Ctx, func() driver.SandboxSpec {
		other := spec
		other.Labels = maps.Clone(spec.Labels)
		other.Labels[driver.LabelSpecHash] = "another"
		return other
	}())
	if e := driver.AsError(err); e != nil && contains(e, secret) {
		t.Errorf("an error has it: %+v", *e)
	}
}

func lifecycleCases() []Case {
	return engine([]Case{
		{
			ID: "START-2", Group: "lifecycle", Run: startTen,
			Must: "Start makes a sandbox run, and says when; starting it again ten times succeeds and ends nothing in it",
		},
		{
			ID: "START-3", Group: "lifecycle", Run: startAbsent,
			Must: "Start of an absent sandbox is NOT_FOUND",
		},
		{
			ID: "STOP-1", Group: "lifecycle", Run: stopEnds,
			Must: "Stop ends the commands in a sandbox, and has ended them when it returns",
		},
		{
			ID: "STOP-2", Group: "lifecycle", Run: stopTen,
			Must: "stopping a stopped sandbox ten times succeeds and changes nothing",
		},
		{
			ID: "STOP-3", Group: "lifecycle", Run: stopAbsent,
			Must: "Stop of an absent sandbox is NOT_FOUND",
		},
		{
			ID: "STOP-4", Group: "lifecycle", Run: stopGrace,
			Must: "Stop asks with SIGTERM first, and kills what is left once the grace time has passed",
		},
		{
			ID: "STOP-5", Group: "lifecycle", Run: stopKeeps,
			Must: "a sandbox's files outlive Stop and Start, and it stays the same instance",
		},
		{
			ID: "STOP-6", Group: "lifecycle", Run: stopCancelled,
			Must: "a call whose context ends returns soon with an error, and Get tells how things are",
		},
		{
			ID: "REMOVE-1", Group: "lifecycle", Run: removeTen,
			Must: "Remove takes a sandbox away; removing an absent one ten times succeeds",
		},
		{
			ID: "REMOVE-2", Group: "lifecycle", Run: removeRunning,
			Must: "Remove of a running sandbox without force is NOT_STOPPED, and it runs on",
		},
		{
			ID: "REMOVE-3", Group: "lifecycle", Run: removeForce,
			Must: "Remove with force takes a running sandbox away and ends its commands",
		},
		{
			ID: "REMOVE-4", Group: "lifecycle", Run: removeKeepsWorkspace,
			Must: "Remove never touches the workspace's files",
		},
		{
			ID: "ORDER-1", Group: "lifecycle", Run: orderApart,
			Must: "no sandbox waits for another",
		},
		{
			ID: "ORDER-2", Group: "lifecycle", Run: orderTogether,
			Must: "concurrent Starts and Stops of one sandbox all succeed and leave it in one of the two states",
		},
	})
}

func startTen(t T, s *Session) {
	d := s.Driver(t)
	id := s.Created(t)
	began := time.Now().Add(-time.Hour) // an engine's clock may differ
	sb, err := d.Start(s.Ctx, id)
	s.OK(t, "Start", err)
	if sb.ID != id || sb.State != driver.SandboxRunning || sb.Started.Before(began) {
		t.Errorf("Start gives id %q, state %s, started %s", sb.ID, sb.State, sb.Started)
	}
	c := s.Begin(t, d, s.script(id, "echo up; cat"))
	c.Expect(t, "up")
	for range 9 {
		again, err := d.Start(s.Ctx, id)
		s.OK(t, "Start again", err)
		if err == nil && again.Instance != sb.Instance {
			t.Errorf("instance %q, then %q", sb.Instance, again.Instance)
		}
	}
	if isClosed(c.done) {
		t.Errorf("a command was ended by it")
	}
	s.StateIs(t, d, id, driver.SandboxRunning)
}

func startAbsent(t T, s *Session) {
	_, err := s.Driver(t).Start(s.Ctx, s.Spec(t).ID)
	s.Fails(t, "Start", err, driver.NotFound)
}

func stopEnds(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	c := s.Begin(t, d, s.script(id, "echo up; sleep 600"))
	c.Expect(t, "up")
	s.OK(t, "Stop", d.Stop(s.Ctx, id, 2*time.Second))
	if o := c.Wait(t, 2*time.Second); o.Err == nil && o.ShellCode() == 0 {
		t.Errorf("the command ended with success")
	}
	s.StateIs(t, d, id, driver.SandboxStopped)
}

func stopTen(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	for range 10 {
		s.OK(t, "Stop", d.Stop(s.Ctx, id, time.Second))
		s.StateIs(t, d, id, driver.SandboxStopped)
	}
}

func stopAbsent(t T, s *Session) {
	s.Fails(t, "Stop", s.Driver(t).Stop(s.Ctx, s.Spec(t).ID, time.Second), driver.NotFound)
}

func stopGrace(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	polite := s.Begin(t, d, s.script(id, `trap 'echo asked >asked; exit 0' TERM; echo up; sleep 600 & wait`))
	deaf := s.Begin(t, d, s.script(id, `trap '' TERM; echo up; sleep 600; sleep 600`))
	polite.Expect(t, "up")
	deaf.Expect(t, "up")
	began := time.Now()
	s.OK(t, "Stop", d.Stop(s.Ctx, id, 500*time.Millisecond))
	if took := time.Since(began); took < 400*time.Millisecond {
		t.Errorf("it did not wait for the grace time, only %s", took)
	}
	deaf.Wait(t, 2*time.Second)
	if _, err := d.Start(s.Ctx, id); err != nil {
		t.Fatalf("Start: %v", err)
	}
	if got := s.Out(t, id, "cat asked"); got != "asked" {
		t.Errorf("a command with a handler for SIGTERM was not asked")
	}
}

func stopKeeps(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	before, err := d.Get(s.Ctx, id)
	s.OK(t, "Get", err)
	s.Out(t, id, "echo kept >/tmp/conf-"+id)
	s.OK(t, "Stop", d.Stop(s.Ctx, id, time.Second))
	after, err := d.Start(s.Ctx, id)
	s.OK(t, "Start", err)
	if got := s.Sh(t, id, "cat /tmp/conf-"+id+" && rm /tmp/conf-"+id); got.Out != "kept\n" {
		t.Errorf("the file holds %q: %s", got.Out, got.Errs)
	}
	if before.Instance != after.Instance {
		t.Errorf("instance %q, then %q", before.Instance, after.Instance)
	}
}

func stopCancelled(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	c := s.Begin(t, d, s.script(id, `trap '' TERM; echo up; sleep 600; sleep 600`))
	c.Expect(t, "up")
	// Long enough for a driver that gives no grace to be done before.
	ctx, cancel := context.WithTimeoutCause(s.Ctx, time.Second, errCaseCancel)
	defer cancel()
	if d.Stop(ctx, id, 4*time.Second) == nil {
		t.Errorf("Stop succeeded, although its context has ended before its grace time has")
	}
	_, err := d.Get(s.Ctx, id)
	s.OK(t, "Get", err)
}

func removeTen(t T, s *Session) {
	d := s.Driver(t)
	id := s.Created(t)
	for range 10 {
		s.OK(t, "Remove", d.Remove(s.Ctx, id, false))
	}
	_, err := d.Get(s.Ctx, id)
	s.Fails(t, "Get", err, driver.NotFound)
}

func removeRunning(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	s.Fails(t, "Remove", d.Remove(s.Ctx, id, false), driver.NotStopped)
	s.StateIs(t, d, id, driver.SandboxRunning)
}

func removeForce(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	c := s.Begin(t, d, s.script(id, "echo up; sleep 600"))
	c.Expect(t, "up")
	s.OK(t, "Remove", d.Remove(s.Ctx, id, true))
	c.Wait(t, 2*time.Second)
	_, err := d.Get(s.Ctx, id)
	s.Fails(t, "Get", err, driver.NotFound)
}

func removeKeepsWorkspace(t T, s *Session) {
	d, spec := s.Driver(t), s.Spec(t)
	file := filepath.Join(spec.WorkspaceDir, "work.txt")
	if err := os.WriteFile(file, []byte("work"), 0o600); err != nil {
		t.Fatalf("%v", err)
	}
	s.runningOn(t, d, spec)
	s.OK(t, "Remove", d.Remove(s.Ctx, spec.ID, true))
	if data, err := os.ReadFile(file); string(data) != "work" {
		t.Errorf("the workspace's file holds %q: %v", data, err)
	}
}

func orderApart(t T, s *Session) {
	d := s.Driver(t)
	slow, quick := s.Running(t), s.Created(t)
	c := s.Begin(t, d, s.script(slow, `trap '' TERM; echo up; read x`))
	c.Expect(t, "up")
	stopped := make(chan error, 1)
	go func() { stopped <- d.Stop(s.Ctx, slow, 10*time.Second) }()
	time.Sleep(100 * time.Millisecond) // let the Stop begin
	_, err := d.Start(s.Ctx, quick)
	s.OK(t, "Start of another", err)
	s.OK(t, "Stop of another", d.Stop(s.Ctx, quick, time.Second))
	select {
	case err = <-stopped:
		t.Errorf("the other sandbox was served only after the slow Stop")
	default:
		_ = c.stdin.Close() // the command has ended, and so can Stop
		err = <-stopped
	}
	s.OK(t, "the slow Stop", err)
}

func orderTogether(t T, s *Session) {
	d := s.Driver(t)
	id := s.Created(t)
	var all sync.WaitGroup
	start := func() {
		_, err := d.Start(s.Ctx, id)
		s.OK(t, "concurrent Start", err)
	}
	stop := func() { s.OK(t, "concurrent Stop", d.Stop(s.Ctx, id, time.Second)) }
	for _, both := range [][2]func(){{start, start}, {stop, stop}, {start, stop}} {
		for range 3 {
			all.Go(both[0])
			all.Go(both[1])
		}
		all.Wait()
	}
	sb, err := d.Get(s.Ctx, id)
	if err != nil || (sb.State != driver.SandboxRunning && sb.State != driver.SandboxStopped) {
		t.Errorf("the sandbox is %s (%v)", sb.State, err)
	}
}

func listCases() []Case {
	return engine([]Case{
		{
			ID: "GET-1", Group: "lifecycle", Run: getAbsent,
			Must: "Get of an absent sandbox is NOT_FOUND",
		},
		{
			ID: "LIST-1", Group: "lifecycle", Run: listLabels,
			Must: "List gives the sandboxes that carry all the labels asked for, and no other",
		},
		{
			ID: "LIST-2", Group: "lifecycle", Run: listOrder,
			Must: "List gives running and stopped sandboxes, ordered by id, as Get describes them",
		},
	})
}

func getAbsent(t T, s *Session) {
	_, err := s.Driver(t).Get(s.Ctx, s.Spec(t).ID)
	s.Fails(t, "Get", err, driver.NotFound)
}

func listLabels(t T, s *Session) {
	d := s.Driver(t)
	var ids []string
	var last map[string]string
	for range 2 {
		spec := s.Spec(t)
		spec.Labels["conf.pair"] = "list, 1=\"x\""
		ids, last = append(ids, spec.ID), spec.Labels
		s.Create(t, d, spec)
	}
	lone := s.Spec(t) // has all but the pair's label
	s.Create(t, d, lone)
	find := func(want map[string]string, ids ...string) {
		t.Helper()
		all, err := d.List(s.Ctx, want)
		s.OK(t, "List", err)
		var got []string
		for _, sb := range all {
			got = append(got, sb.ID)
		}
		slices.Sort(got)
		if !slices.Equal(got, slices.Sorted(slices.Values(ids))) {
			t.Errorf("List of %v gives %v, want %v", want, got, ids)
		}
	}
	pair := map[string]string{"conf.pair": "list, 1=\"x\"", labelRun: s.r.nonce}
	find(pair, ids...)
	pair[driver.LabelSpecHash] = last[driver.LabelSpecHash]
	find(pair, ids[1])
	pair["conf.absent"] = ""
	find(pair)
}

func listOrder(t T, s *Session) {
	d := s.Driver(t)
	const mark = "conf.order"
	want := map[string]driver.Sandbox{}
	for i := range 3 {
		spec := s.Spec(t)
		spec.ID += string("zam"[i]) // made in another order than that of their names
		spec.ID = "sero-" + string("zam"[i]) + spec.ID[len("sero-"):]
		spec.Labels[mark] = s.r.nonce
		s.Create(t, d, spec)
		if i == 1 {
			_, err := d.Start(s.Ctx, spec.ID)
			s.OK(t, "Start", err)
		}
		want[spec.ID], _ = d.Get(s.Ctx, spec.ID)
	}
	all, err := d.List(s.Ctx, map[string]string{mark: s.r.nonce})
	s.OK(t, "List", err)
	var got []string
	for _, sb := range all {
		got = append(got, sb.ID)
		if w := want[sb.ID]; w.State != sb.State || w.Instance != sb.Instance || !maps.Equal(w.Labels, sb.Labels) {
			t.Errorf("List says %+v, Get says %+v", sb, w)
		}
	}
	if !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		t.Errorf("List gives %v", got)
	}
}
