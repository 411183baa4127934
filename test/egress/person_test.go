package egress_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
)

// built is where the program is built, if a test needs it.
var built string

// program is sero, built once.
var program = sync.OnceValues(func() (string, error) {
	var err error
	if built, err = os.MkdirTemp("", "sero-bin-"); err != nil {
		return "", err
	}
	bin := filepath.Join(built, "sero")
	if out, err := exec.Command("go", "build", "-o", bin, "../../cmd/sero").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return bin, nil
})

// person is somebody with sero and a Docker Engine.
type person struct {
	t    *testing.T
	bin  string
	home string // sero's
	root string // of workspaces' directories
	env  []string
	host string // the engine
}

func newPerson(t *testing.T, config map[string]any) *person {
	t.Helper()
	p := &person{t: t, host: dockertest.Engine(t), root: t.TempDir()}
	p.home = filepath.Join(p.root, ".sero")
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	run, err := os.MkdirTemp("/tmp", "sero-e") //nolint:usetesting // its path must be short for sockets
	if err != nil {
		t.Fatal(err)
	}
	p.bin = bin
	p.env = append(os.Environ(), "HOME="+p.root, paths.HomeVariable+"="+p.home, paths.RunVariable+"="+run, "XDG_RUNTIME_DIR=", "DOCKER_HOST="+p.host)
	t.Cleanup(func() {
		p.sero("", "daemon", "stop")
		_ = os.RemoveAll(run)
	})
	p.write(filepath.Join(p.home, "config.json"), config)
	return p
}

func (p *person) write(path string, value any) {
	p.t.Helper()
	text, err := json.Marshal(value)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// workspace makes a directory with egress rules, and gives the id that it is to
// have. Nothing runs yet.
func (p *person) workspace(rules map[string]any) string {
	p.t.Helper()
	id := "egress-" + strings.ToLower(rand.Text()[:10])
	dir := filepath.Join(p.root, id)
	p.write(filepath.Join(dir, "sero.json"), map[string]any{"id": id, "driver": "docker", "image": dockertest.BaseImage(p.t), "egress": rules})
	probe, err := os.ReadFile(filepath.Join("testdata", "probe.py"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "probe.py"), probe, 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if r := p.sero(id, "rm"); r.code != 0 {
			p.t.Errorf("sero rm: %s", r.stderr)
		}
	})
	return id
}

// result is how a command of sero ended.
type result struct {
	stdout, stderr string
	code           int
}

// sero runs sero in a workspace's directory.
func (p *person) sero(workspace string, args ...string) result {
	p.t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), 2*time.Minute, errors.New("no answer"))
	defer cancel()
	cmd := exec.CommandContext(ctx, p.bin, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = filepath.Join(p.root, workspace), p.env, time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	r := result{stdout: out.String(), stderr: errs.String()}
	switch e, exited := errors.AsType[*exec.ExitError](err); {
	case exited && ctx.Err() == nil:
		r.code = e.ExitCode()
	case err != nil:
		p.t.Fatalf("sero %s: %v\n%s%s", strings.Join(args, " "), err, r.stdout, r.stderr)
	}
	return r
}

// ok runs sero, which must succeed, and gives its output.
func (p *person) ok(workspace string, args ...string) string {
	p.t.Helper()
	r := p.sero(workspace, args...)
	if r.code != 0 {
		p.t.Fatalf("sero %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return strings.TrimSpace(r.stdout)
}

// daemonPID is the process of the daemon; 0 when none runs.
func (p *person) daemonPID() int {
	p.t.Helper()
	var status struct {
		PID int `json:"pid"`
	}
	if err := json.Unmarshal([]byte(p.ok("", "daemon", "status", "--json")), &status); err != nil {
		p.t.Fatal(err)
	}
	return status.PID
}
