package command

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/core/daemon"
	"github.com/sero-labs/sero-runtime/core/registry"
	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/internal/version"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func (a *app) serveCommand() *cobra.Command {
	var idle time.Duration
	cmd := &cobra.Command{
		Use:   "serve [flags]",
		Short: "be the daemon, in the foreground",
		Long: `Serves the API on sero's socket until it is told to end, or has had nothing to do for a
while. Other commands start it by themselves; where one runs already this does nothing,
and where the home's serves in another run directory it fails.`,
		Example: `  sero serve
  sero serve --idle-exit 1h`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("idle-exit") && idle <= 0 {
				idle = -1 // never
			}
			err := a.serve(cmd.Context(), idle)
			if errors.Is(err, daemon.ErrRunning) {
				if a.view.Terminal {
					a.view.Notice("the daemon runs already")
				}
				return nil
			}
			return err
		},
	}
	a.jsonFlag(cmd) // an error that whoever started the daemon can read
	_ = cmd.Flags().MarkHidden("json")
	cmd.Flags().DurationVar(&idle, "idle-exit", 0, "end after this `time` with nothing to do, 0 for never [30m]")
	return cmd
}

func (a *app) serve(ctx context.Context, idle time.Duration) error {
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
	var bundled []registry.Bundled
	for _, name := range slices.Sorted(maps.Keys(a.program.Drivers)) {
		bundled = append(bundled, registry.Bundled{Name: name, Path: self, Args: []string{"driver", "serve", name}})
	}
	return daemon.Run(ctx, daemon.Config{
		Home: home, RunDir: run, Version: version.Version, Bundled: bundled,
		LogFile: logFile(paths.DaemonLog(home)), IdleExit: idle,
		Log: slog.New(slog.NewTextHandler(a.stderr, nil)),
	})
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
