package guest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// cutDriver is a driver whose commands can all be cut off, as by a kill -9.
type cutDriver struct {
	dockerExec
	mu  sync.Mutex
	ctx context.Context //nolint:containedctx // of what runs
	end context.CancelCauseFunc
}

func (d *cutDriver) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.end != nil {
		d.end(errCut)
	}
	d.ctx, d.end = context.WithCancelCause(context.Background())
}

var errCut = driver.Errorf(driver.DriverCrashed, "the driver was killed")

func (d *cutDriver) Exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	d.mu.Lock()
	life := d.ctx
	d.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(life, func() { cancel(context.Cause(life)) })()
	return d.dockerExec.Exec(ctx, spec, stdio)
}

// TestFTheFirstCommandAfterAKillWorks kills the helper and the way to it, before
// commands and while they begin. Each command appends a line to a file: once where
// it works, and at most once where it says that it may have begun. One that is
// given after the kill works; after that of a driver, unless it has begun. Issue 6,
// row F.
func TestFTheFirstCommandAfterAKillWorks(t *testing.T) {
	for _, by := range []way{bySocket, byDriver} {
		t.Run(string(by), func(t *testing.T) {
			id, engine := container(t, true)
			d := &cutDriver{dockerExec: dockerExec{engine: engine}}
			d.cut()
			defer d.cut()
			g := guestOf(t, id, by, d)
			kills := []func(){
				d.cut, // which what is beside the driver does not know at once
				func() { inside(t, engine, id, "pkill -KILL -f '^sero-guest host'") },
				func() { inside(t, engine, id, "pkill -KILL -f '^[^ ]*sero-guest-[a-z0-9]*$'") }, // the channel
				func() { inside(t, engine, id, "pkill -KILL -f sero-guest") },
			}
			tried, lost, failed := 0, 0, [24]bool{}
			for round := range 24 {
				kill := kills[round%len(kills)]
				kill()
				err := appendLine(t, g, fmt.Sprintf("after-%d", round))
				if failed[round] = err != nil; failed[round] && round%len(kills) > 0 {
					t.Errorf("round %d: the first command after a kill: %v", round, err)
				}
				var during sync.WaitGroup
				pause := time.Duration(rand.Int64N(int64(30 * time.Millisecond)))
				during.Go(func() { time.Sleep(pause); kill() })
				for n := range 8 {
					tried++
					if err := appendLine(t, g, fmt.Sprintf("during-%d-%d", round, n)); err != nil {
						lost++
					}
				}
				during.Wait()
			}
			lines := map[string]int{}
			for line := range strings.FieldsSeq(inside(t, engine, id, "cat /tmp/ran")) {
				lines[line]++
			}
			for line, times := range lines {
				if times != 1 {
					t.Errorf("%s ran %d times", line, times)
				}
			}
			for round := range 24 {
				if name := fmt.Sprintf("after-%d", round); lines[name] != 1 && !failed[round] {
					t.Errorf("%s ran %d times", name, lines[name])
				}
			}
			t.Logf("24 commands after a kill, and %d while one came, %d of which were lost", tried, lost)
		})
	}
}

// appendLine runs a command that appends a line. An error must be of one that had
// begun, or say that it may have.
func appendLine(t *testing.T, g *guest.Guest, line string) error {
	t.Helper()
	begun := false
	status, err := g.Exec(t.Context(), driver.ExecSpec{
		Argv: []string{"sh", "-c", "echo " + line + " >>/tmp/ran"}, Dir: "/", ExecID: line,
	}, driver.ExecIO{Started: func(int64) { begun = true }})
	if err == nil && status.ShellCode() != 0 {
		t.Errorf("%s: %+v", line, status)
	}
	if err != nil && !begun && !strings.Contains(err.Error(), "may have begun") {
		t.Errorf("%s: %v", line, err)
	}
	return err
}

// inside runs a script in a container beside the Guest.
func inside(t *testing.T, engine, id, script string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", "--host", engine, "exec", id, "sh", "-c", script).Output()
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return string(out)
}
