// Package dockertest gives tests a Docker Engine: the machine's own, which they
// share with everybody, or a private one that they may break.
package dockertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil"
)

// baseTag is the image that tests run containers from.
const baseTag = "sero-base:bookworm"

// patience is how long one call of the docker command may take.
const patience = 2 * time.Minute

// Engine is the host of the engine that this machine has, as DOCKER_HOST wants
// it. Everybody's containers are on it: a test touches only its own, and breaks
// nothing. Without an engine the test ends as [testutil.Missing].
func Engine(t testing.TB) string {
	t.Helper()
	host, why := shared()
	if why != "" {
		testutil.Missing(t, "docker", why)
	}
	return host
}

// shared finds the engine once for all tests of a package.
var shared = sync.OnceValues(func() (host, why string) {
	host = os.Getenv("DOCKER_HOST")
	if host == "" {
		host = "unix:///var/run/docker.sock"
	}
	ctx, cancel := within(10 * time.Second)
	defer cancel()
	if out, err := command(ctx, host, "version", "--format", "{{.Server.Version}}").CombinedOutput(); err != nil {
		return "", "no engine at " + host + ": " + strings.TrimSpace(string(out)+" "+err.Error())
	}
	return host, ""
})

// BaseImage is the reference of an image on [Engine] with a shell, coreutils,
// ps, ss, setsid and python3. It is made from Debian's packages when it is
// missing, which takes a minute.
func BaseImage(t testing.TB) string {
	t.Helper()
	host := Engine(t)
	if why := madeBase(host); why != "" {
		testutil.Missing(t, "docker", why)
	}
	return baseTag
}

// madeBase makes the base image once; it returns why it could not.
var madeBase = func() func(host string) string {
	var once sync.Once
	var why string
	return func(host string) string {
		once.Do(func() { why = makeBase(host) })
		return why
	}
}()

func makeBase(host string) string {
	ctx, cancel := within(10 * time.Minute)
	defer cancel()
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "the module's directory: " + err.Error()
	}
	script := filepath.Join(strings.TrimSpace(string(root)), "scripts", "base-image.sh")
	cmd := exec.CommandContext(ctx, "bash", script, baseTag)
	cmd.Env = append(os.Environ(), "DOCKER_HOST="+host)
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return "no image " + baseTag + ": " + strings.TrimSpace(string(out)+" "+err.Error())
	}
	return ""
}

// Docker runs the docker command against an engine, as a person beside sero
// would, and returns its standard output without the last newline. The test
// fails when the command does.
func Docker(t testing.TB, host string, args ...string) string {
	t.Helper()
	ctx, cancel := within(patience)
	defer cancel()
	out, err := output(command(ctx, host, args...))
	if err != nil {
		t.Fatalf("docker %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSuffix(out, "\n")
}

func command(ctx context.Context, host string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "docker", append([]string{"--host", host}, args...)...)
	cmd.Env = append(os.Environ(), "DOCKER_CONTEXT=")
	cmd.WaitDelay = time.Second
	return cmd
}

// within is a deadline of its own: what is cleared away after a test has no
// context of the test's any more.
func within(patience time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.Background(), patience, fmt.Errorf("not within %v", patience))
}
