package wire

import (
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/internal/driverpb"
)

// Server serves a driver.Driver as sero.driver.v1.DriverService.
type Server struct {
	driverpb.UnimplementedDriverServiceServer
	d         driver.Driver
	handshake Handshake
	shutdown  func(context.Context) error
}

// NewServer makes a Server. shutdown is what the Shutdown call does.
func NewServer(d driver.Driver, h Handshake, shutdown func(context.Context) error) *Server {
	return &Server{d: d, handshake: h, shutdown: shutdown}
}

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	driverpb.RegisterDriverServiceServer(r, s)
}

// Options are the gRPC options that the service needs: errors as statuses with
// a detail, and no call without the capability it needs.
func Options(d driver.Driver, unary grpc.UnaryServerInterceptor, stream grpc.StreamServerInterceptor) []grpc.ServerOption {
	unaries := []grpc.UnaryServerInterceptor{func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if err := allowed(d, info.FullMethod); err != nil {
			return nil, ToStatus(err)
		}
		resp, err := next(ctx, req)
		if !ours(info.FullMethod) {
			return resp, err
		}
		return resp, keepStatus(err)
	}}
	streams := []grpc.StreamServerInterceptor{func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		if err := allowed(d, info.FullMethod); err != nil {
			return ToStatus(err)
		}
		err := next(srv, ss)
		if !ours(info.FullMethod) {
			return err
		}
		return keepStatus(err)
	}}
	if unary != nil {
		unaries = append([]grpc.UnaryServerInterceptor{unary}, unaries...)
	}
	if stream != nil {
		streams = append([]grpc.StreamServerInterceptor{stream}, streams...)
	}
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.InitialWindowSize(StreamWindow), grpc.InitialConnWindowSize(ConnWindow),
		grpc.ReadBufferSize(SocketBuffer), grpc.WriteBufferSize(SocketBuffer),
		grpc.ChainUnaryInterceptor(unaries...),
		grpc.ChainStreamInterceptor(streams...),
	}
}

// MaxMessage is the largest message either side takes, in bytes. Streams keep
// their frames far below; a sandbox list may be long.
const MaxMessage = 16 << 20

// How much a stream and a connection may have on the way, and what one system
// call moves, in bytes: gRPC's defaults are for a network, this is one machine.
const (
	StreamWindow = 1 << 20
	ConnWindow   = 8 << 20
	SocketBuffer = 256 << 10
)

// servicePrefix begins the full names of this protocol's methods. go-plugin has
// services of its own beside it.
var servicePrefix = "/" + driverpb.DriverService_ServiceDesc.ServiceName + "/"

func ours(fullMethod string) bool { return strings.HasPrefix(fullMethod, servicePrefix) }

// allowed refuses a call to our service that the driver lacks the capability
// for.
func allowed(d driver.Driver, fullMethod string) error {
	if c, ok := driver.CallNeeds[strings.TrimPrefix(fullMethod, servicePrefix)]; ok {
		return driver.Need(d, c)
	}
	return nil
}

// keepStatus converts a driver's error. Statuses may be in it that are not of
// this protocol: the driver's engine may speak gRPC too, and the stream to the
// caller does.
func keepStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, typed := errors.AsType[*driver.Error](err); typed {
		return ToStatus(err)
	}
	st, ok := status.FromError(err)
	if !ok {
		return ToStatus(err)
	}
	for _, d := range st.Details() {
		if _, ok := d.(*driverpb.ErrorDetail); ok {
			return err
		}
	}
	e := &driver.Error{Reason: driver.Internal, Message: err.Error()}
	switch st.Code() {
	case codes.Canceled:
		e.Reason = driver.Canceled
	case codes.DeadlineExceeded:
		e.Reason, e.Retryable = driver.Timeout, true
	default:
	}
	return ToStatus(e)
}

// Handshake answers with what the driver is.
func (s *Server) Handshake(context.Context, *driverpb.HandshakeRequest) (*driverpb.HandshakeResponse, error) {
	return grease(HandshakeToProto(s.handshake)), nil
}

// Configure hands settings to a driver that has some.
func (s *Server) Configure(ctx context.Context, r *driverpb.ConfigureRequest) (*driverpb.ConfigureResponse, error) {
	settings := r.GetSettingsJson()
	c, ok := s.d.(driver.Configurer)
	if !ok {
		if text := strings.TrimSpace(string(settings)); text != "" && text != "{}" {
			return nil, driver.Errorf(driver.ConfigInvalid, "this driver has no settings").Remedy("remove them from the configuration")
		}
		return &driverpb.ConfigureResponse{}, nil
	}
	return &driverpb.ConfigureResponse{}, c.Configure(ctx, settings, r.GetValidateOnly())
}

// Health streams the runtime's state.
func (s *Server) Health(_ *driverpb.HealthRequest, stream grpc.ServerStreamingServer[driverpb.HealthResponse]) error {
	return s.d.Health(stream.Context(), func(h driver.Health) error { return stream.Send(healthToProto(h)) })
}

