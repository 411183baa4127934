package command

import (
	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func (a *app) upCommand() *cobra.Command {
	var id, driverName string
	cmd := &cobra.Command{
		Use:        "up [flags] [<dir>]",
		Short:      "open a workspace and make it ready",
		SuggestFor: []string{"start", "create", "init", "new", "launch"},
		Long: `Opens the workspace of the directory, or of the one above it that has one, chooses a
driver and makes its sandbox. It is quick when all is ready, and may be repeated.`,
		Example: `  sero up
  sero up --id shop --driver host --json ../shop`,
		Args: arguments(0, 1, "the directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			request, err := a.upRequest(cmd, args, id, driverName)
			if err != nil {
				return err
			}
			w, err := a.up(cmd, request)
			if err != nil {
				return err
			}
			return a.view.Workspace(w)
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "`id` for a new workspace [made from the directory's name]")
	a.driverFlag(cmd, &driverName)
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

// driverFlag gives a command --driver.
func (a *app) driverFlag(cmd *cobra.Command, target *string) {
	cmd.Flags().StringVar(target, "driver", "", "`name` of the driver to use, or auto [the workspace's own choice]")
	_ = cmd.RegisterFlagCompletionFunc("driver", a.completeDrivers)
}

func (a *app) upRequest(cmd *cobra.Command, args []string, id, driverName string) (*apipb.UpRequest, error) {
	if cmd.Flags().Changed("id") {
		if _, err := workspaceID(id); err != nil {
			return nil, err
		}
	}
	if len(args) == 0 {
		ref, err := a.reference()
		return &apipb.UpRequest{Workspace: ref, NewId: id, Driver: driverName}, err
	}
	if a.workspaceSet {
		return nil, usagef("the workspace is given twice, as a directory and by --workspace")
	}
	if args[0] == "" {
		return nil, driver.Errorf(driver.InvalidArgument, "the directory is empty").Remedy("give a directory, or none for the current one")
	}
	dir, err := absolute(args[0])
	if err != nil {
		return nil, err
	}
	return &apipb.UpRequest{Workspace: &apipb.WorkspaceRef{Directory: dir}, NewId: id, Driver: driverName}, nil
}

// up makes a workspace ready and shows how it goes.
func (a *app) up(cmd *cobra.Command, request *apipb.UpRequest) (*apipb.Workspace, error) {
	c, err := a.connect(cmd.Context())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ctx, cancel := call(cmd.Context(), readyTimeout)
	defer cancel()
	progress := a.view.NewProgress()
	defer progress.Done()
	stream, err := c.Workspaces.Up(ctx, request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		progress.Step(stream.Msg().GetProgress())
		if w := stream.Msg().GetWorkspace(); w != nil {
			progress.Done()
			return w, nil
		}
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	return nil, driver.Errorf(daemonclient.DaemonLost, "the daemon ended the call without the workspace")
}
