// Package launch starts a driver binary and gives it as a driver.Driver: the
// other end of package serve.
//
// go-plugin starts processes and connects to them; it leaves the rest to its
// user. This package adds what a long-lived host needs: the driver has its own
// process group, standard input and environment, no other open files of the
// host, which are all marked as close-on-exec, and no ignored signals; it has the
// host's umask and blocked signals. A lifeline ends it when the
// host vanishes; its output is read as untrusted bytes, never parsed by
// go-plugin; only the driver may answer on its socket; and ending it is polite
// first, then certain. It does not restart anything.
package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/internal/plug"
	"github.com/sero-labs/sero-runtime/sdk/internal/wire"
)

// DefaultStartTimeout bounds a launch up to and with the handshake. The first
// run of a new binary on macOS can take seconds while it is scanned.
const DefaultStartTimeout = 15 * time.Second

// handshakeTimeout bounds the first call, which touches no engine.
const handshakeTimeout = 5 * time.Second

// MaxRunDir is the longest RunDir, in bytes: a unix socket's path may have 104
// on macOS, and the names below RunDir need the rest.
const MaxRunDir = 63

// NamePattern is what a driver's name must match before it touches a path.
var NamePattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// Config says what to launch and how.
type Config struct {
	Name             string   // the expected driver name; empty: any
	Path             string   // of the binary
	File             *os.File // the binary, opened, which is run in place of what is at Path where the system can; nil: by Path
	Args             []string // after the path
	Env              []string // the whole environment but for what this package adds
	RunDir           string   // private directory for the socket, at most MaxRunDir bytes
	HostName         string   // of the program that launches; empty: "sero"
	HostVersion      string   // its semantic version
	HostCapabilities []string
	StartTimeout     time.Duration // 0: DefaultStartTimeout
	Ungated          bool          // leave refusing undeclared calls to the driver
	Log              *slog.Logger  // nil: nothing is logged
}

// Handshake is what a driver said of itself.
type Handshake = wire.Handshake

// SDKVersion is the version of this SDK; a driver built with the Go SDK reports
// the one it has.
const SDKVersion = plug.Version

// ProtocolVersion is the wire major that this package speaks.
const ProtocolVersion = plug.ProtocolVersion

// Process is a running driver. It has every method of a driver; what the driver
// declared decides which of them work. It is safe for concurrent use.
type Process struct {
	*wire.Client
	run    *run
	client *plugin.Client
	log    *slog.Logger
}

// Start launches a driver, connects and shakes hands. It fails with
// DriverFailed (it cannot be executed, ends at once, does not answer in time,
// prints something else than its handshake), DriverIncompatible (another wire
// protocol), NameInvalid or InvalidArgument. Nothing is left of it then.
func Start(ctx context.Context, c Config) (*Process, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	r := newRun(c)
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  plug.Handshake,
		VersionedPlugins: map[int]plugin.PluginSet{plug.ProtocolVersion: {plug.Name: &plug.Plugin{}}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, socketDir string) (runner.Runner, error) {
			r.prepare(spec.Env, socketDir)
			return r, nil
		},
		SkipHostEnv:      true,
		StartTimeout:     c.StartTimeout + time.Minute, // connect has the deadline
		Stderr:           nil,                          // read by run, never by go-plugin
		SyncStdout:       r.noise("stdout"),
		SyncStderr:       io.MultiWriter(&r.tail, r.noise("stderr")),
		Logger:           hclog.NewNullLogger(),
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: filepath.Join(c.RunDir, "d")},
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithTransportCredentials(plug.PeerCredentials(r.ownPeer)),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wire.MaxMessage)),
			grpc.WithInitialWindowSize(wire.StreamWindow), grpc.WithInitialConnWindowSize(wire.ConnWindow),
			grpc.WithReadBufferSize(wire.SocketBuffer), grpc.WithWriteBufferSize(wire.SocketBuffer),
			grpc.WithStreamInterceptor(r.noteConnection),
		},
	})
	p := &Process{run: r, client: client, log: c.Log}
	if err := p.connect(ctx, c); err != nil {
		p.end(0)
		return nil, err
	}
	return p, nil
}

