package daemon_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/api/apipb/apipbconnect"
	"github.com/sero-labs/sero-runtime/core/daemon"
	"github.com/sero-labs/sero-runtime/core/registry"
	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
	"github.com/sero-labs/sero-runtime/sdk/serve"
)

// The test binary is the drivers too.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || os.Args[1] != "driver" {
		goleak.VerifyTestMain(m)
		return
	}
	script, err := fake.ScriptOfProcess()
	if err != nil {
		panic(err)
	}
	script.Name = os.Args[2]
	serve.Main(fake.New(script), serve.WithInterceptors(noteUnary, noteStream))
}

// journal is the environment variable with the file in which the driver notes
// its calls. The prefix is one that drivers are given.
const journal = "SERO_FAKE_JOURNAL"

func note(line string) {
	f, err := os.OpenFile(os.Getenv(journal), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	_, _ = f.WriteString(line + "\n") // one write: lines of concurrent calls stay apart
	_ = f.Close()
}

func noteUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	note("call " + filepath.Base(info.FullMethod))
	return next(ctx, req)
}

func noteStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	note("call " + filepath.Base(info.FullMethod))
	defer note("end " + filepath.Base(info.FullMethod))
	return next(srv, stream)
}

// guard is far above what any step takes.
const guard = 30 * time.Second

// running is a daemon in this process, with a driver "box" in its own.
type running struct {
	t      *testing.T
	config daemon.Config
	end    context.CancelCauseFunc
	done   chan struct{}
	err    error

	*client
}

// client is one connection to a daemon.
type client struct {
	workspaces apipbconnect.WorkspaceServiceClient
	exec       apipbconnect.ExecServiceClient
	servers    apipbconnect.DevServerServiceClient
	drivers    apipbconnect.DriverServiceClient
	daemon     apipbconnect.DaemonServiceClient

	transport *http.Transport
	mu        sync.Mutex
	conns     []net.Conn
}

func connectTo(socket string) *client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	c := &client{}
	c.transport = &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			c.mu.Lock()
			c.conns = append(c.conns, conn)
			c.mu.Unlock()
		}
		return conn, err
	}}
	h := &http.Client{Transport: c.transport}
	c.workspaces = apipbconnect.NewWorkspaceServiceClient(h, "http://sero")
	c.exec = apipbconnect.NewExecServiceClient(h, "http://sero")
	c.servers = apipbconnect.NewDevServerServiceClient(h, "http://sero")
	c.drivers = apipbconnect.NewDriverServiceClient(h, "http://sero")
	c.daemon = apipbconnect.NewDaemonServiceClient(h, "http://sero")
	return c
}

// vanish breaks the connection, as the end of a client's process does.
func (c *client) vanish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.transport.CloseIdleConnections()
}

// start runs a daemon and waits until it answers.
func start(t *testing.T, script fake.Script, options ...func(*daemon.Config)) *running {
	t.Helper()
	text, err := json.Marshal(script)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(fake.ScriptEnv, string(text))
	t.Setenv(registry.PathVariable, "")
	t.Setenv(journal, filepath.Join(t.TempDir(), "journal"))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run, err := os.MkdirTemp("/tmp", "sero-t-") //nolint:usetesting // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	r := &running{t: t, done: make(chan struct{}), config: daemon.Config{
		Home: t.TempDir(), RunDir: run, Version: "0.1.0", IdleExit: -1, Log: slog.New(slog.DiscardHandler),
		CheckEvery: 10 * time.Millisecond,
		Bundled:    []registry.Bundled{{Name: "box", Path: self, Args: []string{"driver", "box"}}},
	}}
	for _, set := range options {
		set(&r.config)
	}
	r.serve()
	return r
}

