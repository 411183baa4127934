package devserver_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sero-labs/sero-runtime/core/devserver"
	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// keeper is a sandbox with the guest helper in it, which keeps one command.
type keeper struct {
	runner
	keeps int // bytes of output

	mu       sync.Mutex
	session  guest.Session
	gone     bool // the helper does not know the command any more
	broken   bool // nobody can connect with it
	listens  bool // on port 3000
	output   string
	signals  []string
	exit     *driver.ExitStatus
	attached int
	asked    int
}

var errBroken = driver.Errorf(driver.DriverCrashed, "the connection broke")

func (k *keeper) do(change func()) {
	k.mu.Lock()
	change()
	k.mu.Unlock()
	time.Sleep(10 * time.Second) // of a clock that jumps: everybody has seen it
}

func (k *keeper) writes(text string) { k.do(func() { k.output += text }) }

// connected gives the command's output from a position on, until it ends or the
// connection does.
func (k *keeper) connected(ctx context.Context, at int, stdio driver.ExecIO) (workspace.ExecResult, error) {
	for {
		k.mu.Lock()
		text, broken, exit := k.output[at:], k.broken, k.exit
		k.mu.Unlock()
		if broken {
			return workspace.ExecResult{}, errBroken
		}
		at += len(text)
		_, _ = stdio.Stdout.Write([]byte(text))
		if exit != nil {
			return workspace.ExecResult{ExitStatus: *exit}, nil
		}
		select {
		case <-ctx.Done():
			return workspace.ExecResult{}, driver.AsError(context.Cause(ctx))
		case name := <-stdio.Signals:
			k.mu.Lock()
			k.signals = append(k.signals, name)
			k.exit, k.listens = &driver.ExitStatus{Signal: name}, false
			k.mu.Unlock()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (k *keeper) Exec(ctx context.Context, o workspace.ExecOptions, stdio driver.ExecIO,
	onStarted func(workspace.Workspace, string, int64), _ func(driver.Progress),
) (workspace.ExecResult, error) {
	w, err := k.manager.Get(ctx, o.Ref)
	if err != nil {
		return workspace.ExecResult{}, err
	}
	k.mu.Lock()
	k.session = guest.Session{ExecID: o.ExecID, Label: o.Keep.Label, Started: time.Now()}
	k.exit, k.gone, k.listens = nil, false, true
	k.mu.Unlock()
	onStarted(w, "", 7)
	return k.connected(ctx, len(k.output), stdio)
}

func (k *keeper) Sessions(context.Context, string) ([]guest.Session, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	sessions := []guest.Session{{ExecID: "terminal-abcdef", Label: `{"title":"sh"}`}, {ExecID: "exec-1-1"}}
	if k.session.ExecID != "" && !k.gone {
		sessions = append(sessions, k.session)
	}
	return sessions, nil
}

func (k *keeper) AttachSession(ctx context.Context, _, execID string, skipped func(int64), stdio driver.ExecIO) (workspace.ExecResult, error) {
	k.mu.Lock()
	k.attached++
	at := max(0, len(k.output)-k.keeps)
	broken, known := k.broken, execID == k.session.ExecID && !k.gone
	k.mu.Unlock()
	switch {
	case broken:
		return workspace.ExecResult{}, errBroken
	case !known:
		return workspace.ExecResult{}, driver.Errorf(driver.NotFound, "there is no command %s", execID)
	}
	skipped(int64(at))
	return k.connected(ctx, at, stdio)
}

func (k *keeper) EndSession(_ context.Context, _, execID string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.broken:
		return errBroken
	case execID != k.session.ExecID || k.gone:
		return driver.Errorf(driver.NotFound, "there is no command %s", execID)
	}
	k.signals = append(k.signals, "end")
	k.exit, k.listens = &driver.ExitStatus{Signal: "SIGTERM"}, false
	return nil
}

func (k *keeper) Listeners(ctx context.Context, _ string, report func([]driver.Listener) error) error {
	said := -1
	for {
		k.mu.Lock()
		var set []driver.Listener
		if k.listens {
			set = []driver.Listener{{Address: "127.0.0.1", Port: 3000, PID: 7, Command: "web", ExecID: k.session.ExecID}}
		}
		k.mu.Unlock()
		if len(set) != said {
			said = len(set)
			if err := report(set); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return driver.AsError(context.Cause(ctx))
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// newKeeper is a world with a keeper, and a server "web" that listens in it.
func newKeeper(w *world, spec devserver.Spec) *keeper {
	k := &keeper{runner: runner{w}, keeps: 100}
	w.core(k)
	if got := w.start(spec); got.Status != devserver.StatusRunning {
		w.t.Fatalf("%+v", got)
	}
	return k
}

// core gives the world a new Supervisor, after the end of the one before.
func (w *world) core(r devserver.Runner) {
	w.Close()
	w.Supervisor = devserver.New(devserver.Options{Runner: r, Events: w.events, Grace: time.Second})
	w.manager.SetDevServers(w.Supervisor)
}

func (w *world) web() devserver.Spec {
	spec := w.spec("serve")
	spec.Name, spec.Scope, spec.CardID, spec.Env = "web", "card", "c1", []driver.EnvVar{{Name: "A", Value: "b=c"}}
	return spec
}

func TestB38LogsGoOnWhenTheConnectionBreaks(t *testing.T) {
	inBubble(t, container, func(w *world) {
		k := newKeeper(w, w.web())
		before := w.get("web")
		k.writes("one\ntwo\n")
		k.do(func() { k.broken = true })
		k.writes("three\n")
		if got := w.get("web"); got.Status != devserver.StatusRunning || got.StatusMessage != "" {
			w.t.Errorf("%+v", got)
		}
		k.do(func() { k.broken = false })
		if text := w.logs("web"); text != "one\ntwo\nthree\n" {
			w.t.Errorf("%q", text)
		}
		k.do(func() { k.broken = true })
		k.writes(strings.Repeat(strings.Repeat("x", 49)+"\n", 3)) // more than is kept
		k.do(func() { k.broken = false })
		want := "one\ntwo\nthree\n[sero] 50 bytes of output are not kept any more\n" + strings.Repeat(strings.Repeat("x", 49)+"\n", 2)
		if text := w.logs("web"); text != want {
			w.t.Errorf("%q, want %q", text, want)
		}
		if got := w.get("web"); got.Status != devserver.StatusRunning || got.StatusMessage != "" || got.PID != before.PID || got.Detected {
			w.t.Errorf("%+v", got)
		}
		k.do(func() { k.exit, k.listens = &driver.ExitStatus{Code: 3}, false })
		if got := w.get("web"); got.Status != devserver.StatusStopped || got.StatusMessage != "the command exited with code 3" || w.Running() != 0 {
			w.t.Errorf("%+v", got)
		}
	})
}

// A command that cannot be found again is not said to have ended while its server
// listens.
func TestB33ACommandOutOfSight(t *testing.T) {
	inBubble(t, container, func(w *world) {
		k := newKeeper(w, w.web())
		k.do(func() { k.broken, k.gone = true, true })
		k.do(func() { k.broken = false })
		got := w.get("web")
		if got.Status != devserver.StatusRunning || got.StatusMessage != "the connection with its command broke: what it writes is not seen any more" {
			w.t.Errorf("%+v", got)
		}
		k.do(func() { k.listens = false })
		if got = w.get("web"); got.Status != devserver.StatusStopped || got.StatusMessage != "the command was lost: the connection broke" {
			w.t.Errorf("%+v", got)
		}
	})
}

// Stop waits for the connection, and does not say that what it could not reach
// has ended.
func TestB34StopWhileTheConnectionIsBroken(t *testing.T) {
	inBubble(t, container, func(w *world) {
		k := newKeeper(w, w.web())
		k.do(func() { k.broken = true })
		_, err := w.Stop(w.t.Context(), devserver.Ref{Key: "web"})
		_ = wantReason(w.t, err, driver.Timeout)
		if got := w.get("web"); got.Status != devserver.StatusRunning {
			w.t.Errorf("%+v", got)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if got, err := w.Stop(w.t.Context(), devserver.Ref{Key: "web"}); err != nil || got.Status != devserver.StatusStopped {
				w.t.Errorf("%+v %v", got, err)
			}
		})
		k.do(func() { k.broken = false })
		wg.Wait()
		if len(k.signals) != 1 {
			w.t.Error(k.signals)
		}
	})
}

func TestB43TheNextCoreGoesOn(t *testing.T) {
	inBubble(t, container, func(w *world) {
		spec := w.web()
		k := newKeeper(w, spec)
		before := w.get("web")
		k.writes("one\n")
		w.core(k)
		k.writes("two\n")
		w.Attend(w.t.Context(), "shop")
		got := w.get("web") // at once, and as it is
		if got.Status != devserver.StatusRunning || got.StatusMessage != "" || got.ID != before.ID || got.UID != before.UID || got.PID != before.PID || !got.Detected ||
			!got.Started.Equal(before.Started) || !slices.Equal(got.Command, spec.Command) {
			w.t.Errorf("%+v, was %+v", got, before)
		}
		w.Attend(w.t.Context(), "shop")
		k.writes("three\n")
		if text := w.logs("web"); text != "one\ntwo\nthree\n" || len(w.List("")) != 1 || k.attached != 1 {
			w.t.Errorf("%q %+v %d", text, w.List(""), k.attached)
		}
		if result, err := w.Start(w.t.Context(), spec, 0, nil); err != nil || !result.AlreadyRunning {
			w.t.Errorf("%+v %v", result, err)
		}
		if got, err := w.Stop(w.t.Context(), devserver.Ref{Key: "web"}); err != nil || got.Status != devserver.StatusStopped || fmt.Sprint(k.signals) != "[end]" {
			w.t.Errorf("%+v %v %v", got, err, k.signals)
		}
		got, err := w.Restart(w.t.Context(), devserver.Ref{Key: "web"}, 0, nil)
		if err != nil || got.Status != devserver.StatusRunning || got.Detected || got.ID != before.ID || got.UID != before.UID {
			w.t.Errorf("%+v %v", got, err)
		}
	})
}

// Whoever starts a server before the next core has looked meets the one that
// runs.
func TestB43ANextCoreStartsNoSecondOne(t *testing.T) {
	inBubble(t, container, func(w *world) {
		spec := w.web()
		k := newKeeper(w, spec)
		w.core(k)
		result, err := w.Start(w.t.Context(), spec, 0, nil)
		if err != nil || !result.AlreadyRunning || result.Server.Status != devserver.StatusRunning || len(w.List("")) != 1 {
			w.t.Errorf("%+v %v %+v", result, err, w.List(""))
		}
	})
}

func TestB33TheNextCoreTellsHowACommandEnded(t *testing.T) {
	for name, c := range map[string]struct {
		listens bool // when the next core comes
		exit    driver.ExitStatus
		status  devserver.Status
		message string
	}{
		"while it watches":  {true, driver.ExitStatus{Code: 3}, devserver.StatusStopped, "the command exited with code 3"},
		"before it came":    {false, driver.ExitStatus{Code: 3}, devserver.StatusFailed, "the command exited with code 3 before this sero saw it listen"},
		"killed before":     {false, driver.ExitStatus{Signal: "SIGKILL"}, devserver.StatusFailed, "the command was ended by SIGKILL before this sero saw it listen"},
		"well, and at once": {false, driver.ExitStatus{}, devserver.StatusStopped, "the command exited with code 0 before this sero saw it listen"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, container, func(w *world) {
				k := newKeeper(w, w.web())
				w.Close()
				k.writes("last words\n")
				end := func() { k.exit, k.listens = &c.exit, false }
				if !c.listens {
					k.do(end)
				}
				w.core(k)
				w.Attend(w.t.Context(), "shop")
				if c.listens {
					k.do(end)
				}
				time.Sleep(10 * time.Second)
				got := w.get("web")
				if got.Status != c.status || got.StatusMessage != c.message || w.Running() != 0 || w.logs("web") != "last words\n" {
					w.t.Errorf("%+v %q", got, w.logs("web"))
				}
			})
		})
	}
}

// What a sandbox says of a command is not run outside of one, and no label of
// its choice does harm.
func TestWhatASandboxSaysIsNotTrusted(t *testing.T) {
	inBubble(t, container, func(w *world) {
		k := newKeeper(w, w.web())
		w.core(k)
		w.Attend(w.t.Context(), "shop")
		if _, err := w.Stop(w.t.Context(), devserver.Ref{Key: "web"}); err != nil {
			w.t.Fatal(err)
		}
		if _, _, err := w.manager.Stop(w.t.Context(), workspace.Ref{ID: "shop"}, time.Second); err != nil {
			w.t.Fatal(err)
		}
		if err := w.driver.Remove(w.t.Context(), "sero-shop", true); err != nil {
			w.t.Fatal(err)
		}
		w.host = true
		k.do(func() { k.session = guest.Session{} })
		_, err := w.Restart(w.t.Context(), devserver.Ref{Key: "web"}, 0, nil)
		if e := wantReason(w.t, err, driver.InvalidArgument); !strings.Contains(e.Message, "from its sandbox alone") || k.session.ExecID != "" || len(e.Remedies) == 0 {
			w.t.Error(e, k.session)
		}
		onHost := w.web()
		onHost.Driver = "host" // a person says so
		if result, err := w.Start(w.t.Context(), onHost, 0, nil); err != nil || result.AlreadyRunning || k.session.ExecID == "" {
			w.t.Errorf("%+v %v", result, err)
		}
	})
	for name, label := range map[string]string{
		"none": "", "garbage": "{", "another kind": `{"command":7}`, "a path out": `{"command":["a"],"dir":"../.."}`,
		"an absolute path": `{"command":["a"],"dir":"/etc"}`, "a scope": `{"command":["a"],"scope":"a:b\u001b"}`, "a variable": `{"command":["a"],"env":["=b"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, container, func(w *world) {
				k := newKeeper(w, w.web())
				k.session.Label = label
				w.core(k)
				w.Attend(w.t.Context(), "shop")
				got := w.get("web")
				if got.Status != devserver.StatusRunning || got.ID != "shop:workspace:root:3000" || len(got.Command) != 0 || got.Dir != "" {
					w.t.Errorf("%+v", got)
				}
				_, err := w.Restart(w.t.Context(), devserver.Ref{Key: "web"}, 0, nil)
				if e := wantReason(w.t, err, driver.InvalidArgument); !strings.Contains(e.Message, "was started by an earlier sero") {
					w.t.Error(e)
				}
				spec := w.web() // who names it says what it is
				spec.Scope, spec.CardID = "", ""
				if result, err := w.Start(w.t.Context(), spec, 0, nil); err != nil || !result.AlreadyRunning || !slices.Equal(result.Server.Command, spec.Command) {
					w.t.Errorf("%+v %v", result, err)
				}
			})
		})
	}
}

func TestASandboxThatKeepsTooMuch(t *testing.T) {
	inBubble(t, container, func(w *world) {
		k := newKeeper(w, w.web())
		w.core(many{k})
		for range 3 {
			w.Attend(w.t.Context(), "shop")
		}
		if n := len(w.List("")); n != 32 {
			w.t.Error(n)
		}
		w.Close()
	})
}

// many is a keeper that says that it keeps hundreds of commands, each time others.
type many struct{ *keeper }

func (m many) Sessions(context.Context, string) ([]guest.Session, error) {
	var sessions []guest.Session
	m.mu.Lock()
	defer m.mu.Unlock()
	for range 200 {
		m.asked++
		sessions = append(sessions, guest.Session{ExecID: fmt.Sprintf("dev-a-1-%d", m.asked)})
	}
	return sessions, nil
}

func TestACommandTooLongForALabel(t *testing.T) {
	inBubble(t, container, func(w *world) {
		spec := w.web()
		spec.Command = append(spec.Command, strings.Repeat("x", 2000))
		k := newKeeper(w, spec)
		before := w.get("web")
		w.core(k)
		w.Attend(w.t.Context(), "shop")
		if got := w.get("web"); got.ID != before.ID || len(got.Command) != 0 || len(k.session.Label) > 1000 {
			w.t.Errorf("%+v %q", got, k.session.Label)
		}
	})
}

// Who asks before it is known what an earlier core left waits for that.
func TestCallersWaitForWhatAnEarlierCoreLeft(t *testing.T) {
	inBubble(t, container, func(w *world) {
		k := newKeeper(w, w.web())
		k.writes("one\n")
		w.Close()
		known := make(chan struct{})
		w.Supervisor = devserver.New(devserver.Options{Runner: k, Events: w.events, Grace: time.Second, Known: known})
		var text strings.Builder
		read := make(chan error, 1)
		go func() {
			read <- w.Logs(w.t.Context(), devserver.Ref{Key: "web"}, false, 0, func(p []byte) error { text.Write(p); return nil })
		}()
		synctest.Wait()
		select {
		case err := <-read:
			w.t.Fatalf("it did not wait: %v", err)
		default:
		}
		w.Attend(w.t.Context(), "shop")
		close(known)
		if err := <-read; err != nil {
			w.t.Error(err)
		}
		w.AwaitKnown(w.t.Context(), "")
		_, err := w.Stop(w.t.Context(), devserver.Ref{Key: "nosuch"})
		_ = wantReason(w.t, err, driver.NotFound)
	})
	inBubble(t, container, func(w *world) { // not for ever
		w.Close()
		w.Supervisor = devserver.New(devserver.Options{Runner: runner{w}, Known: make(chan struct{})})
		_, err := w.Stop(w.t.Context(), devserver.Ref{Key: "nosuch"})
		_ = wantReason(w.t, err, driver.NotFound)
		ctx, cancel := context.WithCancelCause(w.t.Context())
		cancel(errors.New("gone"))
		w.AwaitKnown(ctx, "")
	})
}

// TestC1StopEndsTheWholeCommand: a kept command is ended by the helper, which knows
// all that descends from it, also where the command itself has ended and nothing
// listens; and once.
func TestC1StopEndsTheWholeCommand(t *testing.T) {
	for name, ended := range map[string]bool{"it runs": false, "it has failed": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, container, func(w *world) {
				k := newKeeper(w, w.web())
				if ended {
					k.do(func() { k.exit, k.listens = &driver.ExitStatus{Code: 1}, false })
				}
				for range 2 {
					if _, err := w.Stop(w.t.Context(), devserver.Ref{Key: "web"}); err != nil {
						w.t.Error(err)
					}
				}
				if fmt.Sprint(k.signals) != "[end]" {
					w.t.Errorf("its command got %v", k.signals)
				}
				if _, err := w.Restart(w.t.Context(), devserver.Ref{Key: "web"}, 0, nil); err != nil || fmt.Sprint(k.signals) != "[end]" {
					w.t.Errorf("%v, %v", err, k.signals)
				}
				if _, err := w.Restart(w.t.Context(), devserver.Ref{Key: "web"}, 0, nil); err != nil || fmt.Sprint(k.signals) != "[end end]" {
					w.t.Errorf("%v, %v", err, k.signals)
				}
			})
		})
	}
}
