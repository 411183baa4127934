package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/plugins/host/internal/proc"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// families are commands that spread in all the ways there are. Each writes the
// numbers of all its processes to pids, and "all" once it is complete.
var families = map[string]string{
	"child":        `sleep 300 & echo $! >> pids`,
	"grandchild":   `(sleep 300 & echo $! >> pids; wait) & echo $! >> pids`,
	"own group":    `set -m; sleep 300 & echo $! >> pids`,
	"own session":  `setsid sh -c 'echo $$ >> pids; exec sleep 300' &`,
	"daemon":       `(setsid sh -c 'sh -c "echo \$\$ >> pids; exec sleep 300" &' &)`,
	"bare daemon":  `setsid env -i sh -c 'echo $$ >> pids; exec sleep 300' &`,
	"bare orphan":  `bash -mc '(env -i sh -c "echo \$\$ >> pids; exec sleep 300" &)'`,
	"deaf":         `sh -c 'trap "" TERM HUP INT; echo $$ >> pids; while :; do sleep 300; done' &`,
	"stopped":      `sh -c 'echo $$ >> pids; kill -STOP $$; sleep 300' &`,
	"deaf stopped": `sh -c 'trap "" TERM HUP; echo $$ >> pids; kill -STOP $$; sleep 300' &`,
}

// family starts a command and returns all its processes.
func (b *box) family(ctx context.Context, spread string, spec driver.ExecSpec, stdio driver.ExecIO) ([]int, <-chan result) {
	b.t.Helper()
	file := b.dir + "/pids"
	_ = os.Remove(file)
	n := strings.Count(spread, ">> pids")
	spec.Argv = []string{"bash", "-c", spread + "\necho $$ >> pids; wait; sleep 300; :"}
	_, done := b.background(ctx, spec, stdio)
	var pids []int
	eventually(b.t, "the family", func() bool {
		pids = numbers(file)
		return len(pids) == n+1
	})
	return pids, done
}

func wantGone(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d lives: %s", pid, proc.Command(pid))
		}
	}
}

func TestB41CancelEndsEverything(t *testing.T) {
	for name, spread := range families {
		for _, terminal := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, terminal %t", name, terminal), func(t *testing.T) {
				b := newBox(t)
				ctx, cancel := context.WithCancelCause(t.Context())
				spec := b.spec()
				spec.KillGrace = 200 * time.Millisecond
				if terminal {
					spec.Terminal = &driver.TerminalSize{Rows: 24, Cols: 80}
				}
				bystander, other := b.background(t.Context(), b.spec("sleep", "300"), driver.ExecIO{})
				pids, done := b.family(ctx, spread, spec, driver.ExecIO{Stdin: neverEnding(t), Stdout: newLines()})
				cancel(errors.New("no longer wanted"))
				r := b.wait(done)
				if !errors.Is(r.err, context.Canceled) || driver.ReasonOf(r.err) != driver.Canceled || !strings.Contains(r.err.Error(), "no longer wanted") {
					t.Errorf("got %v", r.err)
				}
				wantGone(t, pids)
				if !alive(bystander) {
					t.Error("another command was ended too")
				}
				if err := b.Stop(t.Context(), b.id, 0); err != nil {
					t.Fatal(err)
				}
				b.wait(other)
			})
		}
	}
}

// neverEnding is input that ends with the test.
func neverEnding(t *testing.T) readerFunc {
	end := make(chan struct{})
	t.Cleanup(func() { close(end) })
	return func([]byte) (int, error) { <-end; return 0, errors.New("the test is over") }
}

func TestB41Timeout(t *testing.T) {
	b := newBox(t)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, driver.Errorf(driver.Timeout, "it took too long"))
	defer cancel()
	r := b.runContext(ctx, b.script("sleep 60 & sleep 60"), driver.ExecIO{})
	wantReason(t, r.err, driver.Timeout, "")
	if !errors.Is(r.err, context.DeadlineExceeded) {
		t.Errorf("got %v", r.err)
	}
}

