package command

import (
	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

func (a *app) diskCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "df [flags]",
		Short: "show what sandboxes and images take",
		Long: `Shows this sero's sandboxes and the images that they are made from or that sero built, with
the room that they take as far as the driver can tell. Files of workspaces do not count.`,
		Example: `  sero df
  sero df --json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := call(cmd.Context(), 2*callTimeout)
			defer cancel()
			r, err := c.Lifecycle.DiskUsage(ctx, &apipb.DiskUsageRequest{})
			if err != nil {
				return err
			}
			return a.view.DiskUsage(r)
		},
	}
	a.jsonFlag(cmd)
	return cmd
}
