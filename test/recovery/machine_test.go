// Package recovery_test breaks a Docker Engine under sero's hands, as people and
// machines do, and looks at what sero answers: the program is the one that a
// person runs, the engine is a real one of the test's own.
package recovery_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
)

// deadline is what every answer has to come within, whatever has happened to the
// engine. It is that of the slowest call, not of a quick one.
const deadline = 60 * time.Second

// machine is a person's machine with an engine and no workspace yet.
type machine struct {
	t      *testing.T
	engine *dockertest.Daemon
	image  string
	binary string
	home   string
	env    []string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t: t, engine: dockertest.Private(t), image: dockertest.BaseImage(t), home: t.TempDir()}
	m.binary = filepath.Join(t.TempDir(), "sero")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", m.binary, "../../cmd/sero").CombinedOutput(); err != nil {
		t.Fatalf("building sero: %v\n%s", err, out)
	}
	run, err := os.MkdirTemp("/tmp", "sero-r") //nolint:usetesting // its path must be short for sockets
	if err != nil {
		t.Fatal(err)
	}
	m.env = append(os.Environ(), "HOME="+m.home, paths.HomeVariable+"="+filepath.Join(m.home, ".sero"), paths.RunVariable+"="+run,
		"DOCKER_HOST="+m.engine.Host)
	t.Cleanup(func() {
		m.in(m.home).ok("daemon", "stop")
		if err := os.RemoveAll(run); err != nil {
			t.Error(err)
		}
	})
	return m
}

// workspace is a directory that sero opens with the docker driver.
type workspace struct {
	*machine
	t   *testing.T
	dir string
	id  string
}

func (m *machine) in(dir string) *workspace { return &workspace{machine: m, t: m.t, dir: dir} }

// workspace makes a directory for a workspace of that id.
func (m *machine) workspace(t *testing.T, id string) *workspace {
	t.Helper()
	w := &workspace{machine: m, t: t, dir: filepath.Join(m.home, id), id: id}
	text, err := json.Marshal(map[string]any{"id": id, "image": m.image, "driver": "docker"})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(w.dir, 0o755), os.WriteFile(filepath.Join(w.dir, "sero.json"), text, 0o600)); err != nil { //nolint:gosec // a directory of sources
		t.Fatal(err)
	}
	return w
}

func (w *workspace) sandbox() string { return "sero-" + w.id }

// answer is what a run of sero gave.
type answer struct {
	stdout, stderr string
	code           int
}

// reason is that of the error that was printed as JSON.
func (a answer) reason() string {
	var printed struct {
		Error struct{ Reason string }
	}
	lines := strings.Split(strings.TrimSpace(a.stderr), "\n")
	if json.Unmarshal([]byte(lines[len(lines)-1]), &printed) != nil {
		return ""
	}
	return printed.Error.Reason
}

// sero runs sero in the workspace; the test fails when it does not answer.
func (w *workspace) sero(args ...string) answer {
	w.t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), deadline, errors.New("sero hangs"))
	defer cancel()
	cmd := exec.CommandContext(ctx, w.binary, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = w.dir, w.env, time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	_, exited := errors.AsType[*exec.ExitError](err)
	if ctx.Err() != nil || (err != nil && !exited) {
		w.t.Errorf("sero %s: %v, %v\n%s%s", strings.Join(args, " "), err, context.Cause(ctx), out.String(), errs.String())
	}
	return answer{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// ok runs sero, which must succeed.
func (w *workspace) ok(args ...string) string {
	w.t.Helper()
	a := w.sero(args...)
	if a.code != 0 {
		w.t.Fatalf("sero %s: exit code %d\n%s%s", strings.Join(args, " "), a.code, a.stdout, a.stderr)
	}
	return a.stdout
}

// fails runs sero with --json, which must fail for a reason.
func (w *workspace) fails(reason string, args ...string) answer {
	w.t.Helper()
	a := w.sero(append([]string{args[0], "--json"}, args[1:]...)...)
	if a.code == 0 || a.reason() != reason {
		w.t.Errorf("sero %s: exit code %d, reason %q, want %s\n%s%s", strings.Join(args, " "), a.code, a.reason(), reason, a.stdout, a.stderr)
	}
	return a
}

// refused runs a command in the workspace, which sero itself must fail.
func (w *workspace) refused(text string, args ...string) {
	w.t.Helper()
	if a := w.sero(args...); a.code != 125 || !strings.Contains(a.stderr, text) {
		w.t.Errorf("sero %s: exit code %d, want 125 and %q\n%s%s", strings.Join(args, " "), a.code, text, a.stdout, a.stderr)
	}
}

// state is what sero ls says of the workspace.
func (w *workspace) state() string {
	w.t.Helper()
	for line := range strings.Lines(w.ok("ls")) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == w.id {
			return fields[1]
		}
	}
	return ""
}

// container is the engine's id of the workspace's container.
func (w *workspace) container() string {
	w.t.Helper()
	return w.engine.Docker("inspect", "--format", "{{.Id}}", w.sandbox())
}

// works runs a command in the workspace.
func (w *workspace) works() {
	w.t.Helper()
	if out := w.ok("exec", "--", "sh", "-c", "cat /etc/debian_version && pwd"); !strings.Contains(out, "/workspace") {
		w.t.Errorf("the command says %q", out)
	}
}
