package command

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

// atOnce is how many workspaces one command stops or removes at the same time.
const atOnce = 8

func (a *app) stopCommand() *cobra.Command {
	var grace time.Duration
	var all bool
	cmd := &cobra.Command{
		Use:        "stop [flags] [<workspace>...]",
		Short:      "stop what runs in workspaces",
		SuggestFor: []string{"down", "halt"},
		Long: `Stops the dev servers, commands and sandbox of each workspace; the next action starts it
again. Without an id it is the workspace of the current directory. Stopping a stopped
workspace succeeds. With several, --json writes one object a line.`,
		Example: `  sero stop
  sero stop --all
  sero stop --grace 2s --json`,
		Args:              arguments(0, -1, "the workspace"),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(cmd *cobra.Command, args []string) error {
			if grace <= 0 {
				return usagef("--grace must be more than nothing")
			}
			refs, err := a.references(all, args)
			if err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			if all {
				if refs, err = a.allWorkspaces(cmd.Context(), c); err != nil {
					return err
				}
			}
			ms := (grace + time.Millisecond - 1) / time.Millisecond
			return forEach(a, refs, func(ref *apipb.WorkspaceRef) (*apipb.StopWorkspaceResponse, error) {
				ctx, cancel := call(cmd.Context(), grace+callTimeout)
				defer cancel()
				return c.Workspaces.StopWorkspace(ctx, &apipb.StopWorkspaceRequest{Workspace: ref, GraceMs: int64(ms)})
			}, a.view.Stopped)
		},
	}
	cmd.Flags().DurationVar(&grace, "grace", 10*time.Second, "kill what still runs after this `time` [10s]")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "every workspace")
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

func (a *app) removeCommand() *cobra.Command {
	var all, yes bool
	cmd := &cobra.Command{
		Use:        "rm [flags] [<workspace>...]",
		Short:      "stop workspaces and forget them",
		SuggestFor: []string{"delete", "destroy", "remove"},
		Long: `Stops each workspace, removes its sandbox, also one that it has left in another driver, and
forgets it. Without an id it is the workspace of the current directory. The files in its
directory are never touched, and removing what is not there succeeds. With --all it asks
first. With several, --json writes one object a line.`,
		Example: `  sero rm shop
  sero rm --all --yes
  sero rm --json`,
		Args:              arguments(0, -1, "the workspace"),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(cmd *cobra.Command, args []string) error {
			refs, err := a.references(all, args)
			if err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			if all {
				if refs, err = a.allWorkspaces(cmd.Context(), c); err != nil {
					return err
				}
				if len(refs) > 0 && !yes {
					question := fmt.Sprintf("remove %s and their sandboxes? files stay", plural(len(refs), "workspace"))
					if err := a.confirm(question, "nothing was removed", "rm", "--all", "--yes"); err != nil {
						return err
					}
				}
			}
			return forEach(a, refs, func(ref *apipb.WorkspaceRef) (*apipb.RemoveWorkspaceResponse, error) {
				ctx, cancel := call(cmd.Context(), 2*callTimeout)
				defer cancel()
				return c.Workspaces.RemoveWorkspace(ctx, &apipb.RemoveWorkspaceRequest{Workspace: ref})
			}, a.view.Removed)
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "every workspace")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "with --all: do not ask")
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// references returns the workspaces that the arguments name, or that of the
// current directory; none with --all.
func (a *app) references(all bool, args []string) ([]*apipb.WorkspaceRef, error) {
	switch {
	case all && (len(args) > 0 || a.workspaceSet):
		return nil, usagef("--all is every workspace, and one is named too")
	case all:
		return nil, nil
	case len(args) == 0:
		ref, err := a.reference()
		return []*apipb.WorkspaceRef{ref}, err
	}
	var refs []*apipb.WorkspaceRef
	for _, arg := range args {
		ref, err := a.reference(arg)
		if err != nil {
			return nil, err
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

func (a *app) allWorkspaces(ctx context.Context, c *daemonclient.Client) ([]*apipb.WorkspaceRef, error) {
	ctx, cancel := call(ctx, callTimeout)
	defer cancel()
	r, err := c.Workspaces.ListWorkspaces(ctx, &apipb.ListWorkspacesRequest{})
	if err != nil {
		return nil, err
	}
	refs := []*apipb.WorkspaceRef{}
	for _, w := range r.GetWorkspaces() {
		refs = append(refs, &apipb.WorkspaceRef{Id: w.GetId()})
	}
	if len(refs) == 0 && !a.view.JSON {
		a.view.Notice("there are no workspaces")
	}
	return refs, nil
}

// forEach calls do for each workspace, several at a time, and shows the answers
// in order. One failure does not keep the others from being done.
func forEach[T any](a *app, refs []*apipb.WorkspaceRef, do func(*apipb.WorkspaceRef) (T, error), show func(T) error) error {
	answers, errs := make([]T, len(refs)), make([]error, len(refs))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, ref := range refs {
		group.Go(func() error {
			answers[i], errs[i] = do(ref)
			return nil
		})
	}
	_ = group.Wait() // errs has them
	failed := false
	for i, err := range errs {
		if err != nil && len(refs) == 1 {
			return err
		}
		if err != nil {
			e := *daemonclient.Error(err)
			e.Message = refs[i].GetId() + ": " + e.Message
			a.view.Failure(&e)
			failed = true
			continue
		}
		if err := show(answers[i]); err != nil {
			return err
		}
	}
	if failed {
		return &statusError{exitFailure}
	}
	return nil
}
