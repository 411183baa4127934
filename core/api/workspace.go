package api

import (
	"context"

	"connectrpc.com/connect"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/devserver"
	"github.com/sero-labs/sero-runtime/core/preview"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// workspaceHandler serves WorkspaceService.
type workspaceHandler struct {
	workspaces *workspace.Manager
	servers    *devserver.Supervisor
	previews   *preview.Gateway
}

// Up makes a workspace ready.
func (h workspaceHandler) Up(ctx context.Context, r *apipb.UpRequest, stream *connect.ServerStream[apipb.UpResponse]) error {
	options := workspace.UpOptions{Ref: ref(r.GetWorkspace()), NewID: r.GetNewId(), Driver: r.GetDriver()}
	w, err := h.workspaces.Up(ctx, options, func(p driver.Progress) {
		_ = stream.Send(&apipb.UpResponse{Step: &apipb.UpResponse_Progress{Progress: progress(p)}}) // a caller that is gone ends ctx
	})
	if err != nil {
		return err
	}
	return stream.Send(&apipb.UpResponse{Step: &apipb.UpResponse_Workspace{Workspace: h.message(w)}})
}

// message is a workspace with its dev servers.
func (h workspaceHandler) message(w workspace.Workspace) *apipb.Workspace {
	out := workspaceMessage(w)
	out.DevServers = devServers(h.servers.List(w.ID), h.previews, h.workspaces)
	return out
}

// ListWorkspaces lists them.
func (h workspaceHandler) ListWorkspaces(ctx context.Context, _ *apipb.ListWorkspacesRequest) (*apipb.ListWorkspacesResponse, error) {
	out := &apipb.ListWorkspacesResponse{}
	for _, w := range h.workspaces.List(ctx) {
		out.Workspaces = append(out.Workspaces, h.message(w))
	}
	return out, nil
}

// GetWorkspace describes one.
func (h workspaceHandler) GetWorkspace(ctx context.Context, r *apipb.GetWorkspaceRequest) (*apipb.GetWorkspaceResponse, error) {
	w, err := h.workspaces.Get(ctx, ref(r.GetWorkspace()))
	if err != nil {
		return nil, err
	}
	return &apipb.GetWorkspaceResponse{Workspace: h.message(w)}, nil
}

// StopWorkspace stops one.
func (h workspaceHandler) StopWorkspace(ctx context.Context, r *apipb.StopWorkspaceRequest) (*apipb.StopWorkspaceResponse, error) {
	grace, err := duration("grace_ms", r.GetGraceMs())
	if err != nil {
		return nil, err
	}
	w, stopped, err := h.workspaces.Stop(ctx, ref(r.GetWorkspace()), grace)
	if err != nil {
		return nil, err
	}
	return &apipb.StopWorkspaceResponse{Workspace: h.message(w), Stopped: stopped}, nil
}

// RemoveWorkspace removes one.
func (h workspaceHandler) RemoveWorkspace(ctx context.Context, r *apipb.RemoveWorkspaceRequest) (*apipb.RemoveWorkspaceResponse, error) {
	id, removed, err := h.workspaces.Remove(ctx, ref(r.GetWorkspace()))
	if err != nil {
		return nil, err
	}
	return &apipb.RemoveWorkspaceResponse{Id: id, Removed: removed}, nil
}
