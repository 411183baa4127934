package api

import (
	"context"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/workspace"
)

// mountHandler serves MountService.
type mountHandler struct{ workspaces *workspace.Manager }

// AddMount adds a directory of the host to a workspace.
func (h mountHandler) AddMount(ctx context.Context, r *apipb.AddMountRequest) (*apipb.AddMountResponse, error) {
	if err := h.workspaces.Attach(ref(r.GetWorkspace()), r.GetSource(), r.GetTarget(), r.GetReadOnly()); err != nil {
		return nil, err
	}
	mounts, err := h.list(ctx, r.GetWorkspace())
	return &apipb.AddMountResponse{Mounts: mounts}, err
}

// RemoveMount takes one away.
func (h mountHandler) RemoveMount(ctx context.Context, r *apipb.RemoveMountRequest) (*apipb.RemoveMountResponse, error) {
	if err := h.workspaces.Detach(ref(r.GetWorkspace()), r.GetPath()); err != nil {
		return nil, err
	}
	mounts, err := h.list(ctx, r.GetWorkspace())
	return &apipb.RemoveMountResponse{Mounts: mounts}, err
}

// ListMounts lists a workspace's.
func (h mountHandler) ListMounts(ctx context.Context, r *apipb.ListMountsRequest) (*apipb.ListMountsResponse, error) {
	mounts, err := h.list(ctx, r.GetWorkspace())
	return &apipb.ListMountsResponse{Mounts: mounts}, err
}

func (h mountHandler) list(ctx context.Context, w *apipb.WorkspaceRef) ([]*apipb.Mount, error) {
	states, err := h.workspaces.Mounts(ctx, ref(w))
	if err != nil {
		return nil, err
	}
	var out []*apipb.Mount
	for _, s := range states {
		out = append(out, &apipb.Mount{
			Source: valid(s.Source), Target: valid(s.Target), ReadOnly: s.ReadOnly, Attached: s.Attached, State: s.State, Why: valid(s.Why),
		})
	}
	return out, nil
}
