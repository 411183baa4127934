package docker

import (
	"context"
	_ "embed" // for the scripts
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

//go:embed exec.sh
var execScript string

// markEnv is in the environment of each command and of what descends from it.
const markEnv = "SERO_EXEC"

// The scripts come in a variable, which they unset, so that a list of processes
// stays readable.
const (
	scriptEnv = "SERO_SCRIPT"
	runScript = `eval "$` + scriptEnv + `"`
)

// command is one running command.
type command struct {
	d         *Driver
	container string // the engine's id
	spec      driver.ExecSpec
	mark      string // in its environment
	exec      string // the engine's id of it
	stream    client.ExecAttachResult
	stdout    *marked
	stderr    *marked

	leader  string // of its session; empty until it has begun
	started func(pid int64)
	began   chan struct{} // closed when it has begun
	refused error         // why it has not, when done is closed
	said    string        // likewise: what the engine says in place of the script

	done chan struct{} // its output has ended
	lost chan error    // the caller's reader or writer has failed

	mu  sync.Mutex
	end string // the script's last line
}

// Exec runs a command in a container.
func (d *Driver) Exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	d.commands.Add(1)
	defer d.commands.Done()
	if err := checkExec(spec); err != nil {
		return driver.ExitStatus{}, err
	}
	c, err := d.owned(ctx, spec.SandboxID)
	if err != nil {
		return driver.ExitStatus{}, err
	}
	if err := checkRunning(c, spec.SandboxID); err != nil {
		return driver.ExitStatus{}, err
	}
	if err := d.adopt(ctx, c.ID); err != nil {
		return driver.ExitStatus{}, err
	}
	run, err := d.begin(ctx, c, spec, stdio)
	if err != nil {
		return driver.ExitStatus{}, err
	}
	defer run.stream.Close()
	defer run.stdout.mute()
	defer run.stderr.mute()
	return run.serve(ctx, stdio)
}

func checkExec(spec driver.ExecSpec) error {
	if len(spec.Argv) == 0 {
		return invalid("argv", "no command was given")
	}
	for i, arg := range spec.Argv {
		if strings.ContainsRune(arg, 0) {
			return invalid(fmt.Sprintf("argv[%d]", i), "an argument holds a NUL byte")
		}
	}
	return checkEnv(spec.Env)
}

func checkRunning(c container.Summary, id string) error {
	if state := stateOf(c.State); state != driver.SandboxRunning {
		return driver.Errorf(driver.NotRunning, "sandbox %s is %s", id, state).About(id).Remedy("start it", "sero", "up")
	}
	return nil
}

// begin starts the command's script; whether the command can be run is not known
// yet.
func (d *Driver) begin(ctx context.Context, c container.Summary, spec driver.ExecSpec, stdio driver.ExecIO) (*command, error) {
	secrets, err := d.secretsOf(ctx, c.ID)
	if err != nil {
		return nil, err
	}
	run := &command{
		d: d, container: c.ID, spec: spec, mark: newMark()[2:], started: stdio.Started,
		began: make(chan struct{}), done: make(chan struct{}), lost: make(chan error, 1),
	}
	options := client.ExecCreateOptions{
		User: spec.User, TTY: spec.Terminal != nil, WorkingDir: "/",
		AttachStdin: stdio.Stdin != nil || spec.Terminal != nil, AttachStdout: true, AttachStderr: true,
		Env: slices.Clone(secrets),
	}
	for _, v := range spec.Env {
		options.Env = append(options.Env, v.Name+"="+v.Value)
	}
	options.Env = append(options.Env, markEnv+"="+run.mark, scriptEnv+"="+execScript) // the last one wins
	size := driver.TerminalSize{}
	if spec.Terminal != nil {
		size = usable(*spec.Terminal)
	}
	dir := spec.Dir
	if dir == "" {
		dir = workspaceDir
	}
	mark := newMark()
	options.Cmd = append([]string{
		"sh", "-c", runScript, commandName(spec.Detach, run.mark), mark, dir, strconv.Itoa(int(size.Rows)), strconv.Itoa(int(size.Cols)),
	}, spec.Argv...)
	run.stdout = &marked{mark: []byte(mark), terminal: options.TTY, out: stdio.Stdout, began: run.takeBegin, lost: run.lose, ended: run.takeEnd}
	run.stderr = &marked{mark: []byte(mark), out: stdio.Stderr, lost: run.lose, ended: func(string) {}}

	made, err := call(ctx, d, startLimit, func(ctx context.Context, api *connection) (client.ExecCreateResult, error) {
		return api.ExecCreate(ctx, c.ID, options)
	})
	if err != nil {
		return nil, d.whyNot(ctx, spec, err)
	}
	run.exec = made.ID
	run.stream, err = call(ctx, d, startLimit, func(ctx context.Context, api *connection) (client.ExecAttachResult, error) {
		return api.ExecAttach(ctx, made.ID, client.ExecAttachOptions{TTY: options.TTY})
	})
	if err != nil {
		return nil, d.whyNot(ctx, spec, err)
	}
	return run, nil
}

