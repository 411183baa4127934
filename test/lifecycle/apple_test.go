package lifecycle_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
)

// apple is Apple's container CLI, or rather its stand-in, which has a state of
// its own and runs real containers.
type apple struct {
	t     *testing.T
	dir   string
	host  string // of the engine that the stand-in runs containers on
	image string
	scope string // what tells its containers on that engine from others
}

func newApple(t *testing.T) Engine {
	t.Helper()
	a := &apple{t: t, dir: t.TempDir(), host: dockertest.Engine(t), image: dockertest.BaseImage(t)}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*deadline, errors.New("the build takes too long"))
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", a.path("container"), "../../plugins/apple-container/internal/standin")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the stand-in: %v\n%s", err, out)
	}
	other := fmt.Sprintf("sero-lifecycle-%d:1", os.Getpid())
	a.write("Dockerfile", "FROM "+a.image+"\nLABEL build=2\n")
	dockertest.Docker(t, a.host, "build", "--quiet", "--tag", other, "--file", a.path("Dockerfile"), a.emptyDir())
	t.Cleanup(func() { dockertest.Docker(t, a.host, "rmi", "--force", other) })
	a.write("container.env", strings.Join([]string{
		"SERO_STANDIN_STATE=" + a.path("state"), "SERO_STANDIN_JOURNAL=" + a.path("journal"),
		"SERO_STANDIN_IMAGES=" + a.image + ",kept:1=" + a.image + ",rebuilt:1=" + other, "SERO_STANDIN_REGISTRY=nothing:1=" + other,
		"SERO_STANDIN_ENGINE=" + a.host,
	}, "\n"))
	a.call("system", "start", "--enable-kernel-install")
	t.Cleanup(func() { a.call("system", "stop") })
	probe := fmt.Sprintf("probe-%d", os.Getpid())
	a.call("create", "--name", probe, "--entrypoint", "/bin/sleep", a.image, "infinity")
	a.scope = dockertest.Docker(t, a.host, "ps", "--all", "--filter", "label=dev.sero.standin.id="+probe, "--format", `{{.Label "dev.sero.standin"}}`)
	a.call("delete", "--force", probe)
	return a
}

func (a *apple) path(name string) string { return filepath.Join(a.dir, name) }

func (a *apple) emptyDir() string {
	a.t.Helper()
	dir := a.path("empty")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		a.t.Fatal(err)
	}
	return dir
}

func (a *apple) write(name, text string) {
	a.t.Helper()
	if err := os.WriteFile(a.path(name), []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// call runs the CLI as a person would.
func (a *apple) call(args ...string) string {
	a.t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), deadline, errors.New("no answer"))
	defer cancel()
	cmd := exec.CommandContext(ctx, a.path("container"), args...)
	out, err := cmd.Output()
	if err != nil {
		a.t.Fatalf("container %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (a *apple) Driver() string { return "apple-container" }
func (a *apple) Environ() []string {
	return []string{"SERO_APPLE_CONTAINER_PATH=" + a.path("container")}
}
func (a *apple) Image() string { return a.image }

func (a *apple) Instances() map[string]string {
	a.t.Helper()
	listed := dockertest.Docker(a.t, a.host, "ps", "--all", "--no-trunc", "--filter", "label=dev.sero.standin="+a.scope,
		"--format", `{{.Label "dev.sero.standin.id"}} {{.ID}}`)
	instances := map[string]string{}
	for line := range strings.Lines(listed) {
		if name, id, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(name, "sero-") {
			instances[name] = id
		}
	}
	return instances
}

func (a *apple) Count() (made func() int) {
	count := func() int {
		text, _ := os.ReadFile(a.path("journal")) // it is not there before the first call
		n := 0
		for line := range strings.Lines(string(text)) {
			var call struct{ Argv []string }
			if json.Unmarshal([]byte(line), &call) == nil && len(call.Argv) > 0 && call.Argv[0] == "create" {
				n++
			}
		}
		return n
	}
	before := count()
	return func() int { return count() - before }
}

func (a *apple) Running(name string) bool {
	a.t.Helper()
	var listed []struct {
		ID     string
		Status struct{ State string }
	}
	if err := json.Unmarshal([]byte(a.call("list", "--all", "--format", "json")), &listed); err != nil {
		a.t.Fatal(err)
	}
	for _, c := range listed {
		if c.ID == name {
			return c.Status.State == "running"
		}
	}
	return false
}

func (a *apple) Stop(name string)   { a.call("stop", "--time", "1", name) }
func (a *apple) Remove(name string) { a.call("delete", "--force", name) }

func (a *apple) Stranger(name string) {
	a.call("create", "--name", name, "--entrypoint", "/bin/sleep", a.image, "infinity")
	a.call("start", name)
}

func (a *apple) RemoveImage()  { a.call("image", "delete", a.image) }
func (a *apple) RestoreImage() { a.call("image", "tag", "kept:1", a.image) }
func (a *apple) RebuildImage() { a.call("image", "tag", "rebuilt:1", a.image) }

func (a *apple) Restart() {
	a.call("system", "stop")
	a.call("system", "start", "--enable-kernel-install")
}

// Freeze keeps every call of the CLI from being answered.
func (a *apple) Freeze() { a.write("state/faults", "wedge\n") }

// Thaw ends Freeze.
func (a *apple) Thaw() { a.write("state/faults", "") }

// Past is the command of the driver's that carries the channel: it runs already.
func (a *apple) Past() string { return "the driver" }