func (c *Config) check() error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.StartTimeout <= 0 {
		c.StartTimeout = DefaultStartTimeout
	}
	if c.HostName == "" {
		c.HostName = "sero"
	}
	if c.Name != "" && !NamePattern.MatchString(c.Name) {
		return driver.Errorf(driver.NameInvalid, "a driver's name is up to 32 lower-case letters, digits and hyphens and begins with a letter")
	}
	if !filepath.IsAbs(c.RunDir) || len(c.RunDir) > MaxRunDir {
		return driver.Errorf(driver.InvalidArgument, "the run directory must be absolute and at most %d bytes long for its sockets to be reachable", MaxRunDir).
			About(c.RunDir).Remedy("set SERO_RUNTIME_DIR to a shorter path, such as /tmp/sero")
	}
	if err := os.MkdirAll(filepath.Join(c.RunDir, "d"), 0o700); err != nil {
		return driver.Errorf(driver.InvalidArgument, "the run directory cannot be made: %w", err).About(c.RunDir)
	}
	info, err := os.Stat(c.Path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return driver.Errorf(driver.DriverFailed, "there is no file %s", c.Path).About(c.Path)
	case err != nil:
		return driver.Errorf(driver.DriverFailed, "the driver cannot be read: %w", err).About(c.Path)
	case !info.Mode().IsRegular():
		return driver.Errorf(driver.DriverFailed, "%s is not a file", c.Path).About(c.Path)
	case info.Mode()&0o111 == 0:
		return driver.Errorf(driver.DriverFailed, "%s is not executable", c.Path).About(c.Path).
			Remedy("make it executable", "chmod", "+x", c.Path)
	}
	return nil
}

// connect waits for go-plugin's handshake line, dials and makes the first call.
func (p *Process) connect(ctx context.Context, c Config) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.StartTimeout, errStartTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, p.run.killGroup) // go-plugin's Start takes no context
	_, err := p.client.Start()
	if !stop() || err != nil {
		return p.run.explain(ctx, c.StartTimeout, err)
	}
	protocol, err := p.client.Client()
	if err != nil {
		return p.run.explain(ctx, c.StartTimeout, err)
	}
	raw, err := protocol.Dispense(plug.Name)
	if err != nil {
		return p.run.explain(ctx, c.StartTimeout, err)
	}
	conn, ok := raw.(*grpc.ClientConn)
	if !ok {
		return driver.Errorf(driver.Internal, "go-plugin gave a %T for a connection", raw)
	}
	hctx, hcancel := context.WithTimeoutCause(ctx, handshakeTimeout, errStartTimeout)
	defer hcancel()
	host := wire.Host{Name: c.HostName, Version: c.HostVersion, Capabilities: c.HostCapabilities}
	p.Client, err = wire.NewClient(hctx, conn, host, p.run.crash, c.Ungated)
	if driver.ReasonOf(err) == driver.Timeout {
		return driver.Errorf(driver.DriverFailed, "the driver started and did not answer its handshake within %s%s", handshakeTimeout, p.run.tail.quote())
	}
	if err != nil {
		return err
	}
	name := p.Info().Name
	if !NamePattern.MatchString(name) || (c.Name != "" && name != c.Name) {
		return driver.Errorf(driver.DriverIncompatible, "the binary calls itself %q, not %q", bounded(name), c.Name).
			Remedy(fmt.Sprintf("rename the file to sero-driver-%s or fix the name in the driver", bounded(name)))
	}
	return nil
}

// PID is the driver's process id.
func (p *Process) PID() int { return p.run.pid() }

// Exited is closed when the process has ended and its last words are read.
func (p *Process) Exited() <-chan struct{} { return p.run.exited }

// Err tells how the process ended, as DriverCrashed with the last lines that it
// wrote to standard error; nil while it runs.
func (p *Process) Err() error {
	select {
	case <-p.run.exited:
		return p.run.crashError()
	default:
		return nil
	}
}

// Kill ends the process at once, without its children. For tests of crashes.
func (p *Process) Kill() { p.run.kill() }

// Close ends the driver: it asks, then insists, within ctx's deadline or five
// seconds. When it returns the process is gone, with its process group, its
// socket and every goroutine that served it.
func (p *Process) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 5*time.Second, driver.Errorf(driver.Timeout, "the driver did not end in time"))
	defer cancel()
	var err error
	select {
	case <-p.run.exited:
	default:
		err = p.Shutdown(ctx)
	}
	p.end(2 * time.Second)
	return err
}

// end closes the connection and makes sure that the process is gone.
func (p *Process) end(patience time.Duration) {
	p.run.closeLifeline()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	if p.run.started() {
		select {
		case <-p.run.exited:
		case <-timer.C:
			p.run.killGroup()
			<-p.run.exited
		}
	}
	p.client.Kill() // closes the connection; there is nothing left to kill
	p.run.closeConnections()
	p.run.cleanUp()
}

var _ driver.Remote = (*Process)(nil)