// StartSystem starts the engine.
func (s *Server) StartSystem(_ *driverpb.StartSystemRequest, stream grpc.ServerStreamingServer[driverpb.StartSystemResponse]) error {
	starter, err := driver.SystemStarterOf(s.d)
	if err != nil {
		return err
	}
	return starter.StartSystem(stream.Context(), func(p driver.Progress) {
		_ = stream.Send(&driverpb.StartSystemResponse{Progress: progressToProto(p)}) // a caller that is gone ends ctx
	})
}

// StopSystem stops the engine.
func (s *Server) StopSystem(_ *driverpb.StopSystemRequest, stream grpc.ServerStreamingServer[driverpb.StopSystemResponse]) error {
	stopper, err := driver.SystemStopperOf(s.d)
	if err != nil {
		return err
	}
	return stopper.StopSystem(stream.Context(), func(p driver.Progress) {
		_ = stream.Send(&driverpb.StopSystemResponse{Progress: progressToProto(p)}) // a caller that is gone ends ctx
	})
}

// EnsureImage makes an image available.
func (s *Server) EnsureImage(r *driverpb.EnsureImageRequest, stream grpc.ServerStreamingServer[driverpb.EnsureImageResponse]) error {
	ensurer, err := driver.ImageEnsurerOf(s.d)
	if err != nil {
		return err
	}
	image, err := ensurer.EnsureImage(stream.Context(), r.GetReference(), policyFromProto(r.GetPolicy()), func(p driver.Progress) {
		_ = stream.Send(&driverpb.EnsureImageResponse{Step: &driverpb.EnsureImageResponse_Progress{Progress: progressToProto(p)}})
	})
	if err != nil {
		return err
	}
	return stream.Send(&driverpb.EnsureImageResponse{Step: &driverpb.EnsureImageResponse_Image{Image: imageToProto(image)}})
}

// BuildImage builds an image.
func (s *Server) BuildImage(r *driverpb.BuildImageRequest, stream grpc.ServerStreamingServer[driverpb.BuildImageResponse]) error {
	builder, err := driver.ImageBuilderOf(s.d)
	if err != nil {
		return err
	}
	image, err := builder.BuildImage(stream.Context(), buildFromProto(r), func(p driver.Progress) {
		_ = stream.Send(&driverpb.BuildImageResponse{Step: &driverpb.BuildImageResponse_Progress{Progress: progressToProto(p)}})
	})
	if err != nil {
		return err
	}
	return stream.Send(&driverpb.BuildImageResponse{Step: &driverpb.BuildImageResponse_Image{Image: imageToProto(image)}})
}

// RemoveImage removes an image.
func (s *Server) RemoveImage(ctx context.Context, r *driverpb.RemoveImageRequest) (*driverpb.RemoveImageResponse, error) {
	remover, err := driver.ImageRemoverOf(s.d)
	if err != nil {
		return nil, err
	}
	return &driverpb.RemoveImageResponse{}, remover.RemoveImage(ctx, r.GetReference(), r.GetForce())
}

// ListImages lists images.
func (s *Server) ListImages(ctx context.Context, r *driverpb.ListImagesRequest) (*driverpb.ListImagesResponse, error) {
	lister, err := driver.ImageListerOf(s.d)
	if err != nil {
		return nil, err
	}
	images, err := lister.ListImages(ctx, r.GetLabels())
	out := &driverpb.ListImagesResponse{}
	for _, i := range images {
		out.Images = append(out.Images, imageToProto(i))
	}
	return out, err
}

// CreateSandbox makes a sandbox.
func (s *Server) CreateSandbox(ctx context.Context, r *driverpb.CreateSandboxRequest) (*driverpb.CreateSandboxResponse, error) {
	spec := specFromProto(r.GetSpec())
	if err := driver.NeedAll(s.d, spec.Needs()); err != nil {
		return nil, err
	}
	sandbox, err := s.d.Create(ctx, spec)
	return &driverpb.CreateSandboxResponse{Sandbox: sandboxToProto(sandbox)}, err
}

// StartSandbox starts one.
func (s *Server) StartSandbox(ctx context.Context, r *driverpb.StartSandboxRequest) (*driverpb.StartSandboxResponse, error) {
	sandbox, err := s.d.Start(ctx, r.GetId())
	return &driverpb.StartSandboxResponse{Sandbox: sandboxToProto(sandbox)}, err
}

// StopSandbox stops one.
func (s *Server) StopSandbox(ctx context.Context, r *driverpb.StopSandboxRequest) (*driverpb.StopSandboxResponse, error) {
	return &driverpb.StopSandboxResponse{}, s.d.Stop(ctx, r.GetId(), milliseconds(r.GetGraceMs()))
}

// RemoveSandbox removes one.
func (s *Server) RemoveSandbox(ctx context.Context, r *driverpb.RemoveSandboxRequest) (*driverpb.RemoveSandboxResponse, error) {
	return &driverpb.RemoveSandboxResponse{}, s.d.Remove(ctx, r.GetId(), r.GetForce())
}

// GetSandbox describes one.
func (s *Server) GetSandbox(ctx context.Context, r *driverpb.GetSandboxRequest) (*driverpb.GetSandboxResponse, error) {
	sandbox, err := s.d.Get(ctx, r.GetId())
	return &driverpb.GetSandboxResponse{Sandbox: sandboxToProto(sandbox)}, err
}

