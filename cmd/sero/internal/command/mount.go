package command

import (
	"context"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func (a *app) mountCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:        "mount",
		Short:      "show more directories of this machine in a workspace",
		SuggestFor: []string{"volume"},
		Long: `A workspace's sandbox shows the workspace's own directory and what is added here or asked
for in sero.json. What is added appears once the sandbox is made anew: "sero recreate".`,
		Example: `  sero mount add ../shop
  sero mount ls`,
	}
	return a.group(cmd, a.mountAddCommand(), a.mountListCommand(), a.mountRemoveCommand())
}

func (a *app) mountAddCommand() *cobra.Command {
	r := &apipb.AddMountRequest{}
	cmd := &cobra.Command{
		Use:   "add [flags] <dir>",
		Short: "add a directory",
		Long: `Adds a directory of this machine to the workspace, at the same path in the sandbox or at
--target. Keys, engines' sockets and whatever would hide a part of the sandbox are refused.`,
		Example: `  sero mount add ../shop
  sero mount add --read-only --target /shop --json ../shop`,
		Args: arguments(1, 1, "the directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			source, err := mountable(args[0])
			if err != nil {
				return err
			}
			r.Source = source
			return a.withMounts(cmd, func(ctx context.Context, c *daemonclient.Client, ref *apipb.WorkspaceRef) ([]*apipb.Mount, error) {
				r.Workspace = ref
				answer, err := c.Mounts.AddMount(ctx, r)
				return answer.GetMounts(), err
			})
		},
	}
	cmd.Flags().StringVar(&r.Target, "target", "", "`path` in the sandbox [that of the directory]")
	cmd.Flags().BoolVar(&r.ReadOnly, "read-only", false, "refuse writes from inside")
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

// mountable is a directory that a person named. The path is taken as it is
// written if it is absolute, for the core to judge.
func mountable(dir string) (string, error) {
	if dir == "" {
		return "", driver.Errorf(driver.InvalidArgument, "the directory is empty").Remedy("give a directory")
	}
	if filepath.IsAbs(dir) {
		return dir, nil
	}
	return absolute(dir)
}

func (a *app) mountListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls [flags]",
		Short: "list the directories of a workspace",
		Long: `Lists what the workspace's sandbox shows of this machine besides the workspace's directory,
and what waits for it to be made anew or is left out.`,
		Example: `  sero mount ls
  sero mount ls --json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withMounts(cmd, func(ctx context.Context, c *daemonclient.Client, ref *apipb.WorkspaceRef) ([]*apipb.Mount, error) {
				answer, err := c.Mounts.ListMounts(ctx, &apipb.ListMountsRequest{Workspace: ref})
				return answer.GetMounts(), err
			})
		},
	}
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

func (a *app) mountRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rm [flags] <dir>",
		Short: "take a directory away that was added",
		Long: `Takes a directory away that "sero mount add" added, named by its path on this machine or in
the sandbox. Its files are never touched.`,
		Example: `  sero mount add ../shop && sero mount rm ../shop
  sero mount add --target /lib2 ../shop && sero mount rm --json /lib2`,
		Args: arguments(1, 1, "the directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := mountable(args[0])
			if err != nil {
				return err
			}
			return a.withMounts(cmd, func(ctx context.Context, c *daemonclient.Client, ref *apipb.WorkspaceRef) ([]*apipb.Mount, error) {
				answer, err := c.Mounts.RemoveMount(ctx, &apipb.RemoveMountRequest{Workspace: ref, Path: path})
				return answer.GetMounts(), err
			})
		},
	}
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

// withMounts makes one call about a workspace's mounts and shows them.
func (a *app) withMounts(cmd *cobra.Command,
	get func(ctx context.Context, c *daemonclient.Client, ref *apipb.WorkspaceRef) ([]*apipb.Mount, error),
) error {
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
	mounts, err := get(ctx, c, ref)
	if err != nil {
		return err
	}
	return a.view.Mounts(mounts)
}
