package command

import (
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

func (a *app) portCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:        "port",
		Short:      "show what listens in a workspace, and forward its ports",
		SuggestFor: []string{"ports"},
		Long: `A port that a dev server listens on leads to a URL; others, such as databases' and
debuggers', are shown, and had on this machine with "sero port forward".`,
		Example: `  sero port ls
  sero port ls --json`,
	}
	return a.group(cmd, a.portListCommand(), a.portForwardCommand())
}

func (a *app) portListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls [flags]",
		Short: "list the ports that something listens on",
		Long: `Lists the ports of the workspace with what listens there, how it came to be known
(started by sero, detected, or other: no dev server) and where it can be reached. In host
mode these are the ports of commands that sero runs in the workspace. What has no URL is
reached with "sero port forward".`,
		Example: `  sero port ls
  sero port ls --json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ref, err := a.reference()
			if err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := call(cmd.Context(), callTimeout)
			defer cancel()
			r, err := c.DevServers.ListPorts(ctx, &apipb.ListPortsRequest{Workspace: ref})
			if err != nil {
				return err
			}
			return a.view.Ports(r)
		},
	}
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

func portText(port uint32) string { return strconv.FormatUint(uint64(port), 10) }
