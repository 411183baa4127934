package command

import (
	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func (a *app) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "be the daemon, in the foreground",
		Long: `Serves the API on sero's socket until it is told to stop or nothing has run for a while.
The other commands start it by themselves; where one runs already this does nothing.`,
		Example: `  sero serve
  sero serve --idle-exit 1m`,
		Args: arguments(0, 0, ""),
		RunE: func(_ *cobra.Command, _ []string) error {
			return driver.Errorf(driver.Unsupported, "not yet")
		},
	}
	return cmd
}

func servedDriver(args []string) (string, bool) {
	if len(args) >= 3 && args[0] == "driver" && args[1] == "serve" {
		return args[2], true
	}
	return "", false
}

func (p Program) serveDriver(string) int { return exitFailure }

func (a *app) driverTestCommand() *cobra.Command {
	return &cobra.Command{Use: "test", Short: "x", RunE: func(*cobra.Command, []string) error { return nil }}
}

func (a *app) driverServeCommand() *cobra.Command {
	return &cobra.Command{Use: "serve", Short: "x", RunE: func(*cobra.Command, []string) error { return nil }}
}
