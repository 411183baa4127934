package wire

import (
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sero-labs/sero-runtime/internal/window"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/internal/driverpb"
)

// onlyDetail is the one detail of a status.
func onlyDetail(t *testing.T, err error) *driverpb.ErrorDetail {
	t.Helper()
	details := status.Convert(err).Details()
	if len(details) != 1 {
		t.Fatalf("%v has %d details", err, len(details))
	}
	d, ok := details[0].(*driverpb.ErrorDetail)
	if !ok {
		t.Fatalf("the detail is a %T", details[0])
	}
	return d
}

func TestErrorsStayBelowTheirBound(t *testing.T) {
	long := strings.Repeat("é", 50_000)
	e := &driver.Error{Reason: driver.NotFound, Message: long, Resource: long, Field: long}
	for range 10 {
		e.Remedies = append(e.Remedies, driver.Remedy{Text: long, Command: []string{long, "\xff", long}})
	}
	d := onlyDetail(t, ToStatus(e))
	if n := proto.Size(d); n >= 4<<10 {
		t.Errorf("the detail has %d bytes", n)
	}
	if d.GetReason() != string(driver.NotFound) || d.GetMessage() == "" {
		t.Errorf("what is left of it: %v", d)
	}
}

func TestErrorsThatAreNoTextHaveTheirDetail(t *testing.T) {
	e := &driver.Error{Reason: "X_\xff", Message: "no \xff", Remedies: []driver.Remedy{{Text: "run\xff", Command: []string{"rm", "/\xff"}}}}
	if d := onlyDetail(t, ToStatus(e)); len(d.GetRemedies()) != 1 {
		t.Errorf("the detail is %v", d)
	}
}

// A driver of an engine that speaks gRPC itself wraps that engine's statuses.
func TestStatusesOfEnginesBecomeErrorsOfTheDriver(t *testing.T) {
	engine := status.Error(codes.NotFound, "no such container")
	for name, c := range map[string]struct {
		err  error
		want driver.Reason
	}{
		"wrapped":      {driver.Errorf(driver.Corrupt, "broken: %w", engine), driver.Corrupt},
		"as it is":     {engine, driver.Internal},
		"caller gone":  {status.Error(codes.Canceled, "context canceled"), driver.Canceled},
		"out of time":  {status.Error(codes.DeadlineExceeded, "late"), driver.Timeout},
		"one of ours":  {ToStatus(&driver.Error{Reason: driver.OutOfDisk, Message: "full"}), driver.OutOfDisk},
		"not a status": {errors.New("no"), driver.Internal},
	} {
		if d := onlyDetail(t, keepStatus(c.err)); d.GetReason() != string(c.want) {
			t.Errorf("%s: %s, want %s", name, d.GetReason(), c.want)
		}
	}
}

func TestNumbersThatDoNotFit(t *testing.T) {
	if got := listenersFromProto(&driverpb.ListenersResponse{Listeners: []*driverpb.Listener{{Port: 65536 + 80}}}); got[0].Port != 0 {
		t.Errorf("port 65616 is taken for %d", got[0].Port)
	}
	if got := publishFromProto([]*driverpb.PublishedPort{{SandboxPort: 70_000}}); got[0].SandboxPort != 0 {
		t.Errorf("port 70000 is taken for %d", got[0].SandboxPort)
	}
	if got := sizeFromProto(&driverpb.TerminalSize{Rows: 65536, Cols: 80}); got.Rows != math.MaxUint16 {
		t.Errorf("65536 rows are taken for %d", got.Rows)
	}
	for ms, positive := range map[int64]bool{math.MinInt64: false, -1: false, 0: false, 1: true, 18446744073710: true, math.MaxInt64: true} {
		if d := milliseconds(ms); d < 0 || d > 0 != positive {
			t.Errorf("%d ms are taken for %v", ms, d)
		}
	}
}

// frames is a stream that gives what a driver sent.
type frames struct {
	grpc.BidiStreamingClient[driverpb.ExecRequest, driverpb.ExecResponse]
	left []*driverpb.ExecResponse
}

func (f *frames) Recv() (*driverpb.ExecResponse, error) {
	if len(f.left) == 0 {
		return nil, io.EOF
	}
	first := f.left[0]
	f.left = f.left[1:]
	return first, nil
}

