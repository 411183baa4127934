package dockertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil"
)

// Daemon is a Docker Engine of one test's own, which the test may stop, freeze
// and empty. Everything of it is gone when the test ends.
type Daemon struct {
	Host string // as DOCKER_HOST wants it

	t       testing.TB
	dir     string
	network network
	process *os.Process
	exited  chan struct{} // closed when process has been reaped
	frozen  bool
}

// Private starts an engine with directories, a socket and a bridge of its own,
// and with the base image in it. It needs root and dockerd; without them the
// test ends as [testutil.Missing].
func Private(t testing.TB) *Daemon {
	t.Helper()
	base := BaseImage(t)
	if os.Getuid() != 0 {
		testutil.Missing(t, "docker", "an engine of a test's own needs root")
	}
	for _, tool := range []string{"dockerd", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			testutil.Missing(t, "docker", err.Error())
		}
	}
	// Not t.TempDir: the path of a socket is limited to about 100 bytes.
	dir, err := os.MkdirTemp("/tmp", "sero-dockerd-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{t: t, dir: dir, Host: "unix://" + filepath.Join(dir, "docker.sock")}
	t.Cleanup(d.remove)
	if d.network, err = newNetwork(); err != nil {
		t.Fatalf("a bridge for a private engine: %v", err)
	}
	d.Start()
	d.load(base)
	return d
}

// Docker runs the docker command against this engine; see [Docker].
func (d *Daemon) Docker(args ...string) string {
	d.t.Helper()
	return Docker(d.t, d.Host, args...)
}

// Start starts the engine after [Daemon.Stop] and returns once it answers.
func (d *Daemon) Start() {
	d.t.Helper()
	log, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.CommandContext(context.WithoutCancel(d.t.Context()), "dockerd", d.flags()...) // Cleanup ends it
	cmd.Dir, cmd.Stdout, cmd.Stderr = d.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = cmd.Wait() // told to end, it need not end with 0
	}()
	d.process, d.exited = cmd.Process, exited
	for begin := time.Now(); d.ping() != nil; {
		select {
		case <-exited:
			d.t.Fatalf("dockerd ended at once:\n%s", d.lastWords())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Since(begin) > patience {
			d.t.Fatalf("dockerd does not answer:\n%s", d.lastWords())
		}
	}
}

// flags keep everything of this engine apart from that of others. It leaves
// iptables alone, for the rules of all engines have the same names: containers
// reach the host and are reached from it, and nothing else.
func (d *Daemon) flags() []string {
	return []string{
		"--host", d.Host,
		"--data-root", filepath.Join(d.dir, "data"),
		"--exec-root", filepath.Join(d.dir, "exec"),
		"--pidfile", filepath.Join(d.dir, "pid"),
		"--config-file", "",
		"--containerd-namespace", filepath.Base(d.dir),
		"--containerd-plugins-namespace", filepath.Base(d.dir) + "-plugins",
		"--bridge", d.network.bridge,
		"--iptables=false", "--ip6tables=false", "--ip-masq=false",
	}
}

// Stop ends the engine as a system would, and with it every container that runs.
func (d *Daemon) Stop() {
	d.t.Helper()
	if err := d.end(syscall.SIGTERM, patience); err != nil {
		d.t.Fatal(err)
	}
}

// Kill ends the engine without warning: containers go on without it.
func (d *Daemon) Kill() {
	d.t.Helper()
	if err := d.end(syscall.SIGKILL, patience); err != nil {
		d.t.Fatal(err)
	}
	// Its containerd has died with it. Where nobody reaps what lost its parent,
	// the next engine would take it for alive.
	_ = os.Remove(filepath.Join(d.dir, "exec", "containerd", "containerd.pid"))
}

// Restart stops and starts the engine.
func (d *Daemon) Restart() {
	d.t.Helper()
	d.Stop()
	d.Start()
}

// Pause freezes the engine (SIGSTOP): connections are made, nothing answers.
// Containers go on.
func (d *Daemon) Pause() {
	d.t.Helper()
	if err := d.process.Signal(syscall.SIGSTOP); err != nil {
		d.t.Fatal(err)
	}
	d.frozen = true
}

// Resume ends [Daemon.Pause].
func (d *Daemon) Resume() {
	d.t.Helper()
	if err := d.process.Signal(syscall.SIGCONT); err != nil {
		d.t.Fatal(err)
	}
	d.frozen = false
}

func (d *Daemon) end(signal syscall.Signal, patience time.Duration) error {
	if d.frozen {
		_ = d.process.Signal(syscall.SIGCONT) // it may be gone
		d.frozen = false
	}
	if err := d.process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-d.exited:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("dockerd does not end on %v:\n%s", signal, d.lastWords())
	}
}

func (d *Daemon) ping() error {
	ctx, cancel := within(10 * time.Second)
	defer cancel()
	return command(ctx, d.Host, "version").Run()
}

// load copies an image from the shared engine.
func (d *Daemon) load(image string) {
	d.t.Helper()
	ctx, cancel := within(patience)
	defer cancel()
	save, load := command(ctx, Engine(d.t), "save", image), command(ctx, d.Host, "load", "--quiet")
	from, to, err := os.Pipe()
	if err != nil {
		d.t.Fatal(err)
	}
	save.Stdout, load.Stdin = to, from
	if err = save.Start(); err == nil {
		to.Close()
		_, err = output(load)
		from.Close()
		err = errors.Join(err, save.Wait())
	}
	if err != nil {
		d.t.Fatalf("copying image %s: %v", image, err)
	}
}

func (d *Daemon) lastWords() string {
	text, err := os.ReadFile(filepath.Join(d.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// output is a command's standard output; its error has the other one in it.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, io.Writer(&stderr)
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
