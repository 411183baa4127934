package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/launch"
)

// launched is the built binary, started as the core starts it.
func launched(t *testing.T) *launch.Process {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "sero-driver-host")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/sero-labs/sero-runtime/cmd/sero-driver-host")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	runDir, err := os.MkdirTemp("/tmp", "sero-host") //nolint:usetesting // sockets need a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(runDir) })
	p, err := launch.Start(t.Context(), launch.Config{
		Name: "host", Path: binary, RunDir: runDir,
		Env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")},
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

func TestLaunchedBinary(t *testing.T) {
	p := launched(t)
	if diff := cmp.Diff(driver.Capabilities(New()), driver.Capabilities(p)); diff != "" {
		t.Error(diff)
	}
	dir := t.TempDir()
	spec := driver.SandboxSpec{ID: "sero-launched", WorkspaceDir: dir}
	if _, err := p.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Start(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	t.Run("exec", func(t *testing.T) {
		in := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
		var out, errs bytes.Buffer
		status, err := p.Exec(t.Context(), driver.ExecSpec{SandboxID: spec.ID, Argv: []string{"sh", "-c", "cat; pwd >&2; exit 7"}},
			driver.ExecIO{Stdin: bytes.NewReader(in), Stdout: &out, Stderr: &errs})
		if err != nil || status.Code != 7 || !bytes.Equal(in, out.Bytes()) || errs.String() != dir+"\n" {
			t.Errorf("%+v, %v, %d bytes, %q", status, err, out.Len(), errs.String())
		}
	})
	t.Run("errors", func(t *testing.T) {
		_, err := p.Exec(t.Context(), driver.ExecSpec{SandboxID: spec.ID, Argv: []string{"no-such"}}, driver.ExecIO{})
		wantReason(t, err, driver.CommandNotFound, "argv[0]")
		_, err = p.Create(t.Context(), driver.SandboxSpec{ID: "../x", WorkspaceDir: dir})
		wantReason(t, err, driver.NameInvalid, "id")
	})
	t.Run("B43 killed", func(t *testing.T) {
		script := strings.Join([]string{families["daemon"], families["deaf"], families["own session"]}, "\n")
		done := make(chan error, 1)
		go func() {
			_, err := p.Exec(t.Context(), driver.ExecSpec{SandboxID: spec.ID, Argv: []string{"bash", "-c", script + "\necho $$ >> pids; wait; sleep 300"}}, driver.ExecIO{Stdout: io.Discard})
			done <- err
		}()
		v := &victim{dir: dir}
		pids := v.pids(t, 4)
		killed := time.Now()
		p.Kill()
		if err := <-done; driver.ReasonOf(err) != driver.DriverCrashed {
			t.Errorf("got %v", err)
		}
		eventually(t, "all gone", func() bool { return !slices.ContainsFunc(pids, alive) })
		wantSoon(t, killed)
	})
}

func TestLaunchedBinaryEndsItsCommandsByRequest(t *testing.T) {
	p := launched(t)
	dir := t.TempDir()
	if _, err := p.Create(t.Context(), driver.SandboxSpec{ID: "sero-launched", WorkspaceDir: dir}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Start(t.Context(), "sero-launched"); err != nil {
		t.Fatal(err)
	}
	spec := driver.ExecSpec{SandboxID: "sero-launched", Argv: []string{"bash", "-c", families["daemon"] + "\necho $$ >> pids; sleep 300"}}
	go func() { _, _ = p.Exec(t.Context(), spec, driver.ExecIO{}) }()
	v := &victim{dir: dir}
	pids := v.pids(t, 2)
	if err := p.Shutdown(t.Context()); err != nil && !errors.Is(err, io.EOF) {
		t.Log(fmt.Sprint("shutdown: ", err))
	}
	eventually(t, "all gone", func() bool { return !alive(pids[0]) && !alive(pids[1]) })
}
