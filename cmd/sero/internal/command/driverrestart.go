package command

import (
	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func (a *app) driverRestartCommand() *cobra.Command {
	var dryRun, yes bool
	cmd := &cobra.Command{
		Use:   "restart [flags] <driver>",
		Short: "restart a driver's container system",
		Long: `Stops the container system that a driver uses, with everything that runs in it, other
people's containers too, and starts it again. It shows first what that stops, and asks.
sero never does this by itself. Workspaces become ready again at their next use.`,
		Example: `  sero driver restart --dry-run apple-container
  sero driver restart --yes apple-container`,
		Args:              arguments(1, 1, "the driver's name"),
		ValidArgsFunction: a.completeDrivers,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			before, _, err := a.restartSystem(cmd, c, &apipb.RestartSystemRequest{Name: args[0], DryRun: true})
			if err != nil {
				return err
			}
			if dryRun {
				return a.view.RestartPlan(args[0], before)
			}
			if !a.view.JSON {
				if err := a.view.RestartPlan(args[0], before); err != nil {
					return err
				}
			}
			if !yes {
				if err := a.mayRestart(args[0], before); err != nil {
					return err
				}
			}
			before, after, err := a.restartSystem(cmd, c, &apipb.RestartSystemRequest{Name: args[0]})
			if err != nil {
				return err
			}
			return a.view.Restarted(args[0], before, after)
		},
	}
	cmd.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "show what would stop, and stop nothing")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	a.jsonFlag(cmd)
	return cmd
}

// mayRestart asks a person who has seen what stops. Nobody can agree to what
// cannot be shown by answering a question about it.
func (a *app) mayRestart(name string, before *apipb.SystemUses) error {
	if before.GetUnknown() != nil {
		return driver.Errorf(driver.InvalidArgument, "it cannot be told what a restart would stop, so nothing was restarted").
			Remedy("restart it all the same", "sero", "driver", "restart", "--yes", name)
	}
	return a.confirm("stop these and restart the system?", "nothing was restarted", "driver", "restart", "--yes", name)
}

func (a *app) restartSystem(cmd *cobra.Command, c *daemonclient.Client, request *apipb.RestartSystemRequest) (before, after *apipb.SystemUses, err error) {
	ctx, cancel := call(cmd.Context(), 10*callTimeout)
	defer cancel()
	progress := a.view.NewProgress()
	defer progress.Done()
	stream, err := c.Drivers.RestartSystem(ctx, request)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		m := stream.Msg()
		progress.Step(m.GetProgress())
		if m.GetBefore() != nil {
			before = m.GetBefore()
		}
		if m.GetAfter() != nil {
			after = m.GetAfter()
		}
	}
	return before, after, stream.Err()
}
