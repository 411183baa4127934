package conformance

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func partCases() []Case {
	files, logs := []driver.Capability{driver.CapCopy}, []driver.Capability{driver.CapLogs}
	return engine([]Case{
		{
			ID: "COPY-1", Group: "copy", Run: copyBoth, Needs: files,
			Must: "what CopyIn unpacks, CopyOut packs, byte for byte",
		},
		{
			ID: "COPY-2", Group: "copy", Run: copyNowhere, Needs: files,
			Must: "copying into a directory or out of a path that is not there is NOT_FOUND",
		},
		{
			ID: "STATS-1", Group: "stats", Run: statsOnce, Needs: []driver.Capability{driver.CapStats},
			Must: "without an interval Stats reports once and ends; what was measured is not negative",
		},
		{
			ID: "STATS-2", Group: "stats", Run: statsAgain, Needs: []driver.Capability{driver.CapStats},
			Must: "with an interval Stats reports until its caller ends it",
		},
		{
			ID: "LOGS-1", Group: "logs", Run: logsEnd, Needs: logs,
			Must: "without follow Logs ends, and the last line asked for is the last of all",
		},
		{
			ID: "LOGS-2", Group: "logs", Run: logsFollow, Needs: logs,
			Must: "with follow Logs goes on until the sandbox is removed",
		},
		{
			ID: "EVENTS-1", Group: "events", Run: eventsOrder, Needs: []driver.Capability{driver.CapEvents},
			Must: "a sandbox's changes are told in their order: created, started, stopped, removed",
		},
		{
			ID: "SYSTEM-1", Group: "system", Run: systemRunning, Needs: []driver.Capability{driver.CapSystemStart},
			Must: "starting a system that runs succeeds, concurrently and again",
		},
		{
			ID: "SYSTEM-2", Group: "system", Run: systemStopped, Needs: []driver.Capability{driver.CapSystemStart, driver.CapSystemStop}, last: true,
			Must: "stopping the system stops what runs in it and health says stopped; once it is started again, sandboxes are there, stopped, and start",
		},
		{
			ID: "SYSTEM-3", Group: "system", Run: systemStopTwice, Needs: []driver.Capability{driver.CapSystemStart, driver.CapSystemStop}, last: true,
			Must: "stopping a system that is stopped succeeds, concurrently and again",
		},
	})
}

func copyBoth(t T, s *Session) {
	d := s.Driver(t)
	sb := s.runningOn(t, d, s.Spec(t))
	want := map[string]string{"conf/a.bin": string(sample(200_000)), "conf/sub/empty": "", "conf/ü x": hostile}
	var in bytes.Buffer
	w := tar.NewWriter(&in)
	for name, data := range want {
		_ = w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}) // a buffer takes all
		_, _ = io.WriteString(w, data)
	}
	_ = w.Close()
	s.OK(t, "CopyIn", d.CopyIn(s.Ctx, sb.ID, sb.WorkspaceDir, &in))
	if got := s.Out(t, sb.ID, "wc -c <conf/a.bin"); strings.TrimSpace(got) != "200000" {
		t.Errorf("inside the file has %s bytes", got)
	}
	var out bytes.Buffer
	s.OK(t, "CopyOut", d.CopyOut(s.Ctx, sb.ID, sb.WorkspaceDir+"/conf", &out))
	got := map[string]string{}
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if err != nil {
			break
		}
		if h.Typeflag == tar.TypeReg {
			data, _ := io.ReadAll(r)
			got[strings.TrimPrefix(h.Name, "./")] = string(data)
		}
	}
	for name, data := range want {
		if g, ok := got[name]; !ok || g != data {
			t.Errorf("%s came back as %d bytes (there: %t), want %d", name, len(g), ok, len(data))
		}
	}
}

func copyNowhere(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	var empty bytes.Buffer
	_ = tar.NewWriter(&empty).Close()
	s.Fails(t, "CopyIn", d.CopyIn(s.Ctx, id, "/no/such/directory", &empty), driver.NotFound)
	s.Fails(t, "CopyOut", d.CopyOut(s.Ctx, id, "/no/such/file", io.Discard), driver.NotFound)
}

func statsOnce(t T, s *Session) {
	ctx, cancel := context.WithTimeoutCause(s.Ctx, s.within(5*time.Second), errDeadline)
	defer cancel()
	var all []driver.Stats
	err := s.Driver(t).Stats(ctx, s.Running(t), 0, func(st driver.Stats) error {
		all = append(all, st)
		return nil
	})
	s.OK(t, "Stats", err)
	if len(all) != 1 {
		t.Fatalf("%d reports", len(all))
	}
	st := all[0]
	if st.CPUSeconds == nil && st.MemoryBytes == nil && st.Processes == nil {
		t.Errorf("nothing was measured")
	}
	if (st.CPUSeconds != nil && *st.CPUSeconds < 0) || (st.MemoryBytes != nil && *st.MemoryBytes <= 0) || (st.Processes != nil && *st.Processes <= 0) {
		t.Errorf("measured: %+v", st)
	}
}

