package command

import (
	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

func (a *app) eventsCommand() *cobra.Command {
	var follow bool
	var since uint64
	cmd := &cobra.Command{
		Use:   "events [flags]",
		Short: "show what happened",
		Long: `Shows the events that the daemon keeps: workspaces, dev servers and drivers that changed.
With -f it goes on with new events until it is interrupted.`,
		Example: `  sero events
  sero events --since 1 --json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			stream, err := c.Daemon.WatchEvents(cmd.Context(), &apipb.WatchEventsRequest{Since: since, Follow: follow})
			if err != nil {
				return err
			}
			defer func() { _ = stream.Close() }()
			for stream.Receive() {
				if err := a.view.Event(stream.Msg()); err != nil {
					return err
				}
			}
			return stream.Err()
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new events")
	cmd.Flags().Uint64Var(&since, "since", 0, "only events after this `number` [all; with -f only new ones]")
	a.jsonFlag(cmd)
	return cmd
}
