package api

import (
	"context"
	"slices"

	"connectrpc.com/connect"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/devserver"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/core/registry"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// driverHandler serves DriverService.
type driverHandler struct {
	drivers    *registry.Registry
	workspaces *workspace.Manager
	servers    *devserver.Supervisor
}

// ListDrivers starts every driver that is not running and lists them all.
func (h driverHandler) ListDrivers(ctx context.Context, _ *apipb.ListDriversRequest) (*apipb.ListDriversResponse, error) {
	h.drivers.Survey(ctx)
	out := &apipb.ListDriversResponse{}
	for _, e := range h.drivers.Entries() {
		if registry.Hidden(e.Name) {
			continue
		}
		out.Drivers = append(out.Drivers, driverMessage(e))
	}
	return out, nil
}

// GetDriver starts one driver if need be and describes it.
func (h driverHandler) GetDriver(ctx context.Context, r *apipb.GetDriverRequest) (*apipb.GetDriverResponse, error) {
	h.drivers.Offers(ctx, r.GetName())
	var names []string
	for _, e := range h.drivers.Entries() {
		if e.Name == r.GetName() {
			return &apipb.GetDriverResponse{Driver: driverMessage(e)}, nil
		}
		if !registry.Hidden(e.Name) {
			names = append(names, e.Name)
		}
	}
	return nil, negotiate.NotFound(r.GetName(), names)
}

// RestartSystem stops a driver's engine and starts it again.
func (h driverHandler) RestartSystem(ctx context.Context, r *apipb.RestartSystemRequest, stream *connect.ServerStream[apipb.RestartSystemResponse]) error {
	if err := h.workspaces.CanRestartSystem(ctx, r.GetName()); err != nil {
		return err
	}
	before := &apipb.RestartSystemResponse{Step: &apipb.RestartSystemResponse_Before{Before: h.systemUses(ctx, r.GetName())}}
	if err := stream.Send(before); err != nil || r.GetDryRun() {
		return err
	}
	err := h.workspaces.RestartSystem(ctx, r.GetName(), func(p driver.Progress) {
		_ = stream.Send(&apipb.RestartSystemResponse{Step: &apipb.RestartSystemResponse_Progress{Progress: progress(p)}}) // a caller that is gone ends ctx
	})
	if err != nil {
		return err
	}
	return stream.Send(&apipb.RestartSystemResponse{Step: &apipb.RestartSystemResponse_After{After: h.systemUses(ctx, r.GetName())}})
}

func (h driverHandler) systemUses(ctx context.Context, name string) *apipb.SystemUses {
	uses, err := h.workspaces.SystemUses(ctx, name)
	out := &apipb.SystemUses{Unknown: errorDetail(err)}
	for _, u := range uses {
		use := &apipb.SystemUse{Name: valid(u.Name), WorkspaceId: valid(u.WorkspaceID)}
		if u.WorkspaceID != "" {
			for _, s := range h.servers.List(u.WorkspaceID) {
				if s.Status == devserver.StatusRunning || s.Status == devserver.StatusStarting {
					use.DevServers = append(use.DevServers, valid(s.Name))
				}
			}
		}
		out.Uses = append(out.Uses, use)
	}
	return out
}

func driverMessage(e registry.Entry) *apipb.Driver {
	out := &apipb.Driver{
		Name: e.Name, Path: valid(e.Path), Origin: string(e.Origin), Overrides: valid(e.Overrides), Usable: e.Usable(),
		State: string(e.State), Pid: int64(e.PID), Restarts: int64(e.Restarts), Attributes: map[string]string{},
	}
	if h := e.Handshake; h != nil {
		out.Version, out.SdkVersion, out.Description = valid(h.Info.Version), valid(h.SDKVersion), valid(h.Info.Description)
		out.Isolation = h.Info.Isolation.String()
		out.Capabilities = capabilities(slices.Sorted(slices.Values(h.Capabilities)))
	}
	problem := e.Problem
	if problem == nil && e.State == registry.StateRunning {
		out.State = e.Health.State.String()
		if e.Health.State != driver.HealthReady {
			problem = &driver.Error{Reason: e.Health.Reason, Message: e.Health.Message, Remedies: e.Health.Remedies}
		}
		for key, value := range e.Health.Attributes {
			out.Attributes[valid(key)] = valid(value)
		}
	}
	if problem != nil {
		out.Problem, out.Reason, out.Remedies = valid(problem.Message), string(problem.Reason), remedies(problem.Remedies)
	}
	return out
}