func statsAgain(t T, s *Session) {
	n := 0
	err := s.Driver(t).Stats(s.Ctx, s.Running(t), 100*time.Millisecond, func(driver.Stats) error {
		if n++; n == 3 {
			return errSeen
		}
		return nil
	})
	if err != errSeen { //nolint:errorlint // our own value comes back as it is
		t.Errorf("after %d reports: %v", n, err)
	}
}

func logsEnd(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	ctx, cancel := context.WithTimeoutCause(s.Ctx, s.within(4*time.Second), errDeadline)
	defer cancel()
	var all, last bytes.Buffer
	s.OK(t, "Logs", d.Logs(ctx, id, false, 0, &all))
	s.OK(t, "Logs of one line", d.Logs(ctx, id, false, 1, &last))
	if strings.Count(last.String(), "\n") > 1 || !strings.HasSuffix(all.String(), last.String()) || (all.Len() > 0) != (last.Len() > 0) {
		t.Errorf("the last line is %q of %q", last.String(), all.String())
	}
}

func logsFollow(t T, s *Session) {
	d := s.Driver(t)
	id := s.Running(t)
	done := make(chan error, 1)
	go func() { done <- d.Logs(s.Ctx, id, true, 0, io.Discard) }()
	select {
	case err := <-done:
		t.Fatalf("it ended by itself: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	s.OK(t, "Remove", d.Remove(s.Ctx, id, true))
	select {
	case err := <-done:
		if driver.ReasonOf(err) != driver.NotFound { // it had not begun
			s.OK(t, "Logs", err)
		}
	case <-time.After(s.within(2 * time.Second)):
		t.Errorf("it goes on after the sandbox was removed")
	}
}

func eventsOrder(t T, s *Session) {
	d := s.Driver(t)
	ctx, cancel := context.WithCancelCause(s.Ctx)
	defer cancel(errCaseCancel)
	var mu sync.Mutex
	seen := map[string][]driver.EventType{}
	go func() {
		_ = d.Events(ctx, func(e driver.Event) error {
			mu.Lock()
			defer mu.Unlock()
			seen[e.SandboxID] = append(seen[e.SandboxID], e.Type)
			return nil
		})
	}()
	of := func(id string) []driver.EventType {
		mu.Lock()
		defer mu.Unlock()
		return slices.DeleteFunc(slices.Clone(seen[id]), func(e driver.EventType) bool { return e < driver.EventCreated || e > driver.EventRemoved })
	}
	// The stream tells nothing of when it begins: change things until it does.
	begun := s.eventually(4*time.Second, func() bool {
		id := s.Created(t)
		return s.eventually(200*time.Millisecond, func() bool { return len(of(id)) > 0 })
	})
	if !begun {
		t.Fatalf("no event comes")
	}
	id := s.Running(t)
	s.OK(t, "Stop", d.Stop(s.Ctx, id, time.Second))
	s.OK(t, "Remove", d.Remove(s.Ctx, id, false))
	want := []driver.EventType{driver.EventCreated, driver.EventStarted, driver.EventStopped, driver.EventRemoved}
	if !s.eventually(4*time.Second, func() bool { return slices.Equal(of(id), want) }) {
		t.Errorf("told: %v, want %v", of(id), want)
	}
}

func systemRunning(t T, s *Session) {
	d := s.Driver(t)
	ctx, cancel := context.WithTimeoutCause(s.Ctx, 30*time.Second, errDeadline)
	defer cancel()
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { s.OK(t, "StartSystem", d.StartSystem(ctx, func(driver.Progress) {})) })
	}
	all.Wait()
	s.OK(t, "StartSystem again", d.StartSystem(ctx, func(driver.Progress) {}))
	s.StateIs(t, d, s.Running(t), driver.SandboxRunning)
}

// mayStop ends a case that stops the system unless it is allowed to: others may
// have something running there.
func (s *Session) mayStop(t T) {
	if !s.r.c.Profile.StopSystem {
		t.Skipf("it would stop the whole system with all that runs in it, and nobody has allowed that (--stop-system)")
	}
	d := s.Driver(t)
	t.Cleanup(func() { // for what comes after it
		ctx, cancel := context.WithTimeoutCause(context.Background(), 30*time.Second, errDeadline)
		defer cancel()
		if err := d.StartSystem(ctx, func(driver.Progress) {}); err != nil { // to start a system that runs is a case of its own
			t.Logf("starting the system again: %v", err)
		}
	})
}

