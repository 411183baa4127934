package api

import (
	"context"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/workspace"
)

// trustHandler serves TrustService.
type trustHandler struct{ workspaces *workspace.Manager }

// GetTrust tells what a sero.json asks of the host.
func (h trustHandler) GetTrust(_ context.Context, r *apipb.GetTrustRequest) (*apipb.GetTrustResponse, error) {
	asked, err := h.workspaces.Asked(ref(r.GetWorkspace()))
	if err != nil {
		return nil, err
	}
	return &apipb.GetTrustResponse{Trust: trustMessage(asked)}, nil
}

// SetTrust allows it, or takes that back.
func (h trustHandler) SetTrust(_ context.Context, r *apipb.SetTrustRequest) (*apipb.SetTrustResponse, error) {
	asked, err := h.workspaces.Trust(ref(r.GetWorkspace()), r.GetHash(), r.GetTrusted())
	if err != nil {
		return nil, err
	}
	return &apipb.SetTrustResponse{Trust: trustMessage(asked)}, nil
}

func trustMessage(a workspace.Asked) *apipb.Trust {
	out := &apipb.Trust{WorkspaceId: a.WorkspaceID, File: valid(a.File), Hash: a.Hash, Trusted: a.Trusted}
	for _, i := range a.Items {
		out.Items = append(out.Items, &apipb.TrustItem{Field: valid(i.Field), Kind: i.Kind, Text: valid(i.Text)})
	}
	return out
}