func (r *running) serve() {
	r.t.Helper()
	ctx, end := context.WithCancelCause(context.Background())
	r.end = end
	go func() {
		defer close(r.done)
		r.err = daemon.Run(ctx, r.config)
	}()
	r.client = connectTo(paths.Socket(r.config.RunDir))
	r.t.Cleanup(func() {
		end(errors.New("the test is over"))
		_ = r.ended()
		r.vanish()
	})
	r.until("it answers", func() bool {
		_, err := r.daemon.GetStatus(r.t.Context(), &apipb.GetStatusRequest{})
		return err == nil
	})
}

// ended waits for the daemon's end and gives what Run returned.
func (r *running) ended() error {
	r.t.Helper()
	select {
	case <-r.done:
		return r.err
	case <-time.After(guard):
		r.t.Fatal("the daemon does not end")
		return nil
	}
}

func (r *running) alive() bool {
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// until polls for a condition.
func (r *running) until(what string, true func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(guard); !true(); {
		if time.Now().After(deadline) {
			r.t.Fatalf("not seen: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// noted counts a line of the driver's journal.
func (r *running) noted(line string) int {
	text, _ := os.ReadFile(os.Getenv(journal))
	return strings.Count("\n"+string(text), "\n"+line+"\n")
}

// up opens a directory in the driver "box".
func (r *running) up(dir string) (*apipb.Workspace, error) {
	stream, err := r.workspaces.Up(r.t.Context(), &apipb.UpRequest{Workspace: &apipb.WorkspaceRef{Directory: dir}, Driver: "box"})
	if err != nil {
		return nil, err
	}
	defer func() { _ = stream.Close() }()
	var got *apipb.Workspace
	for stream.Receive() {
		got = stream.Msg().GetWorkspace()
	}
	return got, stream.Err()
}

// workspace is one that is up.
func (r *running) workspace() *apipb.Workspace {
	r.t.Helper()
	w, err := r.up(r.t.TempDir())
	if err != nil {
		r.t.Fatal(err)
	}
	return w
}

type execStream = connect.BidiStreamForClientSimple[apipb.ExecRequest, apipb.ExecResponse]

// command starts a command by a client of its own and waits until it runs.
func (r *running) command(w *apipb.Workspace, argv ...string) (*execStream, *client) {
	r.t.Helper()
	c := connectTo(paths.Socket(r.config.RunDir))
	r.t.Cleanup(c.vanish)
	stream, err := c.exec.Exec(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	frame := &apipb.ExecRequest{Frame: &apipb.ExecRequest_Start{Start: &apipb.ExecStart{
		Workspace: &apipb.WorkspaceRef{Id: w.GetId()}, Argv: argv,
	}}}
	if err := stream.Send(frame); err != nil {
		r.t.Fatal(err)
	}
	for {
		resp, err := stream.Receive()
		if err != nil {
			r.t.Fatal(err)
		}
		if resp.GetStarted() != nil {
			return stream, c
		}
	}
}

// detailOf is the one detail of an error that a handler gave.
func detailOf(t *testing.T, err error) *apipb.ErrorDetail {
	t.Helper()
	c, ok := errors.AsType[*connect.Error](err)
	if !ok {
		t.Fatalf("%v (%T) is no error of the API", err, err)
	}
	if len(c.Details()) != 1 {
		t.Fatalf("%v has %d details", err, len(c.Details()))
	}
	m, err := c.Details()[0].Value()
	if err != nil {
		t.Fatal(err)
	}
	detail, ok := m.(*apipb.ErrorDetail)
	if !ok {
		t.Fatalf("the detail is a %T", m)
	}
	return detail
}

func wantReason(t *testing.T, err error, want driver.Reason) *apipb.ErrorDetail {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s", want)
	}
	detail := detailOf(t, err)
	if detail.GetReason() != string(want) || detail.GetMessage() == "" || strings.Contains(detail.GetMessage(), "\n") {
		t.Fatalf("the error is %s: %q, want %s and one line", detail.GetReason(), detail.GetMessage(), want)
	}
	return detail
}
