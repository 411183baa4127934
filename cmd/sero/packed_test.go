package main

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/internal/testutil"
)

// TestPacked proves the sero that make builds: the command line alone, with the
// whole program packed in it.
func TestPacked(t *testing.T) {
	s := newPackedSero(t)
	s.want(0, "", "exec", "--driver", "host", "--", "true")
	pid := strconv.Itoa(s.driver("host").PID)
	if line, err := exec.Command("ps", "-o", "args=", "-p", pid).Output(); err != nil || !strings.HasPrefix(string(line), s.programs+"/sero-test/") {
		t.Errorf("the host driver runs as %q, %v, not from where the program was put", line, err)
	}
	s.want(7, "word", "exec", "--driver", "host", "--", "sh", "-c", "echo word; exit 7")

	beside := filepath.Join(filepath.Dir(s.path), "sero-driver-neighbour")
	if err := os.WriteFile(beside, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	old, young := filepath.Join(s.programs, "sero-old"), filepath.Join(s.programs, "sero-young")
	for _, dir := range []string{old, young} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	yesterday := time.Now().AddDate(0, 0, -1)
	if err := os.Chtimes(old, yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(s.programs, "sero-test"), yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	s.want(0, "has ended", "daemon", "stop")
	if d := s.driver("neighbour"); d.Origin != "beside" || d.Path != beside {
		t.Errorf("the driver beside sero is found as %+v", d)
	}
	left, _ := filepath.Glob(filepath.Join(s.programs, "*"))
	if len(left) != 2 || left[0] != filepath.Join(s.programs, "sero-test") || left[1] != young {
		t.Errorf("of the programs there are %v, not its own and the young one", left)
	}

	nowhere := s.command("ls")
	nowhere.Env = append(nowhere.Env, paths.HomeVariable+"="+filepath.Join(beside, "home"), paths.RunVariable+"="+testutil.ShortDir(t))
	if out, err := nowhere.CombinedOutput(); err == nil || !strings.Contains(string(out), "set SERO_HOME to a directory that you can write") {
		t.Errorf("without a place for the program: %v: %s", err, out)
	}

	// What the command line has not, the whole program does.
	s.want(0, "", "serve") // runs already
	s.want(0, "usage: sero serve", "serve", "--help")
	s.want(2, "--nonsense", "serve", "--nonsense")
	s.want(0, `"name": "host"`, "driver", "serve", "host", "describe")
	s.want(1, "apple-container, docker, host", "driver", "serve", "nothing")
	s.want(0, "2 passed, 0 failed", "driver", "test", "--run", "^WIRE-1$", "host")
	s.want(2, "--run", "driver", "test", "--run", "(", "host")
	s.want(2, "one argument too many", "driver", "test", "host", "fake")

	s.want(0, "has ended", "daemon", "stop")
	s.want(1, "WIRE-1", "driver", "test", "--run", "^WIRE-1$", "neighbour")

	// The daemon in the foreground ends like any program of a terminal.
	s.want(0, "has ended", "daemon", "stop")
	foreground := s.command("serve", "--idle-exit", "0")
	if err := foreground.Start(); err != nil {
		t.Fatal(err)
	}
	s.awaitDaemon()
	if d := s.driver("neighbour"); d.Origin != "beside" {
		t.Errorf("with the daemon in the foreground the driver beside sero is %+v", d)
	}
	if err := foreground.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := foreground.Wait(); err != nil {
		t.Errorf("the daemon in the foreground, interrupted: %v", err)
	}
}

// packedSero is one with a home of its own.
type packedSero struct {
	t        *testing.T
	path     string
	dir      string // a workspace
	programs string
	env      []string
}

func newPackedSero(t *testing.T) *packedSero {
	t.Helper()
	dir := t.TempDir()
	home, run := filepath.Join(dir, "real"), testutil.ShortDir(t)
	link := filepath.Join(dir, "home") // as where homes are kept elsewhere
	if err := os.Symlink("real", link); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	s := &packedSero{
		t: t, dir: filepath.Join(dir, "work"), programs: paths.Programs(home), path: filepath.Join(dir, "bin", "sero"),
		env: append(os.Environ(), paths.HomeVariable+"="+link, paths.RunVariable+"="+run, noEngine(dir)),
	}
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	buildPacked(t, s.path)
	t.Cleanup(func() { _ = s.command("daemon", "stop").Run() })
	return s
}

// buildPacked builds a packed sero without writing into the source: the packed
// program is laid over it.
func buildPacked(t *testing.T, to string) {
	t.Helper()
	build := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "go", append([]string{"build"}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("build: %v: %s", err, out)
		}
	}
	dir := t.TempDir()
	gz, overlay := filepath.Join(dir, "sero.gz"), filepath.Join(dir, "overlay.json")
	compress(t, filepath.Join(buildWithHelper(t), "sero"), gz)
	bin, err := filepath.Abs(filepath.Join("internal", "packed", "bin"))
	if err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{filepath.Join(bin, "sero-test.gz"): gz}
	built, _ := filepath.Glob(filepath.Join(bin, "*.gz"))
	for _, path := range built {
		replace[path] = "" // as if it were not there
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		t.Fatal(err)
	}
	build("-overlay", overlay, "-tags", "packed", "-o", to, ".")
}

func compress(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	z, _ := gzip.NewWriterLevel(out, gzip.BestSpeed)
	_, err = io.Copy(z, in)
	if err := errors.Join(err, z.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
}

func (s *packedSero) command(args ...string) *exec.Cmd {
	cmd := exec.Command(s.path, args...)
	cmd.Dir, cmd.Env = s.dir, s.env
	return cmd
}

// awaitDaemon waits for a daemon that this sero did not start. One that is not
// there yet is reported, and not started.
func (s *packedSero) awaitDaemon() {
	s.t.Helper()
	for range 600 {
		if out, err := s.command("daemon", "status", "--json").Output(); err == nil && strings.Contains(string(out), `"running":true`) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Fatal("there is no daemon")
}

func (s *packedSero) want(code int, text string, args ...string) {
	s.t.Helper()
	cmd := s.command(args...)
	out, err := cmd.CombinedOutput()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		s.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code || !strings.Contains(string(out), text) {
		s.t.Errorf("sero %s: exit code %d, not %d with %q:\n%s", strings.Join(args, " "), got, code, text, out)
	}
}

type driverInfo struct {
	Path, Origin string
	PID          int
}

func (s *packedSero) driver(name string) (d driverInfo) {
	s.t.Helper()
	out, err := s.command("driver", "info", "--json", name).Output()
	if err != nil {
		s.t.Fatalf("driver info %s: %v", name, err)
	}
	if err := json.Unmarshal(out, &d); err != nil {
		s.t.Fatalf("driver info %s: %v: %s", name, err, out)
	}
	return d
}
