package api

import (
	"context"

	"connectrpc.com/connect"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// lifecycleHandler serves LifecycleService.
type lifecycleHandler struct{ workspaceHandler }

// RecreateWorkspaces makes sandboxes anew.
func (h lifecycleHandler) RecreateWorkspaces(ctx context.Context, r *apipb.RecreateWorkspacesRequest, stream *connect.ServerStream[apipb.RecreateWorkspacesResponse]) error {
	if !r.GetStale() && !r.GetAll() {
		out, err := h.recreate(ctx, workspace.RecreateOptions{Ref: ref(r.GetWorkspace()), Force: r.GetForce()}, "", stream)
		if err != nil {
			return err
		}
		return stream.Send(out)
	}
	for _, w := range h.workspaces.Stale(ctx, r.GetAll()) {
		out, err := h.recreate(ctx, workspace.RecreateOptions{Ref: workspace.Ref{ID: w.ID}, Force: r.GetForce()}, w.ID+": ", stream)
		if ctx.Err() != nil {
			return err
		}
		recreated := out.GetRecreated()
		recreated.Id, recreated.Error = w.ID, errorDetail(err)
		if err := stream.Send(out); err != nil {
			return err
		}
	}
	return nil
}

func (h lifecycleHandler) recreate(ctx context.Context, options workspace.RecreateOptions, prefix string,
	stream *connect.ServerStream[apipb.RecreateWorkspacesResponse],
) (*apipb.RecreateWorkspacesResponse, error) {
	done, err := h.workspaces.Recreate(ctx, options, func(p driver.Progress) {
		p.Message = prefix + p.Message
		_ = stream.Send(&apipb.RecreateWorkspacesResponse{Step: &apipb.RecreateWorkspacesResponse_Progress{Progress: progress(p)}}) // a caller that is gone ends ctx
	})
	out := &apipb.Recreated{Id: done.Workspace.ID, Drift: drift(done.Drift), Ended: done.Ended, Restarted: done.Restarted}
	if done.Workspace.ID != "" {
		out.Workspace = h.message(done.Workspace)
	}
	return &apipb.RecreateWorkspacesResponse{Step: &apipb.RecreateWorkspacesResponse_Recreated{Recreated: out}}, err
}

// Prune takes away what nobody needs.
func (h lifecycleHandler) Prune(ctx context.Context, r *apipb.PruneRequest) (*apipb.PruneResponse, error) {
	unused, err := duration("unused_ms", r.GetUnusedMs())
	if err != nil {
		return nil, err
	}
	items, warnings := h.workspaces.Prune(ctx, workspace.PruneOptions{DryRun: r.GetDryRun(), Unused: unused, Only: r.GetOnly()})
	out := &apipb.PruneResponse{Warnings: validAll(warnings)}
	for _, i := range items {
		out.Items = append(out.Items, &apipb.PruneItem{
			Key: valid(i.Key()), Kind: i.Kind, Driver: i.Driver, Name: valid(i.Name), WorkspaceId: valid(i.WorkspaceID),
			Reason: valid(i.Reason), Bytes: i.Bytes, Removed: i.Removed, Error: errorDetail(i.Err),
		})
	}
	return out, nil
}

// DiskUsage says what takes room.
func (h lifecycleHandler) DiskUsage(ctx context.Context, _ *apipb.DiskUsageRequest) (*apipb.DiskUsageResponse, error) {
	items, warnings := h.workspaces.DiskUsage(ctx)
	out := &apipb.DiskUsageResponse{Warnings: validAll(warnings)}
	for _, i := range items {
		item := &apipb.DiskItem{Kind: i.Kind, Driver: i.Driver, Name: valid(i.Name), WorkspaceIds: validAll(i.Workspaces), InUse: i.InUse}
		if i.Bytes > 0 {
			item.Bytes = &i.Bytes
		}
		out.Items = append(out.Items, item)
	}
	return out, nil
}

func validAll(texts []string) []string {
	var out []string
	for _, text := range texts {
		out = append(out, valid(text))
	}
	return out
}