func systemStopped(t T, s *Session) {
	s.mayStop(t)
	d := s.Driver(t)
	id := s.Running(t)
	s.OK(t, "StopSystem", d.StopSystem(s.Ctx, func(driver.Progress) {}))
	s.healthBecomes(t, d, driver.HealthStopped)
	s.OK(t, "StartSystem", d.StartSystem(s.Ctx, func(driver.Progress) {}))
	s.healthBecomes(t, d, driver.HealthReady)
	s.StateIs(t, d, id, driver.SandboxStopped)
	_, err := d.Start(s.Ctx, id)
	s.OK(t, "Start", err)
	s.StateIs(t, d, id, driver.SandboxRunning)
	s.OK(t, "Stop", d.Stop(s.Ctx, id, 0))
}

func systemStopTwice(t T, s *Session) {
	s.mayStop(t)
	d := s.Driver(t)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { s.OK(t, "StopSystem", d.StopSystem(s.Ctx, func(driver.Progress) {})) })
	}
	all.Wait()
	s.OK(t, "StopSystem again", d.StopSystem(s.Ctx, func(driver.Progress) {}))
}

// healthBecomes waits for a health state.
func (s *Session) healthBecomes(t T, d driver.Driver, want driver.HealthState) {
	ctx, cancel := context.WithTimeoutCause(s.Ctx, s.within(10*time.Second), errDeadline)
	defer cancel()
	last := driver.HealthUnknown
	err := d.Health(ctx, func(h driver.Health) error {
		if last = h.State; last == want {
			return errSeen
		}
		return nil
	})
	if err != errSeen { //nolint:errorlint // our own value comes back as it is
		t.Errorf("health says %s, want %s (%v)", last, want, err)
	}
}

func factCases() []Case {
	return engine([]Case{
		{
			ID: "FACT-1", Group: "facts", Run: factIsolated, Needs: []driver.Capability{driver.CapBrowser},
			Must: "a driver in whose sandboxes browsers can be driven separates them from the host",
		},
		{
			ID: "FACT-2", Group: "facts", Run: factIsolated, Needs: []driver.Capability{driver.CapTooling},
			Must: "a driver whose sandboxes hold the tools separates them from the host",
		},
		{
			ID: "FACT-3", Group: "facts", Run: factLinux, Needs: []driver.Capability{driver.CapLinuxParity},
			Must: "with Linux parity a sandbox is Linux",
		},
		{
			ID: "FACT-4", Group: "facts", Run: factPreview, Needs: []driver.Capability{driver.CapPreview},
			Must: "with managed previews any server in a sandbox can be found from outside the command that started it",
		},
		{
			ID: "FACT-5", Group: "facts", Run: factNetwork, Needs: []driver.Capability{driver.CapNetContainer},
			Must: "with a network of its own two sandboxes can listen on one port",
		},
	})
}

func factIsolated(t T, s *Session) {
	if is := s.r.shake.Info.Isolation; is <= driver.IsolationNone {
		t.Errorf("its isolation is %s", is)
	}
}

func factLinux(t T, s *Session) {
	if got := s.Out(t, s.Running(t), "uname -s"); got != "Linux" {
		t.Errorf("it is %s", got)
	}
}

func factPreview(t T, s *Session) {
	id := s.Running(t)
	s.listening(t, id, 3124)
	s.listens(t, id, 3124)
}

// listens waits until something listens on a port of the sandbox.
func (s *Session) listens(t T, id string, port int) {
	t.Helper()
	if s.declares(driver.CapNetListeners) {
		s.seen(t, s.watch(t, id), "the server", onPort(port))
		return
	}
	kernel := fmt.Sprintf(":%04X ", port) // as it writes them
	if !s.eventually(5*time.Second, func() bool { return strings.Contains(s.Sh(t, id, "cat /proc/net/tcp /proc/net/tcp6").Out, kernel) }) {
		t.Fatalf("neither Listeners nor /proc/net/tcp shows it")
	}
}

func factNetwork(t T, s *Session) {
	ids := []string{s.Running(t), s.Running(t)}
	began := time.Now()
	s.listening(t, ids[0], 4125)
	s.listens(t, ids[0], 4125)
	took := time.Since(began)
	c := s.listening(t, ids[1], 4125)
	time.Sleep(300*time.Millisecond + took) // a port that is taken shows when the first one had it, or soon after
	if isClosed(c.done) {
		t.Fatalf("the second sandbox cannot listen: %s", fmt.Sprint(c.Wait(t, time.Second)))
	}
	s.listens(t, ids[1], 4125)
}
