package api

import (
	"context"

	"connectrpc.com/connect"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/devserver"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/core/preview"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// devServerHandler serves DevServerService.
type devServerHandler struct {
	servers    *devserver.Supervisor
	workspaces *workspace.Manager
	previews   *preview.Gateway
}

// StartDevServer runs a command in the background and waits until it listens.
func (h devServerHandler) StartDevServer(ctx context.Context, r *apipb.StartDevServerRequest) (*apipb.StartDevServerResponse, error) {
	if r.GetPort() > 0xffff {
		return nil, &driver.Error{Reason: driver.InvalidArgument, Message: "a port is at most 65535", Field: "port"}
	}
	wait, err := duration("wait_ms", r.GetWaitMs())
	if err != nil {
		return nil, err
	}
	result, err := h.servers.Start(ctx, devserver.Spec{
		Workspace: ref(r.GetWorkspace()),
		Command:   r.GetCommand(),
		Name:      r.GetName(),
		Scope:     r.GetScope(),
		CardID:    r.GetCardId(),
		Port:      uint16(r.GetPort()),
		Dir:       r.GetDir(),
		Env:       envVars(r.GetEnv()),
		Caller:    envVars(r.GetCaller()),
		Driver:    r.GetDriver(),
		ByName:    r.GetByName(),
	}, wait, nil)
	if err != nil {
		return nil, err
	}
	return &apipb.StartDevServerResponse{
		DevServer: devServer(result.Server, h.previews, result.Workspace.Choice), AlreadyRunning: result.AlreadyRunning, Driver: choice(result.Workspace.Choice),
	}, nil
}

// StopDevServer ends one.
func (h devServerHandler) StopDevServer(ctx context.Context, r *apipb.StopDevServerRequest) (*apipb.StopDevServerResponse, error) {
	named, err := h.ref(r.GetDevServer())
	if err != nil {
		return nil, err
	}
	s, err := h.servers.Stop(ctx, named)
	return &apipb.StopDevServerResponse{DevServer: devServer(s, h.previews, h.workspaces.Choice(s.WorkspaceID)), Forgotten: s.Forgotten}, err
}

// RemoveDevServer ends one and forgets it.
func (h devServerHandler) RemoveDevServer(ctx context.Context, r *apipb.RemoveDevServerRequest) (*apipb.RemoveDevServerResponse, error) {
	named, err := h.ref(r.GetDevServer())
	if err != nil {
		return nil, err
	}
	s, err := h.servers.Remove(ctx, named)
	return &apipb.RemoveDevServerResponse{DevServer: devServer(s, h.previews, h.workspaces.Choice(s.WorkspaceID))}, err
}

// RestartDevServer ends one and runs it again.
func (h devServerHandler) RestartDevServer(ctx context.Context, r *apipb.RestartDevServerRequest) (*apipb.RestartDevServerResponse, error) {
	named, err := h.ref(r.GetDevServer())
	if err != nil {
		return nil, err
	}
	wait, err := duration("wait_ms", r.GetWaitMs())
	if err != nil {
		return nil, err
	}
	s, err := h.servers.Restart(ctx, named, wait, nil)
	runsIn := h.workspaces.Choice(s.WorkspaceID)
	return &apipb.RestartDevServerResponse{DevServer: devServer(s, h.previews, runsIn), Driver: choice(runsIn)}, err
}

// ListDevServers lists them.
func (h devServerHandler) ListDevServers(ctx context.Context, r *apipb.ListDevServersRequest) (*apipb.ListDevServersResponse, error) {
	id := ""
	if r.GetWorkspace() != nil {
		var err error
		if id, err = h.workspaces.ID(ref(r.GetWorkspace())); err != nil {
			return nil, err
		}
	}
	h.servers.AwaitKnown(ctx, id)
	return &apipb.ListDevServersResponse{DevServers: devServers(h.servers.List(id), h.previews, h.workspaces)}, nil
}

// ListPorts lists what listens in a workspace.
func (h devServerHandler) ListPorts(ctx context.Context, r *apipb.ListPortsRequest) (*apipb.ListPortsResponse, error) {
	w, err := h.workspaces.Get(ctx, ref(r.GetWorkspace()))
	if err != nil {
		return nil, err
	}
	ports, err := h.servers.Ports(ctx, w.ID)
	if err != nil {
		return nil, err
	}
	out := &apipb.ListPortsResponse{HostMode: w.Choice.HostMode}
	for _, p := range ports {
		port := &apipb.Port{Port: uint32(p.Port), Addresses: p.Addresses, Pid: p.PID, Command: valid(p.Command), Origin: string(p.Origin)}
		if p.Origin != devserver.OriginOther {
			port.DevServer = devServer(p.Server, h.previews, w.Choice)
		}
		out.Ports = append(out.Ports, port)
	}
	return out, nil
}

// DevServerLogs reads what one wrote.
func (h devServerHandler) DevServerLogs(ctx context.Context, r *apipb.DevServerLogsRequest, stream *connect.ServerStream[apipb.DevServerLogsResponse]) error {
	named, err := h.ref(r.GetDevServer())
	if err != nil {
		return err
	}
	return h.servers.Logs(ctx, named, r.GetFollow(), int(r.GetTailLines()), func(p []byte) error {
		return stream.Send(&apipb.DevServerLogsResponse{Data: p})
	})
}

// ref is a dev server's name, in its workspace if one is known by that ref.
func (h devServerHandler) ref(r *apipb.DevServerRef) (devserver.Ref, error) {
	out := devserver.Ref{Key: r.GetId()}
	if w := r.GetWorkspace(); w != nil {
		id, err := h.workspaces.ID(ref(w))
		if err != nil && (w.GetId() != "" || driver.ReasonOf(err) != driver.NotFound) {
			return devserver.Ref{}, err
		}
		out.WorkspaceID = id
	}
	return out, nil
}

// devServerStatuses pairs the two spellings.
var devServerStatuses = map[devserver.Status]apipb.DevServerStatus{
	devserver.StatusStarting: apipb.DevServerStatus_DEV_SERVER_STATUS_STARTING,
	devserver.StatusRunning:  apipb.DevServerStatus_DEV_SERVER_STATUS_RUNNING,
	devserver.StatusStopped:  apipb.DevServerStatus_DEV_SERVER_STATUS_STOPPED,
	devserver.StatusFailed:   apipb.DevServerStatus_DEV_SERVER_STATUS_FAILED,
}

func devServer(s devserver.Server, previews *preview.Gateway, runsIn negotiate.Choice) *apipb.DevServer {
	out := &apipb.DevServer{
		Id: s.ID, Uid: s.UID, WorkspaceId: s.WorkspaceID, Scope: s.Scope, CardId: s.CardID, Port: uint32(s.Port), Name: s.Name,
		Dir: valid(s.Dir), Url: s.URL, Status: devServerStatuses[s.Status], StatusMessage: valid(s.StatusMessage),
		Pid: s.PID, Started: timestamp(s.Started), Detected: s.Detected, PreviewUrl: previews.URL(s.WorkspaceID, s.Name),
		Isolation: isolation(runsIn), HostMode: runsIn.HostMode, ParentUid: s.ParentUID,
	}
	for _, word := range s.Command {
		out.Command = append(out.Command, valid(word))
	}
	for _, line := range s.LogTail {
		out.LogTail = append(out.LogTail, valid(line))
	}
	return out
}

func devServers(ss []devserver.Server, previews *preview.Gateway, workspaces *workspace.Manager) []*apipb.DevServer {
	var out []*apipb.DevServer
	for _, s := range ss {
		out = append(out, devServer(s, previews, workspaces.Choice(s.WorkspaceID)))
	}
	return out
}
