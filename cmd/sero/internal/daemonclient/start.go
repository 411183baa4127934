package daemonclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sero-labs/sero-runtime/internal/ownpath"
	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

const (
	// startTimeout is how long a daemon may take from its start to its first
	// answer.
	startTimeout = 30 * time.Second
	// maxLog is the size in bytes at which the log is set aside when a daemon is
	// started.
	maxLog = 8 << 20
	// lastWords is how many lines of the log are shown of a daemon that failed.
	lastWords = 8
)

// Ensure meets the home's daemon, starting it when none runs. Any number of
// processes may do this at once, in any run directories: each starts a daemon,
// all but one find a lock taken and leave, and everyone meets the one that stayed.
// One that gets no further than its start while this waits ends by itself.
//
// command gives the command line of a daemon for a home. Its standard input ends
// when this no longer waits for it.
//
// It fails with DaemonFailed, and the last lines of the log, when the daemon
// ends before it answers, with DaemonConflict when there is one that cannot be
// used, and with the error of command.
func Ensure(ctx context.Context, command func(home string) ([]string, error)) (*Client, error) {
	home, run, err := places()
	if err != nil {
		return nil, err
	}
	c, err := meet(ctx, home, run)
	if driver.ReasonOf(err) != DaemonNotRunning {
		return c, err
	}
	daemon, err := command(home)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errSlowStart)
	defer cancel()
	return startUntilMet(ctx, daemon, home, run)
}

var errSlowStart = errors.New("the daemon takes too long to start")

// startUntilMet starts daemons until one answers. One attempt is not enough: it
// loses against a daemon that holds the lock and is about to end.
func startUntilMet(ctx context.Context, daemon []string, home, run string) (*Client, error) {
	var child *process
	defer func() { child.leave() }()
	var conflict error
	pause := 5 * time.Millisecond
	for {
		if child == nil {
			var err error
			if child, err = start(daemon, home, run); err != nil {
				return nil, err
			}
		}
		c, err := meet(ctx, home, run)
		if driver.ReasonOf(err) != DaemonNotRunning {
			return c, err
		}
		timer := time.NewTimer(pause)
		select {
		case err := <-child.ended:
			timer.Stop()
			if err != nil {
				e := child.failure(err)
				if conflict = e; !passing(e) {
					return nil, e
				}
			}
			// Another one holds a lock. It is given time before the next try.
			child.leave()
			child = nil
			if sleep(ctx, 10*pause); ctx.Err() != nil {
				return nil, late(ctx, conflict)
			}
		case <-timer.C:
			pause = min(pause*2, 50*time.Millisecond)
		case <-ctx.Done():
			timer.Stop()
			return nil, late(ctx, conflict)
		}
	}
}

// passing tells whether the daemon that is in the way may yet be met, or end.
func passing(e *driver.Error) bool {
	if e.Reason != paths.DaemonConflict {
		return false
	}
	dir := filepath.Dir(e.Resource)
	_, err := os.Lstat(dir)
	return err != nil || paths.CheckPrivate(dir) == nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// process is a daemon that was started and has not answered yet.
type process struct {
	log   string
	from  int64      // where its part of the log begins
	ended chan error // its end, nil for exit status 0
	waits *os.File   // the other end of its standard input
}

// leave no longer waits for the daemon: it ends, unless it has its locks already.
// One that took them only now would be found by no one who has looked before.
func (p *process) leave() {
	if p != nil {
		_ = p.waits.Close()
	}
}

// start runs a daemon in a session of its own, so that it outlives this process
// and its terminal. It is not waited for beyond this process's life.
func start(daemon []string, home, run string) (*process, error) {
	path := paths.DaemonLog(home)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, cannotStart(err)
	}
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		_ = os.Rename(path, path+".1") // a log too long is no reason not to start
	}
	log, err := ownpath.Open(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if refusal := ownpath.Refusal("the daemon's log", err); refusal != nil {
		return nil, refusal
	}
	if err != nil {
		return nil, cannotStart(err)
	}
	defer func() { _ = log.Close() }()
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, cannotStart(err)
	}
	input, waits, err := os.Pipe()
	if err != nil {
		return nil, cannotStart(err)
	}
	defer func() { _ = input.Close() }()
	//nolint:noctx // the daemon outlives every context of this process
	cmd := exec.Command(daemon[0], daemon[1:]...)
	cmd.Args[0] = "sero"
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), paths.HomeVariable+"="+home, paths.RunVariable+"="+run)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		_ = waits.Close()
		return nil, CannotRun(daemon[0], err)
	}
	p := &process{log: path, from: from, ended: make(chan error, 1), waits: waits}
	go func() { p.ended <- cmd.Wait() }()
	return p, nil
}

// CannotRun is the error of a daemon's program that does not run where it is.
func CannotRun(program string, err error) error {
	return driver.Errorf(DaemonFailed, "the daemon's program cannot be run: %w", err).About(program).
		Remedy("set " + paths.HomeVariable + " to a directory that programs may run from")
}

func cannotStart(err error) error {
	e := driver.Errorf(DaemonFailed, "the daemon cannot be started: %w", err)
	return e.Remedy("set " + paths.HomeVariable + " to a directory that you can write")
}

// failure is the error of a daemon that ended before it answered: its own, which
// is its last line but not always the log's, or else its last words.
func (p *process) failure(err error) *driver.Error {
	words := p.lastWords()
	for _, line := range slices.Backward(words) {
		if e := decodeError(line); e != nil {
			e.Message = "the daemon does not start: " + e.Message
			return e
		}
	}
	message := fmt.Sprintf("the daemon ended at its start (%v)", err)
	if last := strings.Join(words[max(0, len(words)-lastWords):], " | "); last != "" {
		message += ": " + last
	}
	return driver.Errorf(DaemonFailed, "%s", message).About(p.log).
		Remedy("read its log", "sero", "daemon", "logs").
		Remedy("run it in the foreground to see it fail", "sero", "serve")
}

func late(ctx context.Context, conflict error) error {
	if !errors.Is(context.Cause(ctx), errSlowStart) {
		return driver.AsError(context.Cause(ctx))
	}
	if conflict != nil {
		return conflict
	}
	return driver.Errorf(DaemonFailed, "the daemon does not answer %v after its start", startTimeout).
		Remedy("read its log", "sero", "daemon", "logs")
}

// decodeError reads an error as --json has it; nil when the line is none.
func decodeError(line string) *driver.Error {
	var v struct {
		Error struct {
			Reason   driver.Reason
			Message  string
			Resource string
			Remedies []driver.Remedy
		}
	}
	if json.Unmarshal([]byte(line), &v) != nil || v.Error.Message == "" {
		return nil
	}
	return &driver.Error{Reason: v.Error.Reason, Message: v.Error.Message, Resource: v.Error.Resource, Remedies: v.Error.Remedies}
}

// lastWords are the last lines of the log since this daemon's start, at least
// one, which may be empty. Others that start or run write there too.
func (p *process) lastWords() []string {
	f, err := ownpath.Open(p.log, os.O_RDONLY, 0)
	if err != nil {
		return []string{""}
	}
	defer func() { _ = f.Close() }()
	const tail = 64 << 10
	info, err := f.Stat()
	if err != nil {
		return []string{""}
	}
	b := make([]byte, tail)
	n, _ := f.ReadAt(b, max(p.from, info.Size()-tail))
	return strings.Split(strings.TrimSpace(string(b[:n])), "\n")
}
