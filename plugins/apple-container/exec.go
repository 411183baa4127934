package applecontainer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// How Exec stands the CLI's known defects. The CLI runs guest/exec.sh in the
// sandbox, and that runs the command and says among its output when it has
// started and how it has ended; what the CLI's process does is no verdict.
//
//   - Output is cut when the CLI ends too early, and an exit code 1 may be its own:
//     the script says how the command ended behind the command's last byte, and
//     stays until the driver has read it. Without that word the output was cut,
//     and that is an error.
//   - A descendant that holds the output open makes the CLI wait three seconds and
//     fail: Exec returns on the script's word.
//   - A missing command hangs with a terminal (#1277) and before 0.9 loses the
//     container: what the CLI starts is always /bin/sh; the script looks for the
//     command, in the command's own environment.
//   - Signals get lost (#1747, #1876) or are macOS's numbers, and the end of the CLI
//     does not end the command: signals and the end are sent by another exec, in
//     the sandbox, by name (guest/signal.sh, guest/end.sh).
//   - A terminal's flags are left wrong, and -t needs a terminal on standard input:
//     the CLI gets a pseudo-terminal of its own for each command, and the driver
//     never gives it the user's.
//   - Given environment does not replace the container's, and a missing directory
//     is made from 0.12 on: the script sets the one and enters the other.

// beginLimit is how long a command may take to be started: more than that, and
// the system is stuck.
const beginLimit = 30 * time.Second

// cancelLimit is how long a command whose caller is gone before it has started may
// still take to start, to be ended then.
const cancelLimit = 3 * time.Second

// notYet is how often a sandbox that says that it runs may say that it does not
// when a command is to be run in it, which happens just after its start.
const notYet = 5

// Exec runs a command in a sandbox.
func (d *Driver) Exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	if err := checkExec(spec); err != nil {
		return driver.ExitStatus{}, err
	}
	for i := 0; ; i++ {
		x, err := d.begin(ctx, spec, stdio)
		if err == nil {
			return x.follow(ctx, stdio)
		}
		passing := driver.ReasonOf(err) == driver.NotRunning && i < notYet && d.runs(ctx, spec.SandboxID)
		if !passing && (i > 0 || !driver.AsError(err).Retryable || driver.ReasonOf(err) != driver.Internal) {
			return driver.ExitStatus{}, err
		}
		if err := d.wait(ctx, nil, retryPauses[0]); err != nil {
			return driver.ExitStatus{}, err
		}
	}
}

func (d *Driver) runs(ctx context.Context, id string) bool {
	sb, err := d.Get(ctx, id)
	return err == nil && sb.State == driver.SandboxRunning
}

func checkExec(spec driver.ExecSpec) error {
	if err := checkID(spec.SandboxID); err != nil {
		return err
	}
	switch {
	case len(spec.Argv) == 0 || spec.Argv[0] == "":
		return argument("argv", "no command was given").Remedy("name a command")
	case strings.Contains(strings.Join(spec.Argv, ""), "\x00"):
		return argument("argv", "there is a NUL byte in the command").Remedy("remove it")
	case spec.Dir != "" && (!path.IsAbs(spec.Dir) || strings.ContainsRune(spec.Dir, 0)):
		return argument("working_dir", "the working directory must be an absolute path").Remedy("give an absolute path")
	case strings.HasPrefix(spec.User, "-") || strings.ContainsAny(spec.User, " \n\x00"):
		return argument("user", "%.80q is no user", spec.User).Remedy("give a name, or uid:gid")
	}
	return checkEnv(spec.Env)
}

// execution is a command that runs.
type execution struct {
	d      *Driver
	spec   driver.ExecSpec
	mark   string
	client *client
	pid    int
	sent   string // the last signal that was sent to it
}

// begin has the CLI start a command. It returns once the command runs, or
// cannot.
func (d *Driver) begin(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (*execution, error) {
	if err := d.cli.ready(ctx); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctxError(ctx)
	}
	release, err := d.cli.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	x := &execution{d: d, spec: spec, mark: rand.Text()}
	args := []string{"exec", "--interactive"}
	if spec.Terminal != nil {
		args = append(args, "--tty")
	}
	if spec.User != "" {
		args = append(args, "--user", spec.User)
	}
	args = append(args, spec.SandboxID, "/bin/sh", "-c", markedScript(x.mark), "sero-exec")
	x.client, err = d.startClient(args, spec.Terminal, x.mark)
	if err != nil {
		return nil, err
	}
	if err := x.awaitStart(ctx, stdio.Stdin != nil); err != nil {
		x.client.abandon(0)
		return nil, err
	}
	return x, nil
}

