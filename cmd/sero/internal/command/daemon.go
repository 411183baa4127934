package command

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/cmd/sero/internal/view"
	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/internal/ownpath"
	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

const (
	// endTimeout is how long a daemon may take to end what it runs.
	endTimeout = 30 * time.Second
	// pollPeriod is the time between two looks at a lock or a file.
	pollPeriod = 20 * time.Millisecond
	// followPeriod is the time between two looks at the end of the log.
	followPeriod = 200 * time.Millisecond
)

func (a *app) daemonCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "daemon",
		Short: "show and stop the daemon",
		Long: `The daemon holds the workspaces together. It is started by the first command that needs
it, and ends by itself when nothing has run for a while.`,
		Example: `  sero daemon status
  sero daemon stop`,
	}
	return a.group(cmd, a.daemonStatusCommand(), a.daemonStopCommand(), a.daemonLogsCommand())
}

func (a *app) daemonStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [flags]",
		Short: "show whether the daemon runs",
		Long: `Shows the daemon's process, version and files, and how much runs.
It starts none; that none runs is an answer and no failure.`,
		Example: `  sero daemon status
  sero daemon status --json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := daemonclient.Find(cmd.Context())
			if driver.ReasonOf(err) == daemonclient.DaemonNotRunning {
				return a.view.DaemonStatus(nil)
			}
			if err != nil {
				return err
			}
			defer c.Close()
			return a.view.DaemonStatus(c.Status)
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) daemonStopCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stop [flags]",
		Short: "end the daemon",
		Long: `Ends the daemon, its drivers and, in host mode, all that it started, and waits until it
is gone. Ending one that does not run succeeds.`,
		Example: `  sero daemon stop
  sero daemon stop --json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			pid, err := stopDaemon(cmd.Context())
			if err != nil {
				return err
			}
			return a.view.DaemonStopped(pid)
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

// stopDaemon ends the daemon and waits for it. It returns 0 when none ran.
func stopDaemon(ctx context.Context) (int64, error) {
	home, err := paths.Home()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, endTimeout, driver.Errorf(driver.Timeout, "the daemon does not end"))
	defer cancel()
	c, err := findStarting(ctx, home)
	if c == nil {
		return 0, err
	}
	defer c.Close()
	r, err := c.Daemon.Shutdown(ctx, &apipb.ShutdownRequest{})
	// A daemon that is gone before it could answer has done what it was told.
	if err != nil && daemonclient.Error(err).Reason != daemonclient.DaemonLost {
		return 0, err
	}
	pid := c.Status.GetPid()
	if r.GetPid() != 0 {
		pid = r.GetPid()
	}
	// Its run directory need not be this process's.
	for _, lock := range []string{paths.Lock(filepath.Dir(c.Status.GetSocket())), paths.HomeLock(home)} {
		if err := awaitUnlocked(ctx, c, lock, pid); err != nil {
			return pid, err
		}
	}
	return pid, nil
}

// findStarting meets the home's daemon. One that has the home's lock and does not
// serve yet, or not any more, is waited for. It returns nil when none runs.
func findStarting(ctx context.Context, home string) (*daemonclient.Client, error) {
	for {
		c, err := daemonclient.Find(ctx)
		if err == nil || driver.ReasonOf(err) != daemonclient.DaemonNotRunning {
			return c, err
		}
		held, err := isHeld(paths.HomeLock(home))
		if err != nil || !held {
			return nil, err
		}
		select {
		case <-time.After(pollPeriod):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// isHeld reports whether a daemon has the lock. It takes the lock for a moment, so
// it asks first whether the last holder's process is there.
func isHeld(path string) (bool, error) {
	holder := paths.HolderOf(path).PID
	if holder <= 0 || errors.Is(syscall.Kill(holder, 0), syscall.ESRCH) {
		return false, nil
	}
	lock := flock.New(path)
	free, err := lock.TryRLock()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return !free, errors.Join(err, lock.Close())
}

// awaitUnlocked waits until the daemon does not hold the lock: the locks are the
// last that it gives up.
func awaitUnlocked(ctx context.Context, c *daemonclient.Client, path string, pid int64) error {
	lock := flock.New(path)
	if refusal := ownpath.Refusal("the lock", ownpath.File(path)); refusal != nil {
		return refusal
	}
	for {
		c.Close() // it would wait a second for a connection that stays open
		if holder := int64(paths.HolderOf(path).PID); holder != 0 && holder != pid {
			return nil // the next one has it
		}
		free, err := lock.TryRLock()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if free {
			return lock.Close()
		}
		select {
		case <-time.After(pollPeriod):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (a *app) daemonLogsCommand() *cobra.Command {
	var follow bool
	var tail int
	cmd := &cobra.Command{
		Use:   "logs [flags]",
		Short: "show the daemon's log",
		Long: `Shows the log that daemons write, of this one and those before it. With -f it goes on
with new lines until it is interrupted.`,
		Example: `  sero daemon logs
  sero daemon logs --tail 5 --json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if tail < 0 && cmd.Flags().Changed("tail") {
				return usagef("--tail %d is less than nothing", tail)
			}
			home, err := paths.Home()
			if err != nil {
				return err
			}
			f, err := ownpath.Open(paths.DaemonLog(home), os.O_RDONLY, 0)
			if errors.Is(err, fs.ErrNotExist) {
				a.view.Notice("there is no log yet: " + paths.DaemonLog(home))
				return nil
			}
			if refusal := ownpath.Refusal("the daemon's log", err); refusal != nil {
				return refusal
			}
			if err != nil {
				return driver.Errorf(driver.PermissionDenied, "the log cannot be read: %w", err)
			}
			defer f.Close()
			return a.copyLog(cmd.Context(), f, tail, follow)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new lines")
	cmd.Flags().IntVar(&tail, "tail", -1, "only the last `lines` [all]")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) copyLog(ctx context.Context, f *os.File, tail int, follow bool) error {
	if tail == 0 {
		if _, err := f.Seek(0, io.SeekEnd); err != nil {
			return err
		}
	}
	if tail > 0 {
		if err := seekLines(f, tail); err != nil {
			return err
		}
	}
	out := a.view.Log()
	for {
		if err := copyTo(out, f); err != nil {
			return err
		}
		if !follow {
			return out.Close()
		}
		select {
		case <-time.After(followPeriod):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func copyTo(out *view.Log, f *os.File) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := f.Read(buf)
		if n > 0 {
			if err := out.Write(buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// seekLines moves to where the last lines begin.
func seekLines(f *os.File, lines int) error {
	starts := []int64{0}
	r := bufio.NewReaderSize(f, 64<<10)
	var offset int64
	for {
		piece, err := r.ReadSlice('\n')
		offset += int64(len(piece))
		if err == nil {
			if starts = append(starts, offset); len(starts) > lines+1 {
				starts = starts[1:]
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
	begin := starts[max(0, len(starts)-lines)]
	if starts[len(starts)-1] == offset { // the last one is empty
		begin = starts[max(0, len(starts)-lines-1)]
	}
	_, err := f.Seek(begin, io.SeekStart)
	return err
}