// ListSandboxes lists them.
func (s *Server) ListSandboxes(ctx context.Context, r *driverpb.ListSandboxesRequest) (*driverpb.ListSandboxesResponse, error) {
	sandboxes, err := s.d.List(ctx, r.GetLabels())
	out := &driverpb.ListSandboxesResponse{}
	for _, sandbox := range sandboxes {
		out.Sandboxes = append(out.Sandboxes, sandboxToProto(sandbox))
	}
	return out, err
}

// CopyIn unpacks a tar stream.
func (s *Server) CopyIn(stream grpc.ClientStreamingServer[driverpb.CopyInRequest, driverpb.CopyInResponse]) error {
	copier, err := driver.CopierOf(s.d)
	if err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	start := first.GetStart()
	if start == nil {
		return driver.Errorf(driver.InvalidArgument, "the first frame of CopyIn must be start")
	}
	tar := &frameReader{next: func() ([]byte, error) {
		frame, err := stream.Recv()
		return frame.GetTar(), err
	}}
	if err := copier.CopyIn(stream.Context(), start.GetSandboxId(), start.GetDirectory(), tar); err != nil {
		return err
	}
	return stream.SendAndClose(&driverpb.CopyInResponse{})
}

// CopyOut packs a path.
func (s *Server) CopyOut(r *driverpb.CopyOutRequest, stream grpc.ServerStreamingServer[driverpb.CopyOutResponse]) error {
	copier, err := driver.CopierOf(s.d)
	if err != nil {
		return err
	}
	return copier.CopyOut(stream.Context(), r.GetSandboxId(), r.GetPath(), frameWriter(func(p []byte) error {
		return stream.Send(&driverpb.CopyOutResponse{Tar: p})
	}))
}

// Stats measures a sandbox.
func (s *Server) Stats(r *driverpb.StatsRequest, stream grpc.ServerStreamingServer[driverpb.StatsResponse]) error {
	reader, err := driver.StatsReaderOf(s.d)
	if err != nil {
		return err
	}
	return reader.Stats(stream.Context(), r.GetSandboxId(), milliseconds(r.GetIntervalMs()), func(st driver.Stats) error {
		return stream.Send(statsToProto(st))
	})
}

// Logs reads a sandbox's output.
func (s *Server) Logs(r *driverpb.LogsRequest, stream grpc.ServerStreamingServer[driverpb.LogsResponse]) error {
	reader, err := driver.LogReaderOf(s.d)
	if err != nil {
		return err
	}
	return reader.Logs(stream.Context(), r.GetSandboxId(), r.GetFollow(), int(r.GetTailLines()), frameWriter(func(p []byte) error {
		return stream.Send(&driverpb.LogsResponse{Data: p})
	}))
}

// Events tells of changes.
func (s *Server) Events(_ *driverpb.EventsRequest, stream grpc.ServerStreamingServer[driverpb.EventsResponse]) error {
	watcher, err := driver.EventWatcherOf(s.d)
	if err != nil {
		return err
	}
	return watcher.Events(stream.Context(), func(e driver.Event) error { return stream.Send(eventToProto(e)) })
}

// Listeners tells what listens.
func (s *Server) Listeners(r *driverpb.ListenersRequest, stream grpc.ServerStreamingServer[driverpb.ListenersResponse]) error {
	watcher, err := driver.ListenerWatcherOf(s.d)
	if err != nil {
		return err
	}
	return watcher.Listeners(stream.Context(), r.GetSandboxId(), func(ls []driver.Listener) error {
		return stream.Send(listenersToProto(ls))
	})
}

// Shutdown ends what cannot outlive the process.
func (s *Server) Shutdown(ctx context.Context, r *driverpb.ShutdownRequest) (*driverpb.ShutdownResponse, error) {
	if ms := r.GetDeadlineMs(); ms > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, milliseconds(ms), driver.Errorf(driver.Timeout, "shutdown took too long"))
		defer cancel()
	}
	return &driverpb.ShutdownResponse{}, s.shutdown(ctx)
}

// milliseconds is a caller's number as a duration: none for a negative one, the
// longest there is for one that would wrap around.
func milliseconds(ms int64) time.Duration {
	return time.Duration(min(max(0, ms), math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}

// frameWriter cuts what is written into frames.
type frameWriter func([]byte) error

// Write sends p in pieces of at most driver.MaxFrame bytes.
func (w frameWriter) Write(p []byte) (int, error) {
	for sent := 0; sent < len(p); {
		end := min(sent+driver.MaxFrame, len(p))
		if err := w(p[sent:end]); err != nil {
			return sent, err
		}
		sent = end
	}
	return len(p), nil
}

// frameReader joins frames into a stream.
type frameReader struct {
	next func() ([]byte, error)
	rest []byte
}

// Read gives what is left of the frame at hand, or of the next one.
func (r *frameReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		frame, err := r.next()
		if err != nil {
			return 0, err
		}
		r.rest = frame
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

var _ io.Reader = (*frameReader)(nil)
