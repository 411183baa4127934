package api

import (
	"context"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/egress"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// egressHandler serves EgressService.
type egressHandler struct {
	egress     *egress.Service
	workspaces *workspace.Manager
}

// GetEgress describes a workspace's egress.
func (h egressHandler) GetEgress(_ context.Context, r *apipb.GetEgressRequest) (*apipb.GetEgressResponse, error) {
	e, err := h.describe(r.GetWorkspace())
	return &apipb.GetEgressResponse{Egress: e}, err
}

// AllowEgress grants rules.
func (h egressHandler) AllowEgress(_ context.Context, r *apipb.AllowEgressRequest) (*apipb.AllowEgressResponse, error) {
	e, err := h.change(r.GetWorkspace(), r.GetRules(), h.egress.Grant)
	return &apipb.AllowEgressResponse{Egress: e}, err
}

// RevokeEgress takes grants back.
func (h egressHandler) RevokeEgress(_ context.Context, r *apipb.RevokeEgressRequest) (*apipb.RevokeEgressResponse, error) {
	e, err := h.change(r.GetWorkspace(), r.GetRules(), h.egress.Revoke)
	return &apipb.RevokeEgressResponse{Egress: e}, err
}

func (h egressHandler) change(w *apipb.WorkspaceRef, rules []string, do func(string, []string) ([]string, error)) (*apipb.Egress, error) {
	if len(rules) == 0 {
		return nil, &driver.Error{Reason: driver.InvalidArgument, Message: "there is no rule", Field: "rules"}
	}
	id, err := h.workspaces.ID(ref(w))
	if err != nil {
		return nil, err
	}
	if _, err := do(id, rules); err != nil {
		return nil, err
	}
	return h.describe(w)
}

func (h egressHandler) describe(w *apipb.WorkspaceRef) (*apipb.Egress, error) {
	id, file, host, err := h.workspaces.EgressRules(ref(w))
	if err != nil {
		return nil, err
	}
	st, err := h.egress.Status(id, file)
	if err != nil {
		return nil, err
	}
	out := &apipb.Egress{
		WorkspaceId: id, Asked: st.Asked, Mode: string(st.Mode), Running: st.Running, OnlyWayOut: st.OnlyWayOut,
		Machine: egressRules(st.Machine), Workspace: egressRules(st.Rules), Changed: st.Changed,
		Granted: st.Granted, Observed: st.Observed, HostMode: host,
	}
	for _, e := range st.Refusals {
		out.Refusals = append(out.Refusals, &apipb.EgressRefusal{
			Method: e.Method, Target: e.Target, Status: uint32(e.Status), Why: e.Why, Rule: e.Rule, Allow: e.Allow,
			Count: uint32(e.Count), First: timestamp(e.First), Last: timestamp(e.Last),
		})
	}
	return out, nil
}

func egressRules(e config.Egress) *apipb.EgressRules {
	return &apipb.EgressRules{Mode: string(e.Chosen()), Enforce: e.Enforce, Allow: e.Allow, Deny: e.Deny}
}
