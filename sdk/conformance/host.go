package conformance

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/launch"
)

// The roles that HostMain plays when this program is started by the suite.
const (
	roleEnv    = "SERO_CONFORMANCE_ROLE"
	roleHost   = "host"
	roleListen = "listen"
)

// hooked tells that HostMain was called, so that starting this program again
// plays a role and does not run the suite within itself.
var hooked atomic.Bool

// HostMain lets the suite start this program again as the host that it kills
// (case ORPHAN-1), and on drivers without isolation as a server that listens.
// Call it first in main, or in TestMain; it returns at once in a normal start,
// and never in one that the suite made. Without the call those cases are
// skipped.
func HostMain() {
	hooked.Store(true)
	switch os.Getenv(roleEnv) {
	case roleHost:
		if err := playHost(os.Stdin, os.Stdout); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			os.Exit(1) //nolint:forbidigo // in this role it is the main function
		}
		select {} // to be killed
	case roleListen:
		if len(os.Args) == 2 {
			listenForever(os.Args[1])
			os.Exit(1) //nolint:forbidigo // in this role it is the main function
		}
	}
}

// hostProgram is this program, if it can play a role.
func hostProgram() string {
	self, err := os.Executable()
	if err != nil || !hooked.Load() {
		return ""
	}
	return self
}

// hostOrder says what the host that is killed does before.
type hostOrder struct {
	Path     string
	Args     []string
	Env      []string
	RunDir   string
	Settings []byte
	Spec     driver.SandboxSpec
	Script   string
}

// playHost launches the driver, starts a command, prints the driver's pid and
// waits to be killed.
func playHost(in io.Reader, out io.Writer) error {
	var o hostOrder
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute, errDeadline)
	time.AfterFunc(2*time.Minute, func() { os.Exit(1) }) //nolint:forbidigo // nobody has killed us
	defer cancel()
	p, err := launch.Start(ctx, launch.Config{Path: o.Path, Args: o.Args, Env: o.Env, RunDir: o.RunDir, HostName: "sero-conformance"})
	if err != nil {
		return err
	}
	if len(o.Settings) > 0 {
		if err := p.Configure(ctx, o.Settings, false); err != nil {
			return err
		}
	}
	if _, err := p.Create(ctx, o.Spec); err != nil {
		return err
	}
	if _, err := p.Start(ctx, o.Spec.ID); err != nil {
		return err
	}
	r, w := io.Pipe()
	go func() {
		_, _ = p.Exec(context.Background(), driver.ExecSpec{
			SandboxID: o.Spec.ID, ExecID: "conf-host", Argv: []string{"sh", "-c", o.Script},
		}, driver.ExecIO{Stdout: w})
	}()
	if line, err := bufio.NewReader(r).ReadString('\n'); err != nil || line != "up\n" {
		return fmt.Errorf("the command said %q: %w", line, err)
	}
	go io.Copy(io.Discard, r) //nolint:errcheck // until killed
	_, err = fmt.Fprintln(out, p.PID())
	return err
}

// host is the program that is killed.
type host struct {
	cmd       *exec.Cmd
	driverPID int
	reaped    chan struct{}
}

var errNoHost = errors.New("it printed no process id")

func startHost(t T, self string, o hostOrder) *host {
	t.Helper()
	order, err := json.Marshal(o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	h := &host{cmd: exec.Command(self), reaped: make(chan struct{})} //nolint:noctx // killed by the case
	h.cmd.Env = append(os.Environ(), roleEnv+"="+roleHost)
	h.cmd.Stdin = strings.NewReader(string(order))
	stderr := &tailBuffer{}
	h.cmd.Stderr = stderr
	h.cmd.WaitDelay = time.Second
	lines := make(chan string, 1)
	h.cmd.Stdout = &firstLine{lines: lines}
	if err := h.cmd.Start(); err != nil {
		t.Fatalf("starting a host: %v", err)
	}
	go func() {
		defer close(h.reaped)
		_ = h.cmd.Wait()
	}()
	err = errNoHost
	select {
	case line := <-lines:
		_, err = fmt.Sscan(line, &h.driverPID)
	case <-h.reaped:
	case <-time.After(15 * time.Second):
	}
	if err != nil || h.driverPID <= 1 {
		h.kill()
		t.Fatalf("the host does not start: %v; %s", err, stderr)
	}
	return h
}

func (h *host) kill() {
	_ = h.cmd.Process.Kill()
	<-h.reaped
}

// listenForever listens on a port, until killed.
func listenForever(port string) {
	l, err := net.Listen("tcp", "127.0.0.1:"+port) //nolint:noctx // it does not wait
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "hi\n")
		_ = conn.Close()
	}
}
