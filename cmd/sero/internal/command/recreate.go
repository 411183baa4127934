package command

import (
	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

func (a *app) recreateCommand() *cobra.Command {
	request := &apipb.RecreateWorkspacesRequest{}
	cmd := &cobra.Command{
		Use:        "recreate [flags] [<workspace>]",
		Short:      "make a workspace's sandbox anew",
		SuggestFor: []string{"rebuild", "reset"},
		Long: `Makes the sandbox anew, so that a changed image, mount, environment or limit reaches it,
and starts the dev servers that ran again. Files in the workspace stay; what was written
elsewhere in the sandbox is lost. The new one is tried out first: if it cannot be made or started,
the old one goes on as it was. Commands that run are in the way, unless --force ends them.`,
		Example: `  sero recreate
  sero recreate --stale
  sero recreate --all --force --json`,
		Args:              arguments(0, 1, "the workspace"),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(cmd *cobra.Command, args []string) error {
			several := request.GetStale() || request.GetAll()
			switch {
			case request.GetStale() && request.GetAll():
				return usagef("--stale and --all cannot be given together")
			case several && (len(args) > 0 || a.workspaceSet):
				return usagef("a workspace cannot be given together with --stale or --all")
			case !several:
				ref, err := a.reference(args...)
				if err != nil {
					return err
				}
				request.Workspace = ref
			}
			return a.recreate(cmd, request)
		},
	}
	cmd.Flags().BoolVar(&request.Stale, "stale", false, "every sandbox that is not as it would be made now")
	cmd.Flags().BoolVar(&request.All, "all", false, "every sandbox that there is")
	cmd.Flags().BoolVarP(&request.Force, "force", "f", false, "end commands and terminals that run, too")
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

// recreate makes sandboxes anew and shows what came of it; one that failed makes
// the command fail, once all are done.
func (a *app) recreate(cmd *cobra.Command, request *apipb.RecreateWorkspacesRequest) error {
	c, err := a.connect(cmd.Context())
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := call(cmd.Context(), readyTimeout)
	defer cancel()
	progress := a.view.NewProgress()
	defer progress.Done()
	stream, err := c.Lifecycle.RecreateWorkspaces(ctx, request)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	var done []*apipb.Recreated
	failed := false
	for stream.Receive() {
		progress.Step(stream.Msg().GetProgress())
		if r := stream.Msg().GetRecreated(); r != nil {
			done = append(done, r)
			failed = failed || r.GetError() != nil
		}
	}
	progress.Done()
	if err := stream.Err(); err != nil {
		return err
	}
	if err := a.view.Recreated(done); err != nil || !failed {
		return err
	}
	return &statusError{code: exitFailure}
}
