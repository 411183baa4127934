package command

import (
	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

func (a *app) listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:        "ls [flags]",
		Short:      "list the workspaces",
		SuggestFor: []string{"list", "ps", "status", "workspaces"},
		Long: `Lists every workspace that is known, running or not, with its driver and isolation.
It never waits for a driver that does not answer.`,
		Example: `  sero ls
  sero ls --json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := call(cmd.Context(), callTimeout)
			defer cancel()
			r, err := c.Workspaces.ListWorkspaces(ctx, &apipb.ListWorkspacesRequest{})
			if err != nil {
				return err
			}
			return a.view.Workspaces(r.GetWorkspaces())
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) inspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:        "inspect [flags] [<workspace>]",
		Short:      "show all about a workspace",
		SuggestFor: []string{"info", "show", "describe"},
		Long: `Shows the workspace, its driver with the reason for the choice, and its dev servers.
Without an id it is the one of the current directory.`,
		Example: `  sero inspect
  sero inspect --json`,
		Args:              arguments(0, 1, "the workspace"),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := a.reference(args...)
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
			r, err := c.Workspaces.GetWorkspace(ctx, &apipb.GetWorkspaceRequest{Workspace: ref})
			if err != nil {
				return err
			}
			return a.view.Workspace(r.GetWorkspace())
		},
	}
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}
