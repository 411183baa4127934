package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/api/apipb/apipbconnect"
	"github.com/sero-labs/sero-runtime/internal/paths"
)

// TestScriptsAgainstFakeDaemon shows what the CLI makes of answers that are hard
// to get from a real daemon: fixed times, engines that this machine has not,
// versions that differ.
func TestScriptsAgainstFakeDaemon(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/fake",
		Setup: func(env *testscript.Env) error {
			if err := isolate(env); err != nil {
				return err
			}
			env.Vars = append(env.Vars, "TZ=UTC")
			return serveFake(env)
		},
	})
}

func serveFake(env *testscript.Env) error {
	l, err := net.Listen("unix", paths.Socket(env.Getenv(paths.RunVariable)))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	f := fakeDaemon{}
	mux.Handle(apipbconnect.NewWorkspaceServiceHandler(f))
	mux.Handle(apipbconnect.NewDevServerServiceHandler(f))
	mux.Handle(apipbconnect.NewDriverServiceHandler(f))
	mux.Handle(apipbconnect.NewDaemonServiceHandler(f))
	mux.Handle(apipbconnect.NewExecServiceHandler(f))
	server := &http.Server{Handler: mux, Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute}
	server.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	env.Defer(func() {
		_ = server.Close()
		<-done
	})
	return nil
}

// fakeDaemon answers with fixed values. What it answers depends on the name that
// is asked for, so that a script can choose.
type fakeDaemon struct {
	apipbconnect.UnimplementedWorkspaceServiceHandler
	apipbconnect.UnimplementedDevServerServiceHandler
	apipbconnect.UnimplementedDriverServiceHandler
	apipbconnect.UnimplementedDaemonServiceHandler
	apipbconnect.UnimplementedExecServiceHandler
}

var noon = timestamppb.New(time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC))

func (fakeDaemon) GetStatus(context.Context, *apipb.GetStatusRequest) (*apipb.GetStatusResponse, error) {
	return &apipb.GetStatusResponse{
		Pid: 4711, Version: "99.0.0", Started: noon, Socket: "/run/sero.sock", LogFile: "/log", IdleExitMs: 60_000,
		RunningWorkspaces: 1, RunningDevServers: 2, RunningCommands: 3,
	}, nil
}

func hostChoice() *apipb.DriverChoice {
	return &apipb.DriverChoice{
		Desired: "auto", Actual: "host", Isolation: "none", HostMode: true,
		Reason:  "no container driver is usable",
		Reduced: []string{"browser.automation@1", "net.container@1"},
		Rejected: []*apipb.DriverRejection{{
			Driver: "docker", Reason: "ENGINE_NOT_RUNNING", Message: "the engine does not run",
			Remedies: []*apipb.Remedy{{Text: "start it", Command: []string{"systemctl", "start", "docker"}}},
		}},
		Remedies: []*apipb.Remedy{{Text: "start Docker", Command: []string{"systemctl", "start", "docker"}}},
	}
}

func shop() *apipb.Workspace {
	return &apipb.Workspace{
		Id: "shop", Directory: "/src/shop", State: apipb.WorkspaceState_WORKSPACE_STATE_RUNNING, Driver: hostChoice(),
		SandboxId: "sero-shop", SandboxDirectory: "/src/shop", Created: noon, Capabilities: []string{"exec@1"},
		Warnings: []string{`sero.json:3:5: unknown key "imgae", did you mean "image"?`},
		DevServers: []*apipb.DevServer{{
			Id: "shop:workspace:root:5173", WorkspaceId: "shop", Scope: "workspace", CardId: "root", Port: 5173, Name: "web",
			Command: []string{"npm", "run", "dev"}, Url: "http://localhost:5173", Pid: 12, Started: noon,
			Status: apipb.DevServerStatus_DEV_SERVER_STATUS_RUNNING,
		}},
	}
}

func (fakeDaemon) ListWorkspaces(context.Context, *apipb.ListWorkspacesRequest) (*apipb.ListWorkspacesResponse, error) {
	return &apipb.ListWorkspacesResponse{Workspaces: []*apipb.Workspace{
		{
			Id: "api", Directory: "/src/a\x1b[2Jpi", State: 99,
			Driver:       &apipb.DriverChoice{Desired: "docker", Actual: "docker", Isolation: "shared-kernel", Reason: "asked for"},
			StateMessage: "docker does not answer",
		},
		shop(),
	}}, nil
}