func TestB41PoliteFirst(t *testing.T) {
	for terminal, signal := range map[bool]string{false: "TERM", true: "HUP"} {
		t.Run(signal, func(t *testing.T) {
			b := newBox(t)
			spec := b.script("trap 'echo asked " + signal + "; exit' " + signal + "; echo ready; while :; do sleep 0.02; done")
			spec.KillGrace = patience
			if terminal {
				spec.Terminal = &driver.TerminalSize{}
			}
			out := newLines()
			ctx, cancel := context.WithCancelCause(t.Context())
			_, done := b.background(ctx, spec, driver.ExecIO{Stdin: neverEnding(t), Stdout: out})
			out.want(t, "ready")
			cancel(nil)
			if r := b.wait(done); !errors.Is(r.err, context.Canceled) {
				t.Fatal(r.err)
			}
			if !strings.Contains(out.all(), "asked "+signal) {
				t.Errorf("it was not asked: %q", out.all())
			}
		})
	}
}

func TestB41PoliteToTheStopped(t *testing.T) {
	b := newBox(t)
	spec := b.script("sh -c 'trap \"echo asked > asked; exit\" TERM; echo $$ > pid; kill -STOP $$; while :; do sleep 0.02; done' & wait; sleep 300")
	spec.KillGrace = patience
	ctx, cancel := context.WithCancelCause(t.Context())
	_, done := b.background(ctx, spec, driver.ExecIO{})
	pid := b.pidFrom("pid")
	eventually(t, "it stopped", func() bool { p, err := proc.Read(pid); return err == nil && p.Stopped })
	cancel(nil)
	if r := b.wait(done); !errors.Is(r.err, context.Canceled) {
		t.Fatal(r.err)
	}
	if _, err := os.Stat(b.dir + "/asked"); err != nil {
		t.Error("it was not asked")
	}
}

func TestB41CancelWithBlockedWriter(t *testing.T) {
	b := newBox(t)
	open := make(chan struct{})
	defer close(open)
	ctx, cancel := context.WithCancelCause(t.Context())
	entered := make(chan struct{}, 1)
	_, done := b.background(ctx, b.spec("yes"), driver.ExecIO{Stdout: writerFunc(func(p []byte) (int, error) {
		entered <- struct{}{}
		<-open
		return len(p), nil
	})})
	<-entered
	cancel(nil)
	if r := b.wait(done); !errors.Is(r.err, context.Canceled) {
		t.Fatal(r.err)
	}
}

func TestDetach(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		t.Run(fmt.Sprintf("terminal %t", terminal), func(t *testing.T) {
			b := newBox(t)
			spec := b.script("trap '' PIPE; echo ready; i=0; while :; do echo $i; i=$((i+1)); echo $i > count; sleep 0.01; done")
			spec.Detach = true
			if terminal {
				spec.Terminal = &driver.TerminalSize{}
			}
			out := newLines()
			ctx, cancel := context.WithCancelCause(t.Context())
			pid, done := b.background(ctx, spec, driver.ExecIO{Stdin: neverEnding(t), Stdout: out})
			out.want(t, "ready")
			cancel(nil)
			if r := b.wait(done); !errors.Is(r.err, context.Canceled) {
				t.Fatal(r.err)
			}
			after := out.all()
			count := func() string { data, _ := os.ReadFile(b.dir + "/count"); return string(data) }
			before := count()
			eventually(t, "progress of the detached command", func() bool { return count() != before && count() != "" })
			if out.all() != after {
				t.Error("output came after Exec had returned")
			}
			if err := b.Stop(t.Context(), b.id, 100*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			wantGone(t, []int{pid})
		})
	}
}

func TestB43StopEndsEverything(t *testing.T) {
	for name, spread := range families {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			pids, done := b.family(t.Context(), spread, b.spec(), driver.ExecIO{})
			if err := b.Stop(t.Context(), b.id, 200*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			wantGone(t, pids)
			if r := b.wait(done); r.err != nil || r.status.Signal == "" {
				t.Errorf("got %+v, %v", r.status, r.err)
			}
		})
	}
}