// usable is a terminal's size; zeros are the size that terminals always had, for
// many programs fail with none.
func usable(size driver.TerminalSize) driver.TerminalSize {
	if size.Rows == 0 || size.Cols == 0 {
		return driver.TerminalSize{Rows: 24, Cols: 80}
	}
	return size
}

// whyNot finds out why a command could not be started: an engine answers alike
// for a container that has stopped, a user that is not there, and more.
func (d *Driver) whyNot(ctx context.Context, spec driver.ExecSpec, err error) error {
	switch driver.ReasonOf(err) {
	case driver.NotFound, driver.AlreadyExists, driver.Internal, driver.InvalidArgument:
	default:
		return err
	}
	c, gone := d.owned(ctx, spec.SandboxID)
	if gone != nil {
		return gone
	}
	if stopped := checkRunning(c, spec.SandboxID); stopped != nil {
		return stopped
	}
	if spec.User != "" {
		return invalid("user", "the command cannot run as user %s: %s", spec.User, driver.AsError(err).Message)
	}
	return err
}

// takeBegin takes the script's first line.
func (c *command) takeBegin(line string) error {
	said, ours := strings.CutPrefix(strings.TrimRight(line, "\r"), string(c.stdout.mark)+":")
	if !ours {
		c.said = strings.TrimSpace(line) // the engine speaks, not the script
		return errEnded
	}
	name := c.spec.Argv[0]
	switch said {
	case "127":
		c.refused = driver.Errorf(driver.CommandNotFound, "%s: command not found", name).About(name)
	case "126":
		c.refused = driver.Errorf(driver.CommandNotExecutable, "%s cannot be executed", name).About(name)
	case "dir":
		c.refused = driver.Errorf(driver.NotFound, "there is no directory %s in the sandbox", c.spec.Dir).About(c.spec.Dir)
	default:
		leader, pid, _ := strings.Cut(said, ":")
		c.leader = leader
		if number, _ := strconv.ParseInt(pid, 10, 64); c.started != nil { // 0: not known
			c.started(number)
		}
		close(c.began)
		return nil
	}
	return errEnded
}

// noScript is why the engine did not start the script: the container has no shell, or
// no room for another process.
func (c *command) noScript(ctx context.Context) error {
	err := do(ctx, c.d, readLimit, func(ctx context.Context, api *connection) error {
		_, err := api.ContainerStatPath(ctx, c.container, client.ContainerStatPathOptions{Path: "/bin/sh"})
		return err
	})
	if err != nil {
		return driver.Errorf(driver.CommandNotFound, "the sandbox's image has no shell (sh), which running commands needs: %s", c.said).
			About("sh").Remedy("use an image with a shell")
	}
	e := driver.Errorf(driver.Internal, "the engine could not start a process in the sandbox, as where there are as many as there may be: %s", c.said)
	e.Retryable = true
	return e.Remedy("end some; what a sandbox may have is resources.processes in sero.json").Remedy("or end all that runs in it", "sero", "stop")
}

func (c *command) takeEnd(end string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end = end
}

func (c *command) lose(err error) {
	select {
	case c.lost <- &driver.Error{Reason: driver.Canceled, Message: "the caller of the command is lost", Err: err}:
	default: // one loss is enough
	}
}

