package daemon_test

import (
	"context"
	"math"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

func TestErrorsHaveOneDetailWithRemedies(t *testing.T) {
	r := start(t, fake.Script{Rules: []fake.Rule{{Call: "StopSandbox", Error: &fake.Failure{
		Reason: driver.EngineWedged, Message: "the engine hangs", Resource: "engine",
		Remedies: []driver.Remedy{{Text: "restart it", Command: []string{"engine", "restart"}}},
	}}}})
	_, err := r.workspaces.GetWorkspace(t.Context(), &apipb.GetWorkspaceRequest{Workspace: &apipb.WorkspaceRef{Id: "nobody"}})
	if d := wantReason(t, err, driver.NotFound); len(d.GetRemedies()) == 0 || d.GetResource() != "nobody" {
		t.Errorf("the core's own: %v", d)
	}
	w := r.workspace()
	_, err = r.workspaces.StopWorkspace(t.Context(), &apipb.StopWorkspaceRequest{Workspace: &apipb.WorkspaceRef{Id: w.GetId()}})
	d := wantReason(t, err, driver.EngineWedged)
	if d.GetDriver() != "box" || len(d.GetRemedies()) != 1 || strings.Join(d.GetRemedies()[0].GetCommand(), " ") != "engine restart" {
		t.Errorf("the driver's: %v", d)
	}
}

// exchange sends frames to Exec and gives the error that it ends with.
func (r *running) exchange(ctx context.Context, frames ...*apipb.ExecRequest) error {
	r.t.Helper()
	stream, err := r.exec.Exec(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = stream.CloseResponse() }()
	for _, f := range frames {
		if err := stream.Send(f); err != nil {
			break // the answer says why
		}
	}
	if len(frames) == 0 {
		_ = stream.CloseRequest()
	}
	for {
		if _, err := stream.Receive(); err != nil {
			return err
		}
	}
}

func TestHostileExecs(t *testing.T) {
	r := start(t, fake.Script{})
	ref := &apipb.WorkspaceRef{Id: r.workspace().GetId()}
	begin := func(change func(*apipb.ExecStart)) *apipb.ExecRequest {
		s := &apipb.ExecStart{Workspace: ref, Argv: []string{"sleep", "3600"}}
		change(s)
		return &apipb.ExecRequest{Frame: &apipb.ExecRequest_Start{Start: s}}
	}
	sleep := begin(func(*apipb.ExecStart) {})
	stdin := &apipb.ExecRequest{Frame: &apipb.ExecRequest_Stdin{Stdin: make([]byte, 64<<10)}}
	long := strings.Repeat("a", 10_000)
	for name, c := range map[string]struct {
		frames []*apipb.ExecRequest
		want   driver.Reason
	}{
		"no frame":            {nil, driver.InvalidArgument},
		"empty first frame":   {[]*apipb.ExecRequest{{}}, driver.InvalidArgument},
		"another frame first": {[]*apipb.ExecRequest{stdin}, driver.InvalidArgument},
		"a pipe that nobody gave": {
			[]*apipb.ExecRequest{begin(func(s *apipb.ExecStart) { s.Output = strings.Repeat("a", 26) })}, driver.InvalidArgument,
		},
		"nil start": {[]*apipb.ExecRequest{{Frame: &apipb.ExecRequest_Start{}}}, driver.InvalidArgument},
		// The daemon holds as much as the driver, and the driver as much again.
		"input past its bound": {append([]*apipb.ExecRequest{sleep}, slices.Repeat([]*apipb.ExecRequest{stdin}, 16)...), driver.InvalidArgument},
		"frame too large":      {[]*apipb.ExecRequest{sleep, {Frame: &apipb.ExecRequest_Stdin{Stdin: make([]byte, 5<<20)}}}, driver.InvalidArgument},
		"first frame too large": {
			[]*apipb.ExecRequest{begin(func(s *apipb.ExecStart) { s.Dir = strings.Repeat("a", 5<<20) })},
			driver.InvalidArgument,
		},
		"negative timeout": {[]*apipb.ExecRequest{begin(func(s *apipb.ExecStart) { s.TimeoutMs = -1 })}, driver.InvalidArgument},
		"least timeout":    {[]*apipb.ExecRequest{begin(func(s *apipb.ExecStart) { s.TimeoutMs = math.MinInt64 })}, driver.InvalidArgument},
		// In nanoseconds it wraps around to less than one millisecond.
		"endless timeout":  {[]*apipb.ExecRequest{begin(func(s *apipb.ExecStart) { s.TimeoutMs = 18446744073710 })}, driver.InvalidArgument},
		"endless id":       {[]*apipb.ExecRequest{begin(func(s *apipb.ExecStart) { s.Workspace = &apipb.WorkspaceRef{Id: long} })}, driver.NameInvalid},
		"endless driver":   {[]*apipb.ExecRequest{begin(func(s *apipb.ExecStart) { s.Driver = long })}, driver.InvalidArgument},
		"no workspace":     {[]*apipb.ExecRequest{begin(func(s *apipb.ExecStart) { s.Workspace = nil })}, driver.InvalidArgument},
		"empty terminal":   {[]*apipb.ExecRequest{begin(func(s *apipb.ExecStart) { s.Terminal = &apipb.TerminalSize{} })}, driver.InvalidArgument},
		"NUL in a command": {[]*apipb.ExecRequest{begin(func(s *apipb.ExecStart) { s.Argv = []string{"a\x00b"} })}, driver.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) { wantReason(t, r.exchange(t.Context(), c.frames...), c.want) })
	}
	r.until("every command has ended", func() bool {
		status, err := r.daemon.GetStatus(t.Context(), &apipb.GetStatusRequest{})
		return err == nil && status.GetRunningCommands() == 0
	})
}

