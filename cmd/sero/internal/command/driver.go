package command

import (
	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

func (a *app) driverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "driver",
		Short: "show, check and restart the drivers",
		Long: `A driver makes workspaces run in one kind of runtime. Some are part of sero, others are
programs named sero-driver-NAME beside it, in its drivers directory or on SERO_DRIVER_PATH.`,
		Example: `  sero driver ls
  sero driver info host`,
	}
	return a.group(cmd, a.driverListCommand(), a.driverInfoCommand(), a.driverRestartCommand(), a.driverTestCommand(), a.driverServeCommand())
}

func (a *app) driverListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls [flags]",
		Short: "list the drivers",
		Long: `Lists every driver that was found, in the order of preference. One that cannot be used is
listed with the reason and what to do. One that is slow to answer is waited for once, for
two seconds at most, and then listed as what is known of it.`,
		Example: `  sero driver ls
  sero driver ls --json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := call(cmd.Context(), callTimeout)
			defer cancel()
			r, err := c.Drivers.ListDrivers(ctx, &apipb.ListDriversRequest{})
			if err != nil {
				return err
			}
			return a.view.Drivers(r.GetDrivers())
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) driverInfoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "info [flags] <driver>",
		Short: "show all about a driver",
		Long: `Shows the driver's versions, isolation and capabilities, and its problem if it has one.
The name is one that "sero driver ls" shows.`,
		Example: `  sero driver info host
  sero driver info --json host`,
		Args:              arguments(1, 1, "the driver's name"),
		ValidArgsFunction: a.completeDrivers,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := call(cmd.Context(), callTimeout)
			defer cancel()
			r, err := c.Drivers.GetDriver(ctx, &apipb.GetDriverRequest{Name: args[0]})
			if err != nil {
				return err
			}
			return a.view.Driver(r.GetDriver())
		},
	}
	a.jsonFlag(cmd)
	return cmd
}
