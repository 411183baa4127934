package whole

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/command"
	"github.com/sero-labs/sero-runtime/core/daemon"
	"github.com/sero-labs/sero-runtime/core/registry"
	"github.com/sero-labs/sero-runtime/internal/inherit"
	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/internal/version"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// beDaemon is the daemon, until it ends.
func beDaemon(ctx context.Context, s command.Serving) error {
	if err := inherit.Restart("/"); err != nil {
		return driver.Errorf(driver.Internal, "the daemon cannot be started: %w", err)
	}
	wanted := func() bool { return !s.Awaited || inputOpen() }
	if !wanted() { // nothing is made, where all may have been removed
		return nil
	}
	home, err := paths.Home()
	if err != nil {
		return err
	}
	run, err := paths.Run()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return driver.Errorf(driver.Internal, "this program cannot be found: %w", err)
	}
	if s.Beside == "" {
		s.Beside = filepath.Dir(self)
	}
	var bundled []registry.Bundled
	for _, name := range slices.Sorted(maps.Keys(drivers)) {
		bundled = append(bundled, registry.Bundled{Name: name, Path: self, Args: []string{"driver", "serve", name}})
	}
	err = daemon.Run(ctx, daemon.Config{
		Wanted: wanted, Home: home, RunDir: run, Version: version.Version, Bundled: bundled, Beside: s.Beside,
		LogFile: logFile(paths.DaemonLog(home)), IdleExit: s.IdleExit,
		Log: slog.New(slog.NewTextHandler(s.Log, nil)),
	})
	if errors.Is(err, daemon.ErrRunning) {
		return command.ErrServed
	}
	return err
}

// logFile is path if that is where standard error goes, as it is for a daemon
// that another command started.
func logFile(path string) string {
	file, err := os.Stat(path)
	if err != nil {
		return ""
	}
	if out, err := os.Stderr.Stat(); err != nil || !os.SameFile(file, out) {
		return ""
	}
	return path
}

// inputOpen reports whether the other end of the pipe that is standard input is
// open still. It does not wait.
func inputOpen() bool {
	input := int(os.Stdin.Fd())
	if err := unix.SetNonblock(input, true); err != nil {
		return true
	}
	n, err := unix.Read(input, make([]byte, 1))
	return n > 0 || err != nil // EAGAIN: nothing has come yet
}