func TestHostileCalls(t *testing.T) {
	r := start(t, fake.Script{})
	w := r.workspace()
	ref := &apipb.WorkspaceRef{Id: w.GetId()}
	long := strings.Repeat("a", 10_000)
	ctx := t.Context()
	serverOf := func(change func(*apipb.StartDevServerRequest)) error {
		request := &apipb.StartDevServerRequest{Workspace: ref, Command: []string{"sleep", "3600"}, WaitMs: 1}
		change(request)
		_, err := r.servers.StartDevServer(ctx, request)
		return err
	}
	for name, c := range map[string]struct {
		call func() error
		want driver.Reason
	}{
		"port 70000": {func() error {
			return serverOf(func(s *apipb.StartDevServerRequest) { s.Port = 70_000 })
		}, driver.InvalidArgument},
		"negative wait": {func() error {
			return serverOf(func(s *apipb.StartDevServerRequest) { s.WaitMs = -1 })
		}, driver.InvalidArgument},
		"negative wait for a restart": {func() error {
			_, err := r.servers.RestartDevServer(ctx, &apipb.RestartDevServerRequest{WaitMs: -1, DevServer: &apipb.DevServerRef{Id: "web"}})
			return err
		}, driver.InvalidArgument},
		"endless scope": {func() error {
			return serverOf(func(s *apipb.StartDevServerRequest) { s.Scope = long })
		}, driver.InvalidArgument},
		"bad environment": {func() error {
			return serverOf(func(s *apipb.StartDevServerRequest) { s.Env = []*apipb.EnvVar{{Name: "A=B"}} })
		}, driver.InvalidArgument},
		"nil variable": {func() error {
			return serverOf(func(s *apipb.StartDevServerRequest) { s.Env = []*apipb.EnvVar{nil} })
		}, driver.InvalidArgument},
		"no dev server": {func() error {
			_, err := r.servers.StopDevServer(ctx, &apipb.StopDevServerRequest{})
			return err
		}, driver.InvalidArgument},
		"endless dev server": {func() error {
			_, err := r.servers.StopDevServer(ctx, &apipb.StopDevServerRequest{DevServer: &apipb.DevServerRef{Id: long}})
			return err
		}, driver.NotFound},
		"endless workspace id": {func() error {
			_, err := r.workspaces.RemoveWorkspace(ctx, &apipb.RemoveWorkspaceRequest{Workspace: &apipb.WorkspaceRef{Id: long}})
			return err
		}, driver.NameInvalid},
		"negative grace": {func() error {
			_, err := r.workspaces.StopWorkspace(ctx, &apipb.StopWorkspaceRequest{Workspace: ref, GraceMs: -1})
			return err
		}, driver.InvalidArgument},
		"endless grace": {func() error {
			_, err := r.workspaces.StopWorkspace(ctx, &apipb.StopWorkspaceRequest{Workspace: ref, GraceMs: math.MaxInt64})
			return err
		}, driver.InvalidArgument},
		"endless driver": {func() error {
			_, err := r.drivers.GetDriver(ctx, &apipb.GetDriverRequest{Name: long})
			return err
		}, driver.DriverNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			d := wantReason(t, c.call(), c.want)
			if len(d.GetMessage()) > 1000 {
				t.Errorf("the message has %d bytes", len(d.GetMessage()))
			}
		})
	}
	got, err := r.workspaces.GetWorkspace(ctx, &apipb.GetWorkspaceRequest{Workspace: ref})
	if err != nil || len(got.GetWorkspace().GetDevServers()) > 0 {
		t.Errorf("what is left of it: %v, %v", got.GetWorkspace().GetDevServers(), err)
	}
}

// What cannot be run is refused before anything is opened for it.
func TestBadDevServerOpensNothing(t *testing.T) {
	r := start(t, fake.Script{})
	for name, env := range map[string]*apipb.EnvVar{"name": {Name: "A=B"}, "value": {Name: "A", Value: "\x00"}} {
		_, err := r.servers.StartDevServer(t.Context(), &apipb.StartDevServerRequest{
			Workspace: &apipb.WorkspaceRef{Directory: t.TempDir()}, Driver: "box", Command: []string{"listen", "1"}, Env: []*apipb.EnvVar{env},
		})
		wantReason(t, err, driver.InvalidArgument)
		list, err := r.workspaces.ListWorkspaces(t.Context(), &apipb.ListWorkspacesRequest{})
		if err != nil || len(list.GetWorkspaces()) > 0 {
			t.Errorf("%s: %d workspaces, %v", name, len(list.GetWorkspaces()), err)
		}
	}
}

// Whatever comes over the socket, the daemon goes on.
func TestGarbageOnTheSocket(t *testing.T) {
	r := start(t, fake.Script{})
	for _, text := range []string{"", "\x00\xff\x00\xff", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 1000), "GET / HTTP/1.1\r\n\r\n"} {
		conn, err := net.Dial("unix", paths.Socket(r.config.RunDir))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(text))
		_ = conn.Close()
	}
	if _, err := r.daemon.GetStatus(t.Context(), &apipb.GetStatusRequest{}); err != nil {
		t.Error(err)
	}
}
