package fake

import (
	"context"
	"fmt"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/internal/driverpb"
)

// interceptor breaks promises that only show on the wire.
type interceptor struct {
	f     *faulty
	calls chan struct{} // a pool's places
	shook int
}

func newInterceptor(f *faulty) *interceptor {
	return &interceptor{f: f, calls: make(chan struct{}, 10)}
}

func (i *interceptor) ours(method string) bool {
	return strings.HasPrefix(method, "/"+driverpb.DriverService_ServiceDesc.ServiceName+"/")
}

// Unary sees every call that is no stream.
func (i *interceptor) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if !i.ours(info.FullMethod) {
		return next(ctx, req)
	}
	if i.f.has("ten-calls") {
		i.calls <- struct{}{}
		defer func() { <-i.calls }()
	}
	if err := i.request(req); err != nil {
		return nil, err
	}
	resp, err := next(ctx, req)
	if h, ok := resp.(*driverpb.HandshakeResponse); ok {
		i.handshake(h)
	}
	if m, ok := resp.(proto.Message); ok && i.f.has("future-fields") {
		addUnknown(m)
	}
	if err = i.spoil(err); err != nil && i.f.has("untyped") && strings.HasSuffix(info.FullMethod, "/GetSandbox") {
		err = status.Error(status.Code(err), "no such sandbox")
	}
	return resp, err
}

// request refuses and delays where it should not.
func (i *interceptor) request(req any) error {
	m, ok := req.(proto.Message)
	if !ok {
		return nil
	}
	if _, first := m.(*driverpb.HandshakeRequest); !first && i.f.has("refuses-unknown-fields") && len(m.ProtoReflect().GetUnknown()) > 0 {
		return status.Error(codes.InvalidArgument, "unknown field")
	}
	if i.f.has("small-messages") && proto.Size(m) > 4<<20 {
		return status.Error(codes.ResourceExhausted, "received message larger than max")
	}
	if s, ok := m.(*driverpb.ShutdownRequest); ok && i.f.has("slow-shutdown") && s.GetDeadlineMs() < 1000 {
		time.Sleep(12 * time.Second)
	}
	return nil
}

func (i *interceptor) handshake(h *driverpb.HandshakeResponse) {
	if i.shook++; i.f.has("handshake-varies") && i.shook > 1 {
		h.Description += fmt.Sprintf(", asked %d times", i.shook)
	}
	if i.f.has("ignores-sigterm") {
		signal.Ignore(syscall.SIGTERM)
	}
}

// spoil takes from errors what they should have.
func (i *interceptor) spoil(err error) error {
	st, ok := status.FromError(err)
	if err == nil || !ok || len(st.Details()) == 0 {
		return err
	}
	detail, ok := st.Details()[0].(*driverpb.ErrorDetail)
	if !ok {
		return err
	}
	switch {
	case i.f.has("two-details"):
		if more, e := st.WithDetails(&driverpb.Remedy{Text: "ask again"}); e == nil {
			return more.Err()
		}
		return err
	case i.f.has("prose-errors"):
		detail.Message = "fake: " + detail.GetMessage() + "."
	case i.f.has("no-remedies"):
		detail.Remedies = nil
	case i.f.has("no-resource"):
		detail.Resource = ""
	}
	changed, e := status.New(st.Code(), st.Message()).WithDetails(detail)
	if e != nil {
		return err
	}
	return changed.Err()
}

// Stream sees every stream.
func (i *interceptor) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if !i.ours(info.FullMethod) {
		return next(srv, ss)
	}
	if i.f.has("ten-calls") {
		i.calls <- struct{}{}
		defer func() { <-i.calls }()
	}
	if i.f.has("serves-undeclared") && strings.HasSuffix(info.FullMethod, "/Stats") {
		return ss.SendMsg(&driverpb.StatsResponse{Processes: proto.Int64(1)})
	}
	return i.spoil(next(srv, &spoiledStream{ServerStream: ss, i: i}))
}

// spoiledStream is a stream whose messages may be changed.
type spoiledStream struct {
	grpc.ServerStream
	i    *interceptor
	sent int    // bytes of output
	kept []byte // output that is held back
}

// Context may outlive the stream.
func (s *spoiledStream) Context() context.Context {
	if s.i.f.has("loss-ignored") {
		return context.WithoutCancel(s.ServerStream.Context())
	}
	return s.ServerStream.Context()
}

// RecvMsg changes what comes in.
func (s *spoiledStream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if err != nil && s.i.f.has("loss-ignored") {
		select {} // nobody is told
	}
	if err == nil {
		err = s.i.request(m)
	}
	switch req := m.(type) {
	case *driverpb.ExecRequest:
		if start := req.GetStart(); start != nil && len(start.GetArgv()) == 0 && s.i.f.has("exec-empty") {
			start.Argv = []string{"true"}
		}
	case *driverpb.EnsureImageRequest:
		if req.GetPolicy() > driverpb.PullPolicy_PULL_POLICY_ALWAYS && s.i.f.has("strict-policy") {
			return driver.Errorf(driver.InvalidArgument, "unknown pull policy")
		}
	}
	return err
}

// SendMsg changes what goes out.
func (s *spoiledStream) SendMsg(m any) error {
	if msg, ok := m.(proto.Message); ok && s.i.f.has("future-fields") {
		addUnknown(msg)
	}
	if r, ok := m.(*driverpb.ExecResponse); ok {
		switch {
		case s.i.f.has("no-acks") && r.GetStdinConsumed() > 0:
			return nil
		case s.i.f.has("big-frames"):
			return s.sendBig(r)
		case s.i.f.has("exit-too-soon"):
			return s.sendSoon(r)
		}
	}
	return s.ServerStream.SendMsg(m)
}

func stdoutFrame(p []byte) *driverpb.ExecResponse {
	return &driverpb.ExecResponse{Frame: &driverpb.ExecResponse_Stdout{Stdout: p}}
}

// sendBig joins frames of much output.
func (s *spoiledStream) sendBig(r *driverpb.ExecResponse) error {
	s.sent += len(r.GetStdout())
	if s.sent > 500_000 && r.GetStdout() != nil && len(s.kept) < 2*driver.MaxFrame {
		s.kept = append(s.kept, r.GetStdout()...)
		return nil
	}
	if len(s.kept) > 0 {
		kept := s.kept
		s.kept = nil
		if err := s.ServerStream.SendMsg(stdoutFrame(kept)); err != nil {
			return err
		}
	}
	return s.ServerStream.SendMsg(r)
}

// sendSoon holds the last frame of much output back until after the exit.
func (s *spoiledStream) sendSoon(r *driverpb.ExecResponse) error {
	if r.GetStdout() == nil && r.GetExit() == nil {
		return s.ServerStream.SendMsg(r)
	}
	s.sent += len(r.GetStdout())
	kept := s.kept
	if s.kept = nil; s.sent > 500_000 && r.GetStdout() != nil {
		s.kept, r = r.GetStdout(), nil
	}
	if r.GetExit() != nil {
		if err := s.ServerStream.SendMsg(r); err != nil {
			return err
		}
		r = nil
	}
	if len(kept) > 0 {
		if err := s.ServerStream.SendMsg(stdoutFrame(kept)); err != nil {
			return err
		}
	}
	if r == nil {
		return nil
	}
	return s.ServerStream.SendMsg(r)
}

func addUnknown(m proto.Message) {
	b := protowire.AppendTag(nil, 54000, protowire.BytesType)
	m.ProtoReflect().SetUnknown(protowire.AppendString(b, "from the future"))
}