// awaitStart hands over what to run and waits for the word that it does.
func (x *execution) awaitStart(ctx context.Context, input bool) error {
	dir := x.spec.Dir
	if dir == "" {
		dir = "." // what the sandbox was made with: the workspace
	}
	line := []byte(header(x.spec, input, dir, x.mark))
	if x.spec.Terminal == nil {
		go x.client.write(line) // ends when it is taken, or when the client does
	}
	deadline, cancelled := time.NewTimer(beginLimit), ctx.Done()
	defer deadline.Stop()
	for {
		select {
		case e := <-x.client.events:
			switch e.kind {
			case 'R':
				go x.client.write(line) // ends as above
			case 'S':
				x.pid = e.number
				if ctx.Err() == nil {
					return nil
				}
				x.endInside()
				return ctxError(ctx)
			case 'N', 'D':
				return x.refused(e, dir)
			default:
			}
		case <-x.client.ended:
			if len(x.client.events) > 0 {
				continue // its last word first
			}
			return x.failed()
		case <-deadline.C:
			if ctx.Err() != nil {
				x.endInside()
				return ctxError(ctx)
			}
			x.d.health.poke()
			return errWedged([]string{"exec"}, beginLimit)
		case <-cancelled:
			// It is on its way, and can only be ended once it is there.
			cancelled = nil
			deadline.Reset(cancelLimit)
		}
	}
}

func (x *execution) refused(e event, dir string) error {
	name := x.spec.Argv[0]
	switch {
	case e.kind == 'D':
		err := driver.Errorf(driver.NotFound, "the working directory %s cannot be entered", dir).About(dir)
		err.Field = "working_dir"
		return err
	case e.number == 126:
		return driver.Errorf(driver.CommandNotExecutable, "%.200s cannot be executed", oneLine(name, maxWords)).About(name).
			Remedy("make it executable, or mend its first line", "chmod", "+x", name)
	default:
		return driver.Errorf(driver.CommandNotFound, "there is no command %.200s in the sandbox", oneLine(name, maxWords)).About(name).
			Remedy("check its spelling and PATH")
	}
}

// failed is why the CLI ended before it had said that the command has started.
func (x *execution) failed() error {
	r := result{args: []string{"exec"}, stderr: x.client.said(), code: x.client.code()}
	err := failure(r, x.spec.SandboxID)
	if err.Retryable {
		x.endInside() // it may have been, for the call was interrupted
	}
	return err
}

// follow carries a command to its end.
func (x *execution) follow(ctx context.Context, stdio driver.ExecIO) (driver.ExitStatus, error) {
	if stdio.Started != nil {
		stdio.Started(int64(x.pid))
	}
	x.client.open(stdio)
	signals, resize := stdio.Signals, stdio.Resize
	for {
		select {
		case e := <-x.client.events:
			if e.kind == 'E' || e.kind == 'K' {
				x.client.release()
				return x.status(e), nil
			}
		case <-x.client.ended:
			if len(x.client.events) > 0 {
				continue // its last word first
			}
			return x.cut(ctx)
		case err := <-x.client.lost:
			if ctx.Err() != nil { // what ended the caller's streams too
				err = ctxError(ctx)
			}
			return driver.ExitStatus{}, x.abandon(err)
		case <-ctx.Done():
			return driver.ExitStatus{}, x.abandon(ctxError(ctx))
		case size, ok := <-resize:
			if !ok {
				resize = nil
				continue
			}
			x.client.resize(size)
		case name, ok := <-signals:
			if !ok {
				signals = nil
				continue
			}
			x.sent = name
			x.d.work.Go(func() { x.signal(name) })
		}
	}
}

// status is how the command ended. Of a death by SIGINT or SIGPIPE a shell says
// nothing but the code, so that such a code counts as the signal if it was sent.
func (x *execution) status(e event) driver.ExitStatus {
	number := e.number - 128
	name, known := driver.SignalName(number)
	if number >= 34 && number <= 64 {
		name, known = fmt.Sprintf("SIGRTMIN+%d", number-34), true
	}
	if known && (e.kind == 'K' || name == x.sent) {
		return driver.ExitStatus{Signal: name}
	}
	return driver.ExitStatus{Code: min(e.number, 255)}
}

