package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/internal/driverpb"
	"github.com/sero-labs/sero-runtime/sdk/internal/wire"
	"github.com/sero-labs/sero-runtime/sdk/launch"
	"github.com/sero-labs/sero-runtime/sdk/serve"
)

func wireCases() []Case {
	return []Case{
		{
			ID: "WIRE-1", Group: "wire", Run: wireByHand,
			Must: "run by hand, the binary says who it is and ends",
		},
		{
			ID: "WIRE-2", Group: "wire", Run: wireDescribe,
			Must: "with the argument describe it prints its name, version, protocol and capabilities as JSON, the same as in its handshake",
		},
		{
			ID: "WIRE-3", Group: "wire", Run: wireLine,
			Must: "its first line is go-plugin's, with protocol 1 and a unix socket in PLUGIN_UNIX_SOCKET_DIR",
		},
		{
			ID: "WIRE-4", Group: "wire", Run: wireHandshake,
			Must: "Handshake answers within a second and says the same whenever it is asked",
		},
		{
			ID: "WIRE-5", Group: "wire", Run: wireGrease,
			Must: "unknown fields and unknown capabilities of the host are ignored",
		},
		{
			ID: "WIRE-6", Group: "wire", Run: wireBig,
			Must: "a message of 5 MiB is taken",
		},
		{
			ID: "WIRE-7", Group: "wire", Run: wireStreams,
			Must: "32 open streams keep no other call waiting",
		},
		{
			ID: "WIRE-8", Group: "wire", Run: wireLongDir,
			Must: "with a socket directory that is too long for a socket it serves all the same or ends, and does not hang",
		},
		{
			ID: "WIRE-9", Group: "wire", Run: wireEnv,
			Must: "it starts and reports its health with nothing in its environment but the launcher's variables",
		},
		{
			ID: "WIRE-10", Group: "wire", Run: wireTerm,
			Must: "SIGTERM ends it within two seconds",
		},
		{
			ID: "WIRE-11", Group: "wire", Run: wireShutdown,
			Must: "Shutdown returns within its deadline",
		},
		{
			ID: "WIRE-12", Group: "wire", Run: wireLifeline,
			Must: "when its lifeline reads end-of-file it ends within two seconds",
		},
	}
}

func wireByHand(t T, s *Session) {
	out, ended := s.runByHand(t)
	if !ended {
		t.Fatalf("it does not end within five seconds")
	}
	if !strings.Contains(out, s.r.shake.Info.Name) {
		t.Errorf("it printed %.300q, which does not name %q", out, s.r.shake.Info.Name)
	}
}

func wireDescribe(t T, s *Session) {
	out, ended := s.runByHand(t, "describe")
	if !ended {
		t.Fatalf("it does not end within five seconds")
	}
	var d serve.Description
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		t.Fatalf("it printed %.300q: %v", out, err)
	}
	h := s.r.shake
	if d.Name != h.Info.Name || d.Version != h.Info.Version || d.Protocol != launch.ProtocolVersion {
		t.Errorf("described: %s %s, protocol %d; handshake: %s %s, protocol %d",
			d.Name, d.Version, d.Protocol, h.Info.Name, h.Info.Version, launch.ProtocolVersion)
	}
	if got, want := slices.Sorted(slices.Values(d.Capabilities)), slices.Sorted(slices.Values(h.Capabilities)); !slices.Equal(got, want) {
		t.Errorf("described capabilities: %v; handshake: %v", got, want)
	}
}

func wireLine(t T, s *Session) {
	r := s.spawn(t, rawOptions{})
	parts := strings.Split(r.line, "|")
	if len(parts) < 5 || parts[0] != "1" || parts[1] != "1" || parts[2] != "unix" || parts[4] != "grpc" {
		t.Fatalf("it printed %q, want 1|1|unix|PATH|grpc; stderr: %.500s", r.line, r.stderr)
	}
	if want := filepath.Join(r.dir, "s"); filepath.Dir(parts[3]) != want {
		t.Errorf("the socket %s is not in %s", parts[3], want)
	}
}

