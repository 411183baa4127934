// Package serve turns a driver.Driver into a plugin process that sero's core
// launches. A driver's main function is one call:
//
//	func main() { serve.Main(mydriver.New()) }
package serve

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/internal/plug"
	"github.com/sero-labs/sero-runtime/sdk/internal/wire"
)

// orphanDeadline is how long a driver may take to end what it started once the
// core is gone; the contract allows two seconds for all of it.
const orphanDeadline = 1500 * time.Millisecond

// Option changes how a driver is served.
type Option func(*server)

// WithInterceptors puts interceptors before every call, closest to the wire. A
// test driver breaks promises with them; others need none. Either may be nil.
func WithInterceptors(unary grpc.UnaryServerInterceptor, stream grpc.StreamServerInterceptor) Option {
	return func(s *server) { s.unary, s.stream = unary, stream }
}

// WithoutLifeline makes the driver outlive a core that vanished. It breaks the
// contract, for tests that must see it broken.
func WithoutLifeline() Option {
	return func(s *server) { s.immortal = true }
}

// Main serves d until the core ends it, and then ends the process. Run by hand,
// without the core, it says what the driver is; with the argument "describe" it
// prints that as JSON. It installs a default slog logger whose lines appear in
// the core's log.
func Main(d driver.Driver, opts ...Option) {
	s := &server{d: d, stderr: os.Stderr}
	for _, o := range opts {
		o(s)
	}
	s.shutdown = sync.OnceValue(s.end)
	switch {
	case len(os.Args) > 1 && os.Args[len(os.Args)-1] == "describe":
		os.Exit(describe(d, os.Stdout))
	case os.Getenv(plug.CookieKey) != plug.CookieValue:
		os.Exit(introduce(d, os.Stdout))
	default:
		s.run()
		os.Exit(0)
	}
}

// server is one driver being served.
type server struct {
	d        driver.Driver
	unary    grpc.UnaryServerInterceptor
	stream   grpc.StreamServerInterceptor
	immortal bool
	stderr   *os.File // the real one; go-plugin replaces os.Stderr

	mu       sync.Mutex
	deadline time.Time
	shutdown func() error // once
}

func (s *server) run() {
	slog.SetDefault(slog.New(slog.NewJSONHandler(s.stderr, &slog.HandlerOptions{Level: slog.LevelDebug})))
	s.watchSignals()
	if !s.immortal {
		s.watchLifeline()
	}
	service := wire.NewServer(s.d, handshake(s.d), s.Shutdown)
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plug.Handshake,
		VersionedPlugins: map[int]plugin.PluginSet{
			plug.ProtocolVersion: {plug.Name: &plug.Plugin{Register: func(r grpc.ServiceRegistrar) { service.Register(r) }}},
		},
		GRPCServer: s.newGRPC,
		Logger:     hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: s.stderr, JSONFormat: true}),
	})
	_ = s.Shutdown(context.Background()) // without the call too, when the core just closed the connection
}

func (s *server) newGRPC(opts []grpc.ServerOption) *grpc.Server {
	opts = append(opts, wire.Options(s.d, s.unary, s.stream)...)
	if host, err := strconv.Atoi(os.Getenv(plug.HostPIDEnv)); err == nil {
		opts = append(opts, grpc.Creds(plug.PeerCredentials(plug.OnlyHost(host))))
	}
	return grpc.NewServer(opts...)
}

// Shutdown ends what cannot outlive the process, once, within ctx's deadline.
func (s *server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if deadline, ok := ctx.Deadline(); ok && s.deadline.IsZero() {
		s.deadline = deadline
	}
	s.mu.Unlock()
	return s.shutdown()
}

func (s *server) end() error {
	d, ok := s.d.(driver.Shutdowner)
	if !ok {
		return nil
	}
	s.mu.Lock()
	deadline := s.deadline
	s.mu.Unlock()
	if deadline.IsZero() {
		deadline = time.Now().Add(orphanDeadline)
	}
	ctx, cancel := context.WithDeadlineCause(context.Background(), deadline, driver.Errorf(driver.Timeout, "shutdown took too long"))
	defer cancel()
	return d.Shutdown(ctx)
}

// watchSignals makes SIGTERM an orderly end. Interrupts are for the core, which
// shares a terminal with the user; go-plugin ignores them here. SIGPIPE, which
// would end the process at its first words to a core that was killed, becomes an
// error of that write. It is not ignored: what a driver starts would be born so.
func (s *server) watchSignals() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGTERM)
	go func() {
		<-ch
		s.endProcess("SIGTERM")
	}()
}

// watchLifeline ends the process when the core is gone, however it went.
func (s *server) watchLifeline() {
	fd, err := strconv.Atoi(os.Getenv(plug.LifelineEnv))
	if err != nil {
		return // not launched by sero's launcher
	}
	syscall.CloseOnExec(fd)
	line := os.NewFile(uintptr(fd), "lifeline")
	go func() {
		var b [1]byte
		for {
			if _, err := line.Read(b[:]); err != nil {
				s.endProcess("the core is gone")
			}
		}
	}()
}

// endProcess ends what the driver started, then the process and its group.
func (s *server) endProcess(why string) {
	slog.Info("driver ends", "why", why)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Shutdown(context.Background())
	}()
	select {
	case <-done:
	case <-time.After(orphanDeadline):
	}
	if syscall.Getpgrp() == os.Getpid() { // its own group, as the launcher makes it
		_ = syscall.Kill(-os.Getpid(), syscall.SIGKILL)
	}
	os.Exit(0)
}

func handshake(d driver.Driver) wire.Handshake {
	h := wire.Handshake{
		Info:         d.Info(),
		SDKName:      "sero-go",
		SDKVersion:   plug.Version,
		Capabilities: driver.Capabilities(d),
	}
	if c, ok := d.(driver.Configurer); ok {
		h.ConfigSchema = c.Schema()
	}
	return h
}
