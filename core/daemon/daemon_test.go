package daemon_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/daemon"
	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

func TestSecondDaemonIsRefused(t *testing.T) {
	r := start(t, fake.Script{})
	if err := daemon.Run(t.Context(), r.config); !errors.Is(err, daemon.ErrRunning) {
		t.Errorf("the second daemon: %v", err)
	}
	if _, err := r.daemon.GetStatus(t.Context(), &apipb.GetStatusRequest{}); err != nil {
		t.Errorf("the first one afterwards: %v", err)
	}
}

// F: a daemon that was started and is not waited for any more does not begin, and
// one whose home or run directory has gone ends.
func TestFUnwantedDaemonDoesNotBegin(t *testing.T) {
	for times := range 2 { // how often it is still wanted when it asks
		home := t.TempDir()
		c := daemon.Config{
			Home: home, RunDir: testutil.ShortDir(t), Version: "0.1.0", Log: slog.New(slog.DiscardHandler),
			Wanted: func() bool { times--; return times >= 0 },
		}
		if err := daemon.Run(t.Context(), c); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(paths.Socket(c.RunDir)); err == nil {
			t.Error("it served")
		}
	}
}

func TestUnreachableDaemonEnds(t *testing.T) {
	for name, hide := range map[string]func(run, home string) error{
		"run directory removed": func(run, _ string) error { return os.RemoveAll(run) },
		"run directory replaced": func(run, _ string) error {
			return errors.Join(os.Rename(run, run+"-old"), os.Mkdir(run, 0o700))
		},
		"socket removed":  func(run, _ string) error { return os.Remove(paths.Socket(run)) },
		"F: home removed": func(_, home string) error { return os.RemoveAll(home) },
		"F: home replaced": func(_, home string) error {
			return errors.Join(os.Rename(home, home+"-old"), os.Mkdir(home, 0o700))
		},
		"F: state removed": func(_, home string) error { return os.RemoveAll(paths.State(home)) },
		"F: lock replaced": func(_, home string) error {
			lock := paths.HomeLock(home)
			return errors.Join(os.Remove(lock), os.WriteFile(lock, nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, fake.Script{})
			t.Cleanup(func() { _ = os.RemoveAll(r.config.RunDir + "-old") })
			if err := hide(r.config.RunDir, r.config.Home); err != nil {
				t.Fatal(err)
			}
			if err := r.ended(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A daemon that was cut off must not take its successor's socket along.
func TestSuccessorKeepsItsSocket(t *testing.T) {
	r := start(t, fake.Script{}, func(c *daemon.Config) { c.CheckEvery = time.Hour })
	run := r.config.RunDir
	if err := errors.Join(os.RemoveAll(run), os.Mkdir(run, 0o700)); err != nil {
		t.Fatal(err)
	}
	successor, err := net.Listen("unix", paths.Socket(run))
	if err != nil {
		t.Fatal(err)
	}
	defer successor.Close()
	r.end(errors.New("it notices at last"))
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(paths.Socket(run)); err != nil {
		t.Errorf("the successor's socket: %v", err)
	}
}

func TestNothingIsLeftInTheRunDirectoryButTheLock(t *testing.T) {
	r := start(t, fake.Script{})
	r.workspace()
	r.end(errors.New("enough"))
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(paths.Socket(r.config.RunDir)); err == nil {
		t.Error("the socket is left")
	}
	if left, _ := filepath.Glob(filepath.Join(r.config.RunDir, "d", "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestIdleExit(t *testing.T) {
	const limit = 200 * time.Millisecond
	idle := func(c *daemon.Config) { c.IdleExit = limit }

	t.Run("nothing runs", func(t *testing.T) {
		if err := start(t, fake.Script{}, idle).ended(); err != nil {
			t.Error(err)
		}
	})
	t.Run("a command runs", func(t *testing.T) {
		r := start(t, fake.Script{}, idle)
		_, client := r.command(r.workspace(), "sleep", "3600")
		time.Sleep(4 * limit) // what must not happen cannot be waited for otherwise
		if !r.alive() {
			t.Fatal("the daemon ended under a command")
		}
		client.vanish()
		if err := r.ended(); err != nil {
			t.Error(err)
		}
	})
	t.Run("a dev server runs", func(t *testing.T) {
		r := start(t, fake.Script{}, idle)
		ref := &apipb.WorkspaceRef{Id: r.workspace().GetId()}
		started, err := r.servers.StartDevServer(t.Context(), &apipb.StartDevServerRequest{
			Workspace: ref, Command: []string{"listen", "5173"}, Name: "web", Port: 5173,
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := started.GetDevServer().GetStatus(); got != apipb.DevServerStatus_DEV_SERVER_STATUS_RUNNING {
			t.Fatalf("the server is %v", got)
		}
		time.Sleep(4 * limit)
		if !r.alive() {
			t.Fatal("the daemon ended under a dev server")
		}
		if _, err := r.servers.StopDevServer(t.Context(), &apipb.StopDevServerRequest{
			DevServer: &apipb.DevServerRef{Id: "web", Workspace: ref},
		}); err != nil {
			t.Fatal(err)
		}
		if err := r.ended(); err != nil {
			t.Error(err)
		}
	})
}

func TestShutdownAnswersAndEndsTheDrivers(t *testing.T) {
	r := start(t, fake.Script{})
	w := r.workspace()
	stream, _ := r.command(w, "sleep", "3600")
	got, err := r.drivers.GetDriver(t.Context(), &apipb.GetDriverRequest{Name: "box"})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := r.daemon.Shutdown(t.Context(), &apipb.ShutdownRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if answer.GetPid() != int64(os.Getpid()) {
		t.Errorf("the daemon that ends is %d", answer.GetPid())
	}
	for err == nil {
		_, err = stream.Receive()
	}
	wantReason(t, err, "CANCELED")
	if err := r.ended(); err != nil {
		t.Error(err)
	}
	pid := int(got.GetDriver().GetPid())
	if pid <= 1 {
		t.Fatalf("the driver's process is %d", pid)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the driver's process: %v", err)
	}
}

func TestB41VanishedClientEndsItsCommand(t *testing.T) {
	r := start(t, fake.Script{})
	w := r.workspace()
	_, client := r.command(w, "sleep", "3600")
	status, err := r.daemon.GetStatus(t.Context(), &apipb.GetStatusRequest{})
	if err != nil || status.GetRunningCommands() != 1 {
		t.Fatalf("commands running: %d, %v", status.GetRunningCommands(), err)
	}
	before := r.noted("end Exec") // of the guest helper, which is not there
	client.vanish()
	r.until("the driver ended the command", func() bool { return r.noted("end Exec") == before+1 })
	r.until("no command is counted", func() bool {
		status, err := r.daemon.GetStatus(t.Context(), &apipb.GetStatusRequest{})
		return err == nil && status.GetRunningCommands() == 0
	})
}

func TestB14ManyUpsMakeOneSandbox(t *testing.T) {
	r := start(t, fake.Script{Rules: []fake.Rule{{Call: "CreateSandbox", Delay: fake.Duration(300 * time.Millisecond)}}})
	dir := t.TempDir()
	var group sync.WaitGroup
	errs := make([]error, 200)
	ids := make([]string, len(errs))
	for i := range errs {
		group.Go(func() {
			w, err := r.up(dir)
			ids[i], errs[i] = w.GetId(), err
			if err == nil && w.GetState() != apipb.WorkspaceState_WORKSPACE_STATE_RUNNING {
				errs[i] = fmt.Errorf("it is %v", w.GetState())
			}
		})
	}
	group.Wait()
	for i := range errs {
		if errs[i] != nil || ids[i] != ids[0] {
			t.Errorf("caller %d: workspace %q, %v", i, ids[i], errs[i])
		}
	}
	if n := r.noted("call CreateSandbox"); n != 1 {
		t.Errorf("%d sandboxes were made", n)
	}
}

// A third party's binary in the user's directory is used like a bundled driver.
func TestB1ThirdPartysDriver(t *testing.T) {
	r := start(t, fake.Script{}, func(c *daemon.Config) {
		dir := paths.Drivers(c.Home)
		script := fmt.Sprintf("#!/bin/sh\nexec '%s' driver other\n", c.Bundled[0].Path)
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "sero-driver-other"), []byte(script), 0o700)); err != nil { //nolint:gosec // it is a program
			t.Fatal(err)
		}
	})
	stream, err := r.workspaces.Up(t.Context(), &apipb.UpRequest{
		Workspace: &apipb.WorkspaceRef{Directory: t.TempDir()}, Driver: "other",
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var w *apipb.Workspace
	for stream.Receive() {
		w = stream.Msg().GetWorkspace()
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	if w.GetDriver().GetActual() != "other" {
		t.Errorf("the driver is %q", w.GetDriver().GetActual())
	}
	list, err := r.drivers.ListDrivers(t.Context(), &apipb.ListDriversRequest{})
	if err != nil {
		t.Fatal(err)
	}
	pids := map[int64]bool{int64(os.Getpid()): true}
	for _, d := range list.GetDrivers() {
		if !d.GetUsable() || pids[d.GetPid()] {
			t.Errorf("driver %s: usable %v, process %d", d.GetName(), d.GetUsable(), d.GetPid())
		}
		pids[d.GetPid()] = true
	}
	if len(list.GetDrivers()) != 2 {
		t.Errorf("%d drivers", len(list.GetDrivers()))
	}
}
