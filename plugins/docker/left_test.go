package docker_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/launch"
)

// launched is the built binary, started as the core starts it.
func launched(t *testing.T, path, host string) *launch.Process {
	t.Helper()
	runDir, err := os.MkdirTemp("/tmp", "sero-docker") //nolint:usetesting // sockets need a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(runDir) })
	p, err := launch.Start(t.Context(), launch.Config{
		Name: "docker", Path: path, RunDir: runDir,
		Env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "DOCKER_HOST=" + host},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Close(context.WithoutCancel(t.Context())) // some tests have ended it already
		<-p.Exited()
	})
	return p
}

// TestB41KilledDriversCommands kills a driver that runs commands. The next one
// ends them before it runs anything itself, but for those that are to go on and
// those of a driver that lives.
func TestB41KilledDriversCommands(t *testing.T) {
	b := newBox(t, dockertest.Engine(t))
	b.start()
	path := binary(t)
	first, alive := launched(t, path, b.host), launched(t, path, b.host)
	begin := func(d driver.Driver, spec driver.ExecSpec, script string) {
		t.Helper()
		spec.SandboxID, spec.ExecID, spec.Argv = b.spec.ID, script, []string{"sh", "-c", script + " & echo up; wait"}
		up, ended := make(chan struct{}, 1), make(chan struct{})
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			defer close(ended)
			_, _ = d.Exec(ctx, spec, driver.ExecIO{Stdout: writerFunc(func(p []byte) (int, error) {
				up <- struct{}{}
				return len(p), nil
			})})
		}()
		t.Cleanup(func() { cancel(nil); <-ended })
		select {
		case <-up:
		case <-time.After(patience):
			t.Fatalf("%s does not run", script)
		}
	}
	begin(first, driver.ExecSpec{}, "sleep 6001")
	begin(first, driver.ExecSpec{User: "7001:7002"}, "setsid sleep 6002")
	begin(first, driver.ExecSpec{Terminal: &driver.TerminalSize{Rows: 24, Cols: 80}}, "trap '' HUP TERM; sleep 6003")
	begin(first, driver.ExecSpec{Detach: true}, "sleep 6004")
	begin(alive, driver.ExecSpec{}, "sleep 6005")
	first.Kill()
	<-first.Exited()

	second := launched(t, path, b.host)
	var out strings.Builder
	spec := driver.ExecSpec{SandboxID: b.spec.ID, ExecID: "look", Argv: []string{"sh", "-c", "ps -e -o args= | grep -o '^sleep 600.' | sort"}}
	if status, err := second.Exec(t.Context(), spec, driver.ExecIO{Stdout: &out, Stderr: &out}); err != nil || status.ShellCode() != 0 {
		t.Fatalf("%+v, %v", status, err)
	}
	if got := out.String(); got != "sleep 6004\nsleep 6005\n" {
		t.Errorf("these run:\n%s", got)
	}
}