func TestB43StopEndsWhatWasLeftBehind(t *testing.T) {
	for name, spread := range families {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			n := strings.Count(spread, ">> pids")
			b.must(b.spec("bash", "-c", "exec </dev/null >/dev/null 2>&1\n"+spread+
				fmt.Sprintf("\nwhile [ \"$(cat pids 2>/dev/null | wc -l)\" -lt %d ]; do sleep 0.01; done", n)), nil)
			pids := numbers(b.dir + "/pids")
			if len(pids) != n {
				t.Fatalf("got %v", pids)
			}
			if err := b.Stop(t.Context(), b.id, 200*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			wantGone(t, pids)
		})
	}
}

func TestB43ShutdownEndsEverything(t *testing.T) {
	b := newBox(t)
	var pids []int
	for _, spread := range families {
		spec := b.spec()
		spec.Detach = true
		more, _ := b.family(t.Context(), spread, spec, driver.ExecIO{})
		pids = append(pids, more...)
	}
	// As sdk/serve calls it when the core has vanished.
	ctx, cancel := context.WithTimeoutCause(t.Context(), 1500*time.Millisecond, errors.New("too slow"))
	defer cancel()
	if err := b.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	wantGone(t, pids)
	if pid := b.processes.keeper.PID(); pid != 0 {
		t.Errorf("the keeper %d runs", pid)
	}
	_, err := b.Start(t.Context(), b.id)
	wantReason(t, err, driver.Canceled, "")
	if err := b.Shutdown(t.Context()); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestOrphansAreReaped(t *testing.T) {
	b := newBox(t)
	_, done := b.background(t.Context(), b.script("for i in 1 2 3; do (sh -c 'echo $$ >> pids; exec sleep 0.1' &); done; echo go > ready; sleep 300"), driver.ExecIO{})
	eventually(t, "orphans gone", func() bool {
		pids := numbers(b.dir + "/pids")
		return len(pids) == 3 && !slices.ContainsFunc(pids, func(pid int) bool {
			_, err := proc.Read(pid)
			return err == nil // alive or a zombie
		})
	})
	if err := b.Stop(t.Context(), b.id, 0); err != nil {
		t.Fatal(err)
	}
	b.wait(done)
}

func TestOtherChildrenOfTheProcessAreLeftAlone(t *testing.T) {
	b := newBox(t)
	other := exec.CommandContext(t.Context(), "sh", "-c", "exit 3")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	long := exec.CommandContext(t.Context(), "sleep", "300")
	if err := long.Start(); err != nil {
		t.Fatal(err)
	}
	for range 5 { // each wakes the sweeper
		b.must(b.script("(sleep 0.01 &)"), nil)
		time.Sleep(sweepPause / 2)
	}
	if err := b.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := other.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 3 {
		t.Errorf("its status was taken: %v", err)
	}
	if !alive(long.Process.Pid) {
		t.Error("it was ended")
	}
	_ = long.Process.Kill()
	_ = long.Wait()
}

func TestNothingIsKeptOfWhatIsOver(t *testing.T) {
	b := newBox(t)
	for range 20 {
		b.must(b.spec("true"), nil)
	}
	b.must(b.script("setsid sleep 0.3 & "), nil)
	eventually(t, "everything forgotten", func() bool {
		b.processes.mu.Lock()
		defer b.processes.mu.Unlock()
		return len(b.processes.all) == 0 && len(b.processes.own) == 0
	})
}

func TestStressStartAndKill(t *testing.T) {
	b := newBox(t)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i := range 200 {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Duration(i%20)*time.Millisecond, errors.New("enough"))
			defer cancel()
			spec := b.script("sleep 60 & sleep 60")
			if i%4 == 0 {
				spec.Terminal = &driver.TerminalSize{}
			}
			if _, err := b.Exec(ctx, spec, driver.ExecIO{Stdout: newLines()}); driver.ReasonOf(err) != driver.Timeout {
				if spec.Terminal == nil {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	wg.Wait()
	found, err := b.processes.survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, members := range found {
		for _, p := range members {
			t.Errorf("process %d is left: %s", p.PID, proc.Command(p.PID))
		}
	}
}
