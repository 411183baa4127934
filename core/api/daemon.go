package api

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/doctor"
	"github.com/sero-labs/sero-runtime/core/event"
)

// Daemon is what the process says of itself.
type Daemon struct {
	PID      int
	Version  string
	Started  time.Time
	Socket   string
	LogFile  string
	Home     string
	IdleExit time.Duration // 0: never
	// Shutdown ends the process after the answer is sent.
	Shutdown func()
}

// daemonHandler serves DaemonService.
type daemonHandler struct{ Parts }

// GetStatus tells who is serving.
func (h daemonHandler) GetStatus(context.Context, *apipb.GetStatusRequest) (*apipb.GetStatusResponse, error) {
	d := h.Daemon
	workspaces, commands := h.Workspaces.Running()
	return &apipb.GetStatusResponse{
		Pid: int64(d.PID), Version: d.Version, Started: timestamp(d.Started), Socket: d.Socket, LogFile: d.LogFile, Home: d.Home,
		RunningWorkspaces: int32(workspaces), RunningDevServers: int32(h.DevServers.Running()), RunningCommands: int32(commands),
		IdleExitMs:  d.IdleExit.Milliseconds(),
		PreviewPort: uint32(h.Previews.Port()), PreviewConflict: valid(h.Previews.Conflict()),
	}, nil
}

// verdicts pairs the two spellings.
var verdicts = map[doctor.Verdict]apipb.CheckVerdict{
	doctor.OK:   apipb.CheckVerdict_CHECK_VERDICT_OK,
	doctor.Warn: apipb.CheckVerdict_CHECK_VERDICT_WARN,
	doctor.Fail: apipb.CheckVerdict_CHECK_VERDICT_FAIL,
}

// Doctor checks this machine.
func (h daemonHandler) Doctor(ctx context.Context, _ *apipb.DoctorRequest) (*apipb.DoctorResponse, error) {
	out := &apipb.DoctorResponse{}
	for _, c := range doctor.Run(ctx, h.Daemon.Home, h.Drivers.Survey(ctx)) {
		out.Checks = append(out.Checks, &apipb.Check{
			Name: valid(c.Name), Verdict: verdicts[c.Verdict], Message: valid(c.Message), Remedies: remedies(c.Remedies),
		})
	}
	return out, nil
}

// Shutdown ends the daemon.
func (h daemonHandler) Shutdown(context.Context, *apipb.ShutdownRequest) (*apipb.ShutdownResponse, error) {
	h.Daemon.Shutdown()
	return &apipb.ShutdownResponse{Pid: int64(h.Daemon.PID)}, nil
}

// WatchEvents streams events.
func (h daemonHandler) WatchEvents(ctx context.Context, r *apipb.WatchEventsRequest, stream *connect.ServerStream[apipb.WatchEventsResponse]) error {
	since := r.GetSince()
	if since == 0 && r.GetFollow() {
		since = h.Events.Last()
	}
	return h.Events.Watch(ctx, since, r.GetFollow(), func(e event.Event) error {
		return stream.Send(&apipb.WatchEventsResponse{
			Sequence: e.Sequence, Time: timestamp(e.Time), Type: string(e.Type),
			WorkspaceId: e.WorkspaceID, Subject: valid(e.Subject), Name: e.Name, Uid: e.UID, Message: valid(e.Message),
		})
	})
}
