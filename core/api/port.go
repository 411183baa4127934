package api

import (
	"context"

	"connectrpc.com/connect"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/forward"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// portHandler serves PortService.
type portHandler struct{ forwards *forward.Service }

// ForwardPorts leads ports of this machine into a workspace until the caller leaves.
func (h portHandler) ForwardPorts(ctx context.Context, r *apipb.ForwardPortsRequest, stream *connect.ServerStream[apipb.ForwardPortsResponse]) error {
	request := forward.Request{Workspace: ref(r.GetWorkspace()), Driver: r.GetDriver()}
	for _, f := range r.GetForwards() {
		wish, err := wishOf(f)
		if err != nil {
			return err
		}
		request.Wishes = append(request.Wishes, wish)
	}
	set, err := h.forwards.Open(ctx, request, func(p driver.Progress) {
		_ = stream.Send(&apipb.ForwardPortsResponse{Step: &apipb.ForwardPortsResponse_Progress{Progress: progress(p)}}) // a caller that is gone ends ctx
	})
	if err != nil {
		return err
	}
	defer set.Close()
	open := &apipb.ForwardedPorts{WorkspaceId: set.WorkspaceID}
	for _, w := range set.Opened {
		local := uint32(w.Local)
		open.Forwards = append(open.Forwards, &apipb.PortForward{Port: uint32(w.Port), LocalPort: &local})
	}
	if err := stream.Send(&apipb.ForwardPortsResponse{Step: &apipb.ForwardPortsResponse_Open{Open: open}}); err != nil {
		return err
	}
	return set.Wait(ctx, func(text string) error {
		return stream.Send(&apipb.ForwardPortsResponse{Step: &apipb.ForwardPortsResponse_Notice{Notice: valid(text)}})
	})
}

func wishOf(f *apipb.PortForward) (forward.Wish, error) {
	local := f.GetPort()
	if f.LocalPort != nil {
		local = f.GetLocalPort()
	}
	if f.GetPort() > 0xffff || local > 0xffff {
		return forward.Wish{}, &driver.Error{Reason: driver.InvalidArgument, Message: "a port is at most 65535", Field: "forwards"}
	}
	return forward.Wish{Port: uint16(f.GetPort()), Local: uint16(local)}, nil
}