func wireHandshake(t T, s *Session) {
	r := s.Wire(t)
	var first *driverpb.HandshakeResponse
	for i := range 3 {
		began := time.Now()
		h, err := r.Handshake(s.Ctx, &driverpb.HandshakeRequest{HostName: fmt.Sprintf("host-%d", i)})
		if err != nil {
			t.Fatalf("Handshake: %v", err)
		}
		if took := time.Since(began); took > s.within(time.Second) {
			t.Errorf("it took %s", took)
		}
		h.ProtoReflect().SetUnknown(nil) // may differ on purpose
		if first != nil && !proto.Equal(first, h) {
			a, b := first.String(), h.String()
			at := max(0, difference(a, b)-40)
			t.Errorf("first it says …%.80q, then …%.80q", a[min(at, len(a)):], b[min(at, len(b)):])
		}
		first = h
	}
}

func wireGrease(t T, s *Session) {
	r := s.Wire(t)
	_, err := r.Handshake(s.Ctx, greased(&driverpb.HandshakeRequest{
		HostName: "sero", HostVersion: "99.0.0", HostCapabilities: []string{"x-sero.dev/grease@7", "brand.new@1"},
	}))
	s.OK(t, "Handshake with an unknown field", err)
	_, err = r.Configure(s.Ctx, greased(&driverpb.ConfigureRequest{SettingsJson: s.r.c.Settings}))
	s.OK(t, "Configure with an unknown field", err)
	health, err := r.Health(s.Ctx, greased(&driverpb.HealthRequest{}))
	if err == nil {
		_, err = health.Recv()
	}
	s.OK(t, "Health with an unknown field", err)
}

func wireBig(t T, s *Session) {
	r := s.Wire(t)
	labels := map[string]string{labelRun: s.r.nonce, "x": strings.Repeat("x", 5<<20)}
	// What the runtime makes of it may differ; that it arrives may not.
	_, err := r.ListSandboxes(s.Ctx, &driverpb.ListSandboxesRequest{Labels: labels})
	if err != nil && driver.ReasonOf(wire.FromStatus(s.Ctx, err, func() error { return nil })) == driver.Internal {
		t.Errorf("ListSandboxes with a label of 5 MiB: %.300v", err)
	}
	_, err = r.Handshake(s.Ctx, &driverpb.HandshakeRequest{})
	s.OK(t, "Handshake afterwards", err)
}

func wireStreams(t T, s *Session) {
	r := s.Wire(t)
	ctx, cancel := context.WithTimeoutCause(s.Ctx, s.within(10*time.Second), errDeadline)
	defer cancel()
	var streams []grpc.ServerStreamingClient[driverpb.HealthResponse]
	for range 32 {
		stream, err := r.Health(ctx, &driverpb.HealthRequest{})
		if err != nil {
			t.Fatalf("Health: %v", err)
		}
		streams = append(streams, stream)
	}
	for i, stream := range streams {
		if _, err := stream.Recv(); err != nil {
			t.Fatalf("health stream %d: %v", i+1, err)
		}
	}
	_, err := r.Handshake(ctx, &driverpb.HandshakeRequest{})
	s.OK(t, "Handshake beside 32 streams", err)
}

func wireLongDir(t T, s *Session) {
	dir := filepath.Join(s.r.dir(), strings.Repeat("long/", 24), "long")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatalf("making the directory: %v", err)
	}
	r := s.spawn(t, rawOptions{socketDir: dir})
	if r.line == "" && !r.ended(time.Second) {
		t.Errorf("it neither serves nor ends; stderr: %.500s", r.stderr)
	}
}

func wireEnv(t T, s *Session) {
	r := s.Raw(t, rawOptions{bare: true})
	health, err := r.Health(s.Ctx, &driverpb.HealthRequest{})
	if err == nil {
		_, err = health.Recv()
	}
	s.OK(t, "Health", err)
}

func wireTerm(t T, s *Session) {
	r := s.Raw(t, rawOptions{})
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	if !r.ended(2 * time.Second) {
		t.Fatalf("it goes on after SIGTERM")
	}
}

func wireShutdown(t T, s *Session) {
	r := s.Raw(t, rawOptions{})
	began := time.Now()
	_, _ = r.Shutdown(s.Ctx, &driverpb.ShutdownRequest{DeadlineMs: 500}) // in time, with an error perhaps
	if took := time.Since(began); took > s.within(500*time.Millisecond) {
		t.Errorf("with a deadline of 500 ms it took %s", took)
	}
}

func wireLifeline(t T, s *Session) {
	r := s.Raw(t, rawOptions{})
	_ = r.lifeline.Close()
	if !r.ended(2 * time.Second) {
		t.Errorf("it goes on without its host")
	}
}
