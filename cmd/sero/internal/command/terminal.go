package command

import (
	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

func (a *app) terminalCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "terminal",
		Short: "list and end terminals",
		Long: `A terminal that sero shell has opened stays until its shell ends, also when nobody looks
at it any more.`,
		Example: `  sero terminal ls
  sero terminal kill k3f9qa`,
	}
	return a.group(cmd, a.terminalListCommand(), a.terminalKillCommand())
}

func (a *app) terminalListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls [flags]",
		Short: "list the terminals that are open",
		Long: `Lists the terminals of all workspaces, or of the one that -w names. Those in containers
are still there after the daemon has ended.`,
		Example: `  sero terminal ls
  sero terminal ls --json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			request := &apipb.ListTerminalsRequest{}
			if a.workspaceSet {
				ref, err := a.reference()
				if err != nil {
					return err
				}
				request.Workspace = ref
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := call(cmd.Context(), callTimeout)
			defer cancel()
			r, err := c.Terminals.ListTerminals(ctx, request)
			if err != nil {
				return err
			}
			return a.view.Terminals(r.GetTerminals())
		},
	}
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

func (a *app) terminalKillCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:        "kill [flags] [<terminal>]",
		Short:      "end a terminal and what runs in it",
		SuggestFor: []string{"kill"},
		Long:       `Ends the terminal of that id, or the only one of the workspace.`,
		Example: `  sero terminal kill k3f9qa
  sero terminal kill --json k3f9qa`,
		Args: arguments(0, 1, "the terminal"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := a.reference()
			if err != nil {
				return err
			}
			request := &apipb.KillTerminalRequest{Workspace: ref}
			if len(args) == 1 {
				request.Id = args[0]
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := call(cmd.Context(), callTimeout)
			defer cancel()
			r, err := c.Terminals.KillTerminal(ctx, request)
			if err != nil {
				return err
			}
			return a.view.TerminalEnded(r.GetTerminal())
		},
	}
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}
