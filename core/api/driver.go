package api

import (
	"context"
	"slices"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/core/registry"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// driverHandler serves DriverService.
type driverHandler struct{ drivers *registry.Registry }

// ListDrivers starts every driver that is not running and lists them all.
func (h driverHandler) ListDrivers(ctx context.Context, _ *apipb.ListDriversRequest) (*apipb.ListDriversResponse, error) {
	h.drivers.Offers(ctx)
	out := &apipb.ListDriversResponse{}
	for _, e := range h.drivers.Entries() {
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
		names = append(names, e.Name)
	}
	return nil, negotiate.NotFound(r.GetName(), names)
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