func (fakeDaemon) GetWorkspace(_ context.Context, r *apipb.GetWorkspaceRequest) (*apipb.GetWorkspaceResponse, error) {
	if id := r.GetWorkspace().GetId(); id != "" && id != "shop" {
		return nil, detailed(connect.CodeNotFound, &apipb.ErrorDetail{
			Reason: "NOT_FOUND", Message: "there is no workspace " + id, Resource: id,
			Remedies: []*apipb.Remedy{{Text: "see those there are", Command: []string{"sero", "ls"}}},
		})
	}
	return &apipb.GetWorkspaceResponse{Workspace: shop()}, nil
}

func (fakeDaemon) Up(_ context.Context, r *apipb.UpRequest, s *connect.ServerStream[apipb.UpResponse]) error {
	if r.GetDriver() == "docker" {
		return detailed(connect.CodeFailedPrecondition, &apipb.ErrorDetail{
			Reason: "ENGINE_NOT_RUNNING", Message: "the engine does not run", Driver: "docker",
			Remedies: []*apipb.Remedy{{Text: "start it", Command: []string{"systemctl", "start", "docker desktop"}}},
		})
	}
	for _, phase := range []string{"pulling sero-node:latest", "starting the sandbox"} {
		if err := s.Send(&apipb.UpResponse{Step: &apipb.UpResponse_Progress{Progress: &apipb.Progress{Message: phase}}}); err != nil {
			return err
		}
	}
	return s.Send(&apipb.UpResponse{Step: &apipb.UpResponse_Workspace{Workspace: shop()}})
}

func (fakeDaemon) StartDevServer(_ context.Context, r *apipb.StartDevServerRequest) (*apipb.StartDevServerResponse, error) {
	d := shop().GetDevServers()[0]
	if r.GetName() == "broken" {
		d.Name, d.Url, d.Port = "broken", "", 0
		d.Status, d.StatusMessage = apipb.DevServerStatus_DEV_SERVER_STATUS_FAILED, "it exited with 1 before it listened"
		d.LogTail = []string{"Error: no package.json", "    at \x1b[31mmain\x1b[0m"}
	}
	return &apipb.StartDevServerResponse{DevServer: d, Driver: hostChoice(), AlreadyRunning: r.GetName() == "again"}, nil
}

func (fakeDaemon) DevServerLogs(_ context.Context, _ *apipb.DevServerLogsRequest, s *connect.ServerStream[apipb.DevServerLogsResponse]) error {
	for _, piece := range []string{"one\ntw", "o\r\nthree"} {
		if err := s.Send(&apipb.DevServerLogsResponse{Data: []byte(piece)}); err != nil {
			return err
		}
	}
	return nil
}

func (fakeDaemon) ListDrivers(context.Context, *apipb.ListDriversRequest) (*apipb.ListDriversResponse, error) {
	return &apipb.ListDriversResponse{Drivers: []*apipb.Driver{
		{
			Name: "old", Origin: "user", Path: "/d/sero-driver-old", State: "unusable", Reason: "DRIVER_INCOMPATIBLE",
			Problem:  "it speaks protocol 2, this sero speaks 1",
			Remedies: []*apipb.Remedy{{Text: "upgrade sero"}},
		},
		{Name: "host", Origin: "bundled", State: "ready", Usable: true, Version: "0.1.0", Isolation: "none", Pid: 12, Capabilities: []string{"exec@1"}},
	}}, nil
}

func (fakeDaemon) Doctor(context.Context, *apipb.DoctorRequest) (*apipb.DoctorResponse, error) {
	return &apipb.DoctorResponse{Checks: []*apipb.Check{
		{Name: "docker", Verdict: apipb.CheckVerdict_CHECK_VERDICT_WARN, Message: "it does not run", Remedies: []*apipb.Remedy{{Text: "start it"}}},
	}}, nil
}

func (fakeDaemon) WatchEvents(_ context.Context, _ *apipb.WatchEventsRequest, s *connect.ServerStream[apipb.WatchEventsResponse]) error {
	return s.Send(&apipb.WatchEventsResponse{Sequence: 1, Time: noon, Type: "devserver.running", WorkspaceId: "shop", Subject: "web", Message: "listens on 5173"})
}

func (fakeDaemon) Exec(_ context.Context, s *connect.BidiStream[apipb.ExecRequest, apipb.ExecResponse]) error {
	if _, err := s.Receive(); err != nil {
		return err
	}
	if err := s.Send(&apipb.ExecResponse{Frame: &apipb.ExecResponse_Started{Started: &apipb.ExecStarted{}}}); err != nil {
		return err
	}
	panic(http.ErrAbortHandler) // the daemon dies
}

func detailed(code connect.Code, d *apipb.ErrorDetail) error {
	e := connect.NewError(code, errors.New(d.GetMessage()))
	if detail, err := connect.NewErrorDetail(d); err == nil {
		e.AddDetail(detail)
	}
	return e
}
