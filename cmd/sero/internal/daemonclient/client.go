// Package daemonclient finds sero's daemon or starts it, and speaks its API.
//
// It owns how a CLI process meets the daemon: the socket, the start on demand
// and its races, the check of versions, and what a broken connection means to a
// person. It does not own what is asked of the daemon.
package daemonclient

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"connectrpc.com/connect"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/api/apipb/apipbconnect"
	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/internal/peer"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// answerTimeout is how long a daemon that accepts a connection may take to say
// who it is before it counts as hanging.
const answerTimeout = 10 * time.Second

// maxMessage is the largest message that the daemon may send, in bytes.
const maxMessage = 16 << 20

// The reasons of errors about the daemon itself.
const (
	// DaemonFailed tells that the daemon does not start.
	DaemonFailed driver.Reason = "DAEMON_FAILED"
	// DaemonNotRunning tells that no daemon runs and none was to be started.
	DaemonNotRunning driver.Reason = "DAEMON_NOT_RUNNING"
	// DaemonUnresponsive tells that it runs and does not answer.
	DaemonUnresponsive driver.Reason = "DAEMON_UNRESPONSIVE"
	// DaemonLost tells that it went away in the middle of a call.
	DaemonLost driver.Reason = "DAEMON_LOST"
)

// Client is a connection to a daemon that has answered. Errors of its services
// are Connect errors; Error makes them sero's.
type Client struct {
	Workspaces apipbconnect.WorkspaceServiceClient
	Lifecycle  apipbconnect.LifecycleServiceClient
	Exec       apipbconnect.ExecServiceClient
	DevServers apipbconnect.DevServerServiceClient
	Ports      apipbconnect.PortServiceClient
	Drivers    apipbconnect.DriverServiceClient
	Images     apipbconnect.ImageServiceClient
	Terminals  apipbconnect.TerminalServiceClient
	Trust      apipbconnect.TrustServiceClient
	Egress     apipbconnect.EgressServiceClient
	Mounts     apipbconnect.MountServiceClient
	Daemon     apipbconnect.DaemonServiceClient

	// Status is what the daemon said of itself when it was met.
	Status *apipb.GetStatusResponse
	// Pipes is the socket where it takes pipes.
	Pipes string

	transport *http.Transport
}

// Find meets the home's daemon. It fails with DaemonNotRunning when none runs,
// with DaemonUnresponsive when one does and stays silent, and with DaemonConflict
// when the one of the run directory is that of another home.
func Find(ctx context.Context) (*Client, error) {
	home, run, err := places()
	if err != nil {
		return nil, err
	}
	return meet(ctx, home, run)
}

// places are the home and the run directory.
func places() (home, run string, err error) {
	if home, err = paths.Home(); err == nil {
		run, err = paths.Run()
	}
	return home, run, err
}

// Close ends the connection, and with it every call on it.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// meet meets the home's daemon in the run directory, or else where the home's
// lock says that it serves: whoever started it may have had another one.
func meet(ctx context.Context, home, run string) (*Client, error) {
	c, err := dial(ctx, paths.Socket(run), home)
	if !absent(err) {
		return c, err
	}
	socket := paths.HolderOf(paths.HomeLock(home)).Socket
	if socket == "" || paths.CheckPrivate(filepath.Dir(socket)) != nil {
		return nil, err
	}
	if c, elsewhere := dial(ctx, socket, home); !absent(elsewhere) {
		return c, elsewhere
	}
	return nil, err
}

// absent tells of an error that the home's daemon is not at the socket.
func absent(err error) bool {
	reason := driver.ReasonOf(err)
	return reason == DaemonNotRunning || reason == paths.DaemonConflict
}

// dial meets the home's daemon at a socket.
func dial(ctx context.Context, socket, home string) (*Client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		if ctx.Err() != nil {
			return nil, driver.AsError(context.Cause(ctx))
		}
		e := driver.Errorf(DaemonNotRunning, "no daemon is running").About(socket)
		e.Err = err
		return nil, e
	}
	server, err := peer.Of(conn)
	if err == nil && server.UID != os.Getuid() && server.UID != 0 {
		_ = conn.Close()
		e := driver.Errorf(driver.PermissionDenied, "%s is served by another user, uid %d", socket, server.UID).About(socket)
		return nil, e.Remedy("set " + paths.HomeVariable + " to a directory of your own")
	}
	c := newClient(socket, conn)
	c.Pipes = paths.Pipes(filepath.Dir(socket))
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errSilent)
	defer cancel()
	c.Status, err = c.Daemon.GetStatus(ctx, &apipb.GetStatusRequest{})
	holder := paths.Holder{PID: int(c.Status.GetPid()), Socket: socket, Home: c.Status.GetHome()}
	if err == nil && (holder.Home == "" || holder.Serves(home)) { // older ones do not say
		return c, nil
	}
	c.Close()
	if err == nil {
		return nil, holder.Conflict(home)
	}
	if errors.Is(context.Cause(ctx), errSilent) {
		return nil, unresponsive(socket, server.PID)
	}
	if e := Error(err); e.Reason != DaemonLost {
		return nil, e
	}
	// It was on its way out.
	return nil, driver.Errorf(DaemonNotRunning, "the daemon is ending").About(socket)
}

var errSilent = errors.New("the daemon does not answer")

func unresponsive(socket string, pid int) error {
	e := driver.Errorf(DaemonUnresponsive, "the daemon does not answer within %v", answerTimeout).About(socket)
	if pid > 0 {
		return e.Remedy("end it; what it runs in host mode ends with it", "kill", "-KILL", strconv.Itoa(pid)) // it may not heed less
	}
	return e.Remedy("end the process that serves " + socket)
}

// newClient speaks HTTP/2 over conn first and dials again should it break.
func newClient(socket string, conn net.Conn) *Client {
	first := make(chan net.Conn, 1)
	first <- conn
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols: protocols,
		// Large frames, for both ends are on one machine.
		HTTP2: &http.HTTP2Config{MaxReadFrameSize: 256 << 10},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			select {
			case conn := <-first:
				return conn, nil
			default:
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			}
		},
		DisableCompression: true,
	}
	httpClient := &http.Client{Transport: transport}
	const url = "http://sero"
	options := []connect.ClientOption{
		// Both ends are on one machine: compressing would only cost time.
		connect.WithAcceptCompression("gzip", nil, nil),
		connect.WithReadMaxBytes(maxMessage),
		connect.WithInterceptors(namesBadText{}),
	}
	return &Client{
		Workspaces: apipbconnect.NewWorkspaceServiceClient(httpClient, url, options...),
		Lifecycle:  apipbconnect.NewLifecycleServiceClient(httpClient, url, options...),
		Exec:       apipbconnect.NewExecServiceClient(httpClient, url, options...),
		DevServers: apipbconnect.NewDevServerServiceClient(httpClient, url, options...),
		Ports:      apipbconnect.NewPortServiceClient(httpClient, url, options...),
		Drivers:    apipbconnect.NewDriverServiceClient(httpClient, url, options...),
		Images:     apipbconnect.NewImageServiceClient(httpClient, url, options...),
		Terminals:  apipbconnect.NewTerminalServiceClient(httpClient, url, options...),
		Trust:      apipbconnect.NewTrustServiceClient(httpClient, url, options...),
		Egress:     apipbconnect.NewEgressServiceClient(httpClient, url, options...),
		Mounts:     apipbconnect.NewMountServiceClient(httpClient, url, options...),
		Daemon:     apipbconnect.NewDaemonServiceClient(httpClient, url, options...),
		transport:  transport,
	}
}
