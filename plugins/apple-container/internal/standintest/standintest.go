// Package standintest gives tests a stand-in for Apple's `container` CLI: a
// binary that plays one version of it, with a state of its own, so that tests can
// run beside each other. After each test it looks whether another person's
// container is still as it was, and removes all that the test left.
package standintest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standin/engine"
)

// Versions are the released CLIs that the driver supports and the stand-in plays.
var Versions = []string{"0.9.0", "0.10.0", "0.12.3", "1.0.0", "1.2.2"}

// foreign is another person's container in the same system.
const foreign = "other-persons-container"

// patience is how long one call of the stand-in may take.
const patience = time.Minute

// Standin is one installed CLI with its system.
type Standin struct {
	Path    string // of the binary, named "container"
	Version string

	t      testing.TB
	dir    string
	host   string // of the engine
	guards bool
	rude   bool
}

// Option changes what [Start] gives.
type Option func(*setup)

type setup struct {
	images, registry string
	stopped          bool
	alone            bool
	rude             bool
}

// Images sets what the image store holds at first: references of the local
// engine separated by commas, NAME=REFERENCE where the engine's has another name.
// Unless it is set, that is the base image under its own name and sero-node:latest.
func Images(list string) Option { return func(s *setup) { s.images = list } }

// Registry sets what can be pulled, in the form of [Images]. Unless it is set,
// that is any image of the local engine.
func Registry(list string) Option { return func(s *setup) { s.registry = list } }

// Stopped leaves the system installed but stopped.
func Stopped() Option { return func(s *setup) { s.stopped = true } }

// Alone leaves out the other person's container, for tests that stop the system.
func Alone() Option { return func(s *setup) { s.alone = true } }

// AnyArgv leaves out [CheckArgv] at the end, for tests of the stand-in itself.
func AnyArgv() Option { return func(s *setup) { s.rude = true } }

// Main runs a package's tests, removes the binary that [Start] built and gives the
// exit code. Without it each test builds its own:
//
//	func TestMain(m *testing.M) { os.Exit(standintest.Main(m)) }
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "standin")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // the tests have been judged
	shared = sync.OnceValues(func() (string, error) { return build(dir) })
	return m.Run()
}

var shared func() (string, error)

// build makes the binary, static and the same for all versions.
func build(dir string) (string, error) {
	path := filepath.Join(dir, "container")
	ctx, cancel := context.WithTimeoutCause(context.Background(), 5*time.Minute, errors.New("the build of the stand-in took too long"))
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standin")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the stand-in: %w\n%s", err, out)
	}
	return path, nil
}

// Start installs a version, with its system running unless an option says
// otherwise. What the test makes with it is removed when the test ends.
func Start(t testing.TB, version string, options ...Option) *Standin {
	t.Helper()
	s := &Standin{Version: version, t: t, host: dockertest.Engine(t)}
	base := dockertest.BaseImage(t)
	set := setup{images: base + ",sero-node:latest=" + base}
	for _, option := range options {
		option(&set)
	}
	s.rude = set.rude
	s.dir = t.TempDir()
	t.Cleanup(s.end)
	s.install()
	s.write("container.env", strings.Join([]string{
		"SERO_STANDIN_VERSION=" + version,
		"SERO_STANDIN_STATE=" + s.State(),
		"SERO_STANDIN_JOURNAL=" + s.path("journal"),
		"SERO_STANDIN_IMAGES=" + set.images,
		"SERO_STANDIN_REGISTRY=" + set.registry,
		"SERO_STANDIN_ENGINE=" + s.host,
	}, "\n"))
	if set.stopped {
		return s
	}
	s.must("system", "start", "--enable-kernel-install")
	if !set.alone {
		s.must("create", "--name", foreign, "--label", "owner=somebody", "--entrypoint", "/bin/sleep", base, "infinity")
		s.must("start", foreign)
		s.guards = true
	}
	// The journal is the test's own.
	s.write("journal", "")
	return s
}

// install puts the binary into a directory of its own: its settings are beside it.
func (s *Standin) install() {
	s.t.Helper()
	s.Path = s.path("container")
	if shared == nil {
		if _, err := build(s.dir); err != nil {
			s.t.Fatal(err)
		}
		return
	}
	from, err := shared()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.Link(from, s.Path); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Standin) path(name string) string { return filepath.Join(s.dir, name) }

// State is the directory that holds the system's state.
func (s *Standin) State() string { return s.path("state") }

func (s *Standin) write(name, text string) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// Fault replaces the fault script, and forgets how often faults have struck: see
// knownFaults in the stand-in. An empty script is a healthy CLI.
func (s *Standin) Fault(script string) {
	s.t.Helper()
	if err := os.RemoveAll(filepath.Join(s.State(), "counts")); err != nil {
		s.t.Fatal(err)
	}
	s.write("state/faults", script)
}

// Upgrade lets the same system be played by another version from now on.
func (s *Standin) Upgrade(version string) {
	s.t.Helper()
	text, err := os.ReadFile(s.path("container.env"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("container.env", strings.Replace(string(text), "VERSION="+s.Version, "VERSION="+version, 1))
	s.Version = version
}

// Result is what a call gave.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Run calls the stand-in as a person beside the driver would.
func (s *Standin) Run(argv ...string) Result { return s.RunWith("", argv...) }

// RunWith is [Standin.Run] with something on stdin.
func (s *Standin) RunWith(stdin string, argv ...string) Result {
	s.t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, fmt.Errorf("no answer in %v", patience))
	defer cancel()
	cmd := exec.CommandContext(ctx, s.Path, argv...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || !exit.Exited()) {
		s.t.Fatalf("container %s: %v %s", strings.Join(argv, " "), err, stderr.String())
	}
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
}

func (s *Standin) must(argv ...string) {
	s.t.Helper()
	if r := s.Run(argv...); r.Code != 0 {
		s.t.Fatalf("container %s: exit code %d\n%s%s", strings.Join(argv, " "), r.Code, r.Stdout, r.Stderr)
	}
}

// Call is one invocation in the journal.
type Call struct {
	PID     int
	Version string
	Argv    []string
	Env     []string // the CLI's own variables that were set
}

// Journal gives all invocations since [Start], also those of [Standin.Run].
func (s *Standin) Journal() []Call {
	s.t.Helper()
	text, err := os.ReadFile(s.path("journal"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Fatal(err)
	}
	var calls []Call
	for line := range bytes.Lines(text) {
		var call Call
		if err := json.Unmarshal(line, &call); err != nil {
			s.t.Fatalf("journal: %v: %s", err, line)
		}
		calls = append(calls, call)
	}
	return calls
}

// end checks the other person's container and removes everything.
func (s *Standin) end() {
	client := engine.New(s.host)
	defer client.Close()
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, errors.New("the engine does not answer"))
	defer cancel()
	if s.guards {
		s.checkForeign(ctx, client)
	}
	s.checkProcesses()
	if !s.rude {
		for _, wrong := range CheckArgv(s.Journal()) {
			s.t.Error(wrong)
		}
	}
	if s.t.Failed() {
		s.report()
	}
	id, err := os.ReadFile(filepath.Join(s.State(), "id"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Error(err)
	}
	if len(id) > 0 {
		if err := Clean(ctx, client, string(id)); err != nil {
			s.t.Errorf("clearing away after the stand-in: %v", err)
		}
	}
}

// report shows the last calls of a test that failed.
func (s *Standin) report() {
	text, err := os.ReadFile(s.path("journal"))
	if err != nil {
		return
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	s.t.Logf("the last calls of container %s:\n%s", s.Version, strings.Join(lines[max(len(lines)-15, 0):], "\n"))
}