// serve connects the command with its caller until it has ended.
func (c *command) serve(ctx context.Context, stdio driver.ExecIO) (driver.ExitStatus, error) {
	hurry := time.NewTimer(startLimit)
	defer hurry.Stop()
	go c.read() // ends when the stream is closed, at the latest
	select {
	case <-c.began:
	case <-c.done:
		if !isClosed(c.began) { // both may be, when it was quick
			return c.result(ctx)
		}
	case <-ctx.Done():
		return driver.ExitStatus{}, c.abandon(ctxError(ctx))
	case <-hurry.C:
		e := driver.Errorf(driver.Timeout, "the command has not started within %v", startLimit)
		e.Retryable = true
		return driver.ExitStatus{}, c.abandon(e)
	}
	left := make(chan struct{})
	defer close(left)
	if stdio.Stdin != nil {
		go c.write(stdio.Stdin) // ends when the caller's reader returns
	} else {
		c.endInput()
	}
	go c.obey(ctx, stdio, left)
	select {
	case <-c.done:
		return c.result(ctx)
	case <-ctx.Done():
		return driver.ExitStatus{}, c.abandon(ctxError(ctx))
	case err := <-c.lost:
		if ctx.Err() != nil { // what ended the caller's streams too
			err = ctxError(ctx)
		}
		return driver.ExitStatus{}, c.abandon(err)
	case <-c.d.closed:
		return driver.ExitStatus{}, c.abandon(errClosed())
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// read takes the output apart until both outputs have ended. The second one's
// last line is waited for, too: what came before it is the command's.
func (c *command) read() {
	defer close(c.done)
	if c.spec.Terminal != nil {
		_, _ = io.Copy(c.stdout, c.stream.Reader) // its end tells nothing more
		c.stdout.close()
		return
	}
	stdout, stderr := until(c.stdout, c.stderr), until(c.stderr, c.stdout)
	var early []byte // an engine does not keep the order between the two
	_, err := stdcopy.StdCopy(writer(func(p []byte) (int, error) {
		n, err := stdout.Write(p)
		if len(early) > 0 && err == nil && isClosed(c.began) {
			_, err = stderr.Write(early)
			early = nil
		}
		return n, err
	}), writer(func(p []byte) (int, error) {
		if !isClosed(c.began) {
			early = append(early, p...)
			return len(p), nil
		}
		return stderr.Write(p)
	}), c.stream.Reader)
	if err != nil && !errors.Is(err, errEnded) {
		slog.Debug("a command's output broke off", "error", err)
	}
	c.stdout.close()
	c.stderr.close()
}

// until is a writer that fails only when both outputs have ended.
func until(mine, other *marked) io.Writer {
	return writer(func(p []byte) (int, error) {
		_, err := mine.Write(p)
		if errors.Is(err, errEnded) && (mine.isOver() && !other.isOver()) {
			return len(p), nil
		}
		return len(p), err
	})
}

type writer func([]byte) (int, error)

// Write calls the function.
func (w writer) Write(p []byte) (int, error) { return w(p) }

func (m *marked) isOver() bool {
	return m.over.Load()
}

// result is how the command ended. Without the script's last line the script
// itself was killed, with the command or with the container.
func (c *command) result(ctx context.Context) (driver.ExitStatus, error) {
	c.mu.Lock()
	end := c.end
	c.mu.Unlock()
	if c.said != "" {
		return driver.ExitStatus{}, c.noScript(ctx)
	}
	if c.refused != nil {
		return driver.ExitStatus{}, c.refused
	}
	if status, ok := statusOf(end); ok {
		return status, nil
	}
	var said client.ExecInspectResult
	for range 40 {
		var err error
		said, err = call(ctx, c.d, readLimit, func(ctx context.Context, api *connection) (client.ExecInspectResult, error) {
			return api.ExecInspect(ctx, c.exec, client.ExecInspectOptions{})
		})
		if driver.ReasonOf(err) == driver.NotFound {
			return diedFrom(9), nil // with its container
		}
		if err != nil {
			return driver.ExitStatus{}, err
		}
		if !said.Running {
			break
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return driver.ExitStatus{}, err
		}
	}
	if said.Running {
		return driver.ExitStatus{}, c.abandon(driver.Errorf(driver.Internal, "the engine lost the output of the command"))
	}
	if said.ExitCode > 128 && said.ExitCode < 192 {
		return diedFrom(said.ExitCode - 128), nil
	}
	return driver.ExitStatus{Code: said.ExitCode & 255}, nil
}
