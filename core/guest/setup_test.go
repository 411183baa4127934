package guest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if helperDir != "" {
		_ = os.RemoveAll(helperDir)
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code) //nolint:forbidigo // a test's main
}

var (
	helperDir   string
	buildHelper sync.Once
	errBuild    error
)

// helpers is a directory with the helper of this machine's architecture.
func helpers(t testing.TB) string {
	t.Helper()
	buildHelper.Do(func() {
		helperDir, errBuild = os.MkdirTemp("", "sero-guest-test-") //nolint:usetesting // for all tests of the package
		if errBuild != nil {
			return
		}
		if errBuild = os.Chmod(helperDir, 0o755); errBuild != nil {
			return
		}
		cmd := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(helperDir, "sero-guest-"+runtime.GOARCH), "../../cmd/sero-guest")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
		if out, err := cmd.CombinedOutput(); err != nil {
			errBuild = fmt.Errorf("%w: %s", err, out)
		}
	})
	if errBuild != nil {
		t.Fatal(errBuild)
	}
	return helperDir
}

// dockerExec is a driver that can do one thing: run commands in containers, as
// the docker command does.
type dockerExec struct {
	driver.Driver
	engine string
}

func (dockerExec) Info() driver.Info {
	return driver.Info{Name: "docker-exec", Facts: []driver.Capability{driver.CapExecTTY, driver.CapExecUser}}
}

func (d dockerExec) Exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	args := []string{"--host", d.engine, "exec", "-w", spec.Dir}
	if stdio.Stdin != nil {
		args = append(args, "-i")
	}
	for _, v := range spec.Env {
		args = append(args, "-e", v.Name+"="+v.Value)
	}
	if spec.User != "" {
		args = append(args, "-u", spec.User)
	}
	cmd := exec.CommandContext(ctx, "docker", append(append(args, spec.SandboxID), spec.Argv...)...)
	cmd.Stdout, cmd.Stderr = stdio.Stdout, stdio.Stderr
	if stdio.Stdin != nil {
		in, err := cmd.StdinPipe()
		if err != nil {
			return driver.ExitStatus{}, err
		}
		go func() {
			_, _ = io.Copy(in, stdio.Stdin)
			_ = in.Close()
		}()
	}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return driver.ExitStatus{}, err
	}
	if stdio.Started != nil {
		stdio.Started(0)
	}
	err := cmd.Wait()
	if ctx.Err() != nil {
		return driver.ExitStatus{}, driver.AsError(context.Cause(ctx))
	}
	failed, ok := errors.AsType[*exec.ExitError](err)
	if err != nil && !ok {
		return driver.ExitStatus{}, err
	}
	code := 0
	if ok {
		code = failed.ExitCode()
	}
	if code == 127 || code == 126 {
		return driver.ExitStatus{}, driver.Errorf(driver.CommandNotFound, "command not found: %s", spec.Argv[0])
	}
	return driver.ExitStatus{Code: code}, nil
}

// container runs a container that ends with the test, with the helper mounted
// or not.
func container(t testing.TB, withHelper bool, options ...string) (id, engine string) {
	t.Helper()
	engine = dockertest.Engine(t)
	args := []string{"run", "-d", "--rm", "--init", "--label", "sero.test=guest"}
	if withHelper {
		args = append(args, "-v", helpers(t)+":"+guest.MountTarget+":ro")
	}
	args = append(append(args, options...), dockertest.BaseImage(t), "sleep", "1000")
	id = dockertest.Docker(t, engine, args...)
	t.Cleanup(func() { dockertest.Docker(t, engine, "rm", "-f", id) })
	return id, engine
}

// A way is how the core reaches into a sandbox.
type way string

const (
	bySocket way = "socket" // to the helper
	byDriver way = "driver" // to the helper
	plain    way = "plain"  // there is no helper
)

// inContainer is the Guest of a new container.
func inContainer(t testing.TB, by way) *guest.Guest {
	t.Helper()
	id, engine := container(t, by != plain)
	return guestOf(t, id, by, dockerExec{engine: engine})
}

func guestOf(t testing.TB, id string, by way, d driver.Driver) *guest.Guest {
	t.Helper()
	target := guest.Target{
		SandboxID: id, Owner: "test " + t.Name(), HasHelper: by != plain,
		Driver: func(context.Context) (driver.Driver, error) { return d, nil },
	}
	if by == bySocket {
		target.Shared = helpers(t)
	}
	g := guest.New(target)
	t.Cleanup(g.Close)
	return g
}

// everyWay runs a test with the helper, reached in both ways, and without.
func everyWay(t *testing.T, test func(t *testing.T, g *guest.Guest)) {
	for by, status := range map[way]string{bySocket: "^helper [0-9a-f]+ over a socket$", byDriver: "^helper [0-9a-f]+ over the driver$", plain: "^no helper"} {
		t.Run(string(by), func(t *testing.T) {
			g := inContainer(t, by)
			test(t, g)
			if s := g.Status(); !regexp.MustCompile(status).MatchString(s) {
				t.Errorf("the status is %q", s)
			}
		})
	}
}

// run runs a command and gives its outputs.
func run(t testing.TB, g *guest.Guest, argv ...string) (stdout, stderr string, status driver.ExitStatus) {
	t.Helper()
	var out, errs strings.Builder
	status, err := g.Exec(t.Context(), driver.ExecSpec{Argv: argv, Dir: "/", ExecID: "run"}, driver.ExecIO{Stdout: &out, Stderr: &errs})
	if err != nil {
		t.Fatalf("%v: %v", argv, err)
	}
	return out.String(), errs.String(), status
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