// cut is the end of a client that has not told how its command ended.
func (x *execution) cut(ctx context.Context) (driver.ExitStatus, error) {
	if ctx.Err() != nil {
		return driver.ExitStatus{}, x.abandon(ctxError(ctx))
	}
	if x.d.cli.alive.Err() != nil {
		return driver.ExitStatus{}, errClosed()
	}
	if !x.d.runs(ctx, x.spec.SandboxID) {
		return driver.ExitStatus{}, failureOf(classNotRunning, x.spec.SandboxID)
	}
	if x.client.code() == 128+9 { // the script's own death: somebody killed all there is
		return driver.ExitStatus{Signal: "SIGKILL"}, nil
	}
	x.endInside()
	return driver.ExitStatus{}, driver.Errorf(driver.Internal, "Apple's container lost the command; its output may be cut: %s",
		words(result{args: []string{"exec"}, stderr: x.client.said(), code: x.client.code()})).About(x.spec.SandboxID)
}

// abandon is the end of a command whose caller is gone; it returns err.
func (x *execution) abandon(err error) error {
	if !x.spec.Detach {
		x.endInside()
	}
	x.client.abandon(abandonPatience)
	return err
}

// abandonPatience is how long a call waits for its caller to take the last output
// of a command that was ended.
const abandonPatience = 300 * time.Millisecond

// endInside ends the command with all that descends from it, in the sandbox: the
// end of the CLI would not.
func (x *execution) endInside() {
	grace := x.spec.KillGrace
	if grace <= 0 {
		grace = driver.DefaultKillGrace
	}
	polite := "TERM"
	if x.spec.Terminal != nil {
		polite = "HUP"
	}
	command := ""
	if x.pid > 0 {
		command = fmt.Sprint(x.pid)
	}
	err := x.inside(grace+signalLimit, endScript, "sero-end", polite, steps(grace), command)
	if err != nil && !errors.Is(err, &driver.Error{Reason: driver.NotRunning}) && !errors.Is(err, &driver.Error{Reason: driver.NotFound}) {
		slog.Error("a command could not be ended", "exec", x.spec.ExecID, "error", err)
	}
}

func (x *execution) signal(name string) {
	terminal := ""
	if x.spec.Terminal != nil {
		terminal = "1"
	}
	if !signalPattern(name) {
		slog.Warn("there is no such signal", "signal", name)
		return
	}
	err := x.inside(signalLimit, signalScript, "sero-signal", strings.TrimPrefix(name, "SIG"), fmt.Sprint(x.pid), terminal)
	if err != nil {
		slog.Warn("a signal could not be sent", "signal", name, "error", err)
	}
}

func signalPattern(name string) bool {
	_, ok := driver.SignalNumber(name)
	return ok || strings.HasPrefix(name, "SIGRTMIN")
}

// inside runs a script about the command, as root. It has no caller to end it.
func (x *execution) inside(limit time.Duration, script string, args ...string) error {
	argv := []string{"exec", "--user", "0", "--env", "SERO_END=" + x.mark, x.spec.SandboxID, "/bin/sh", "-c", comments().ReplaceAllString(script, "")}
	r, err := x.d.cli.call(context.Background(), command{limit: limit, args: append(argv, args...), free: true, probe: true})
	if err == nil && r.code != 0 {
		err = failure(r, x.spec.SandboxID)
	}
	return err
}

// steps is a time in the scripts' unit, which is 50 milliseconds.
func steps(d time.Duration) string { return fmt.Sprint(max(1, int(d/(50*time.Millisecond)))) }

// askToExit asks every process of a sandbox to exit and waits up to grace.
func (d *Driver) askToExit(ctx context.Context, id string, grace time.Duration) error {
	r, err := d.cli.call(ctx, command{
		limit: grace + signalLimit, free: true,
		args: []string{"exec", "--user", "0", id, "/bin/sh", "-c", comments().ReplaceAllString(stopScript, ""), "sero-stop", steps(grace)},
	})
	if err == nil && r.code != 0 {
		err = failure(r, id)
	}
	return err
}