// A frame without a kind is how one of a newer driver looks here.
func TestFramesOfNewerDriversAreIgnored(t *testing.T) {
	unknown := &driverpb.ExecResponse{}
	started := &driverpb.ExecResponse{Frame: &driverpb.ExecResponse_Started{Started: &driverpb.ExecStarted{}}}
	exit := &driverpb.ExecResponse{Frame: &driverpb.ExecResponse_Exit{Exit: &driverpb.ExecExit{Code: 7}}}
	run := func(sent ...*driverpb.ExecResponse) (driver.ExitStatus, error) {
		x := &execClient{stream: &frames{left: sent}, window: window.New(1)}
		return x.receive()
	}
	if got, err := run(unknown, started, unknown, exit); err != nil || got.Code != 7 {
		t.Errorf("before and after started: %v, %v", got, err)
	}
	for name, sent := range map[string][]*driverpb.ExecResponse{
		"nothing": nil, "no exit": {started}, "exit first": {exit}, "after the exit": {started, exit, started},
	} {
		if _, err := run(sent...); driver.ReasonOf(err) != driver.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// calls is the server's end of a stream on which a caller sends frames.
type calls struct {
	grpc.BidiStreamingServer[driverpb.ExecRequest, driverpb.ExecResponse]
	ctx  context.Context //nolint:containedctx // a stream has one
	sent chan *driverpb.ExecRequest
}

func (c calls) Context() context.Context { return c.ctx }

func (c calls) Recv() (*driverpb.ExecRequest, error) {
	select {
	case m := <-c.sent:
		return m, nil
	case <-c.ctx.Done():
		return nil, c.ctx.Err()
	}
}

// patient is a driver whose commands end when they are told to.
type patient struct{ driver.Driver }

func (patient) Info() driver.Info { return driver.Info{Name: "patient"} }

func (patient) Exec(ctx context.Context, _ driver.ExecSpec, _ driver.ExecIO) (driver.ExitStatus, error) {
	<-ctx.Done()
	return driver.ExitStatus{}, ctx.Err()
}

// The driver sees only that its context ended; the caller learns why.
func TestCallersMistakeInTheMiddleOfAnExec(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	stream := calls{ctx: ctx, sent: make(chan *driverpb.ExecRequest, 2)}
	stream.sent <- &driverpb.ExecRequest{Frame: &driverpb.ExecRequest_Start{Start: &driverpb.ExecStart{Argv: []string{"cat"}}}}
	stream.sent <- &driverpb.ExecRequest{Frame: &driverpb.ExecRequest_Stdin{Stdin: make([]byte, driver.StdinWindow+1)}}
	err := NewServer(patient{}, Handshake{}, nil).Exec(stream)
	if driver.ReasonOf(err) != driver.InvalidArgument {
		t.Errorf("more input than the window: %v", err)
	}
}

// endlessFrames gives its frames and then nothing, not even an end, until it is cut.
type endlessFrames struct {
	frames
	cut chan struct{}
}

func (f *endlessFrames) Recv() (*driverpb.ExecResponse, error) {
	if m, err := f.frames.Recv(); err == nil {
		return m, nil
	}
	<-f.cut
	return nil, errors.New("cut")
}

func TestStreamThatGoesOnAfterTheExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := &endlessFrames{cut: make(chan struct{}), frames: frames{left: []*driverpb.ExecResponse{
			{Frame: &driverpb.ExecResponse_Started{Started: &driverpb.ExecStarted{}}},
			{Frame: &driverpb.ExecResponse_Exit{Exit: &driverpb.ExecExit{}}},
		}}}
		x := &execClient{stream: stream, window: window.New(1), cut: func(error) { close(stream.cut) }}
		if _, err := x.receive(); err == nil {
			t.Error("no error")
		}
	})
}

// lateDriver confirms the end of a command some time after it was asked for, or
// never.
type lateDriver struct {
	driverpb.DriverServiceClient
	late time.Duration // 0: never
}

func (d lateDriver) Exec(ctx context.Context, _ ...grpc.CallOption) (grpc.BidiStreamingClient[driverpb.ExecRequest, driverpb.ExecResponse], error) {
	return &lateStream{ctx: ctx, late: d.late, ended: make(chan struct{})}, nil
}

type lateStream struct {
	grpc.BidiStreamingClient[driverpb.ExecRequest, driverpb.ExecResponse]
	ctx   context.Context //nolint:containedctx // a stream has one
	late  time.Duration
	ended chan struct{}
}

func (s *lateStream) Send(m *driverpb.ExecRequest) error {
	if m.GetCancel() != nil && s.late > 0 {
		time.AfterFunc(s.late, func() { close(s.ended) })
	}
	return nil
}

func (s *lateStream) Recv() (*driverpb.ExecResponse, error) {
	select {
	case <-s.ended:
		return nil, status.FromContextError(context.Canceled).Err()
	case <-s.ctx.Done():
		return nil, status.FromContextError(s.ctx.Err()).Err()
	}
}

// What ends a command may be processes of its own, on a machine that is busy:
// until the driver has confirmed it, the command counts as running, and a caller
// that cannot wait any longer is told so.
func TestB41EndOfACommandIsConfirmed(t *testing.T) {
	const grace = 300 * time.Millisecond
	for _, c := range []struct {
		late      time.Duration
		confirmed bool
	}{{grace, true}, {grace + 4*time.Second, true}, {0, false}} {
		synctest.Test(t, func(t *testing.T) {
			client := &Client{rpc: lateDriver{late: c.late}, ungated: true}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			begun := time.Now()
			time.AfterFunc(time.Second, func() { cancel(errors.New("nobody wants it")) })
			_, err := client.Exec(ctx, driver.ExecSpec{Argv: []string{"sleep"}, KillGrace: grace}, driver.ExecIO{})
			if driver.ReasonOf(err) != driver.Canceled || !strings.Contains(err.Error(), "nobody wants it") {
				t.Errorf("%v: %v", c.late, err)
			}
			if told := !strings.Contains(err.Error(), "has not confirmed"); told != c.confirmed {
				t.Errorf("%v: %v", c.late, err)
			}
			if took := time.Since(begun) - time.Second; c.confirmed && took != c.late {
				t.Errorf("confirmed after %v, returned after %v", c.late, took)
			}
		})
	}
}
