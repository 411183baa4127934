package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"

	"connectrpc.com/connect"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// codes gives the Connect code of the reasons that generic clients may want to
// tell apart; sero's own read the detail. Any other is Internal.
var codes = map[driver.Reason]connect.Code{
	driver.NotFound:             connect.CodeNotFound,
	driver.DriverNotFound:       connect.CodeNotFound,
	driver.ImageNotFound:        connect.CodeNotFound,
	driver.CommandNotFound:      connect.CodeNotFound,
	driver.AlreadyExists:        connect.CodeAlreadyExists,
	driver.InvalidArgument:      connect.CodeInvalidArgument,
	driver.ConfigInvalid:        connect.CodeInvalidArgument,
	driver.NameInvalid:          connect.CodeInvalidArgument,
	driver.PermissionDenied:     connect.CodePermissionDenied,
	driver.ForeignResource:      connect.CodePermissionDenied,
	driver.MountDenied:          connect.CodePermissionDenied,
	driver.DriverUntrusted:      connect.CodePermissionDenied,
	driver.CommandNotExecutable: connect.CodePermissionDenied,
	driver.Unsupported:          connect.CodeUnimplemented,
	driver.Timeout:              connect.CodeDeadlineExceeded,
	driver.Canceled:             connect.CodeCanceled,
	driver.EngineNotRunning:     connect.CodeUnavailable,
	driver.EngineWedged:         connect.CodeUnavailable,
	driver.DriverCrashed:        connect.CodeUnavailable,
	driver.DriverSetAside:       connect.CodeUnavailable,
	driver.EngineNotInstalled:   connect.CodeFailedPrecondition,
	driver.EngineTooOld:         connect.CodeFailedPrecondition,
	driver.NoDriver:             connect.CodeFailedPrecondition,
	driver.IsolationRequired:    connect.CodeFailedPrecondition,
	driver.NotRunning:           connect.CodeFailedPrecondition,
	driver.NotStopped:           connect.CodeFailedPrecondition,
	driver.PortInUse:            connect.CodeFailedPrecondition,
	driver.OutOfDisk:            connect.CodeResourceExhausted,
	driver.OutOfMemory:          connect.CodeResourceExhausted,
}

// connectError turns any error into a Connect error with one ErrorDetail.
func connectError(err error) error {
	if err == nil {
		return nil
	}
	e := asError(err)
	code, ok := codes[e.Reason]
	if !ok {
		code = connect.CodeInternal
	}
	c := connect.NewError(code, errors.New(e.Message))
	detail, detailErr := connect.NewErrorDetail(errorDetail(e))
	if detailErr == nil {
		c.AddDetail(detail)
	}
	return c
}

// errorDetail is an error as a message; nil for none.
func errorDetail(err error) *apipb.ErrorDetail {
	e := driver.AsError(err)
	if e == nil {
		return nil
	}
	return &apipb.ErrorDetail{
		Reason: string(e.Reason), Message: valid(e.Message), Driver: valid(e.Driver), Resource: valid(e.Resource),
		Field: valid(e.Field), Retryable: e.Retryable, Remedies: remedies(e.Remedies),
	}
}

// asError is a handler's error as the core's: what Connect found wrong with a
// message, before or instead of the core, is the caller's mistake.
func asError(err error) *driver.Error {
	c, byConnect := errors.AsType[*connect.Error](err)
	if _, ours := errors.AsType[*driver.Error](err); ours || !byConnect {
		return driver.AsError(err)
	}
	switch c.Code() {
	case connect.CodeResourceExhausted:
		e := driver.Errorf(driver.InvalidArgument, "a message is larger than %d bytes", maxRequest)
		return e.Remedy("send less at once")
	case connect.CodeInvalidArgument:
		return driver.Errorf(driver.InvalidArgument, "a message cannot be read: %s", unreadable(c.Message()))
	case connect.CodeCanceled:
		return driver.Errorf(driver.Canceled, "the caller is gone")
	case connect.CodeDeadlineExceeded:
		return driver.Errorf(driver.Timeout, "the caller's deadline is over")
	default:
		return driver.AsError(err)
	}
}

// unreadable shortens what Connect and protobuf report of a message. protobuf
// puts no-break spaces into it, at random.
func unreadable(text string) string {
	text = strings.ReplaceAll(text, "\u00a0", " ")
	return strings.TrimPrefix(strings.TrimPrefix(text, "unmarshal message: "), "proto: ")
}

func valid(s string) string { return strings.ToValidUTF8(s, "?") }

// guard is the interceptor of every call: it counts it, turns its error into a
// Connect error, and survives a handler's panic.
type guard struct {
	active func(delta int)
	log    *slog.Logger
}

// WrapUnary guards unary calls.
func (g guard) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (resp connect.AnyResponse, err error) {
		g.active(1)
		defer g.active(-1)
		defer g.recover(req.Spec().Procedure, &err)
		resp, err = next(ctx, req)
		return resp, connectError(err)
	}
}

// WrapStreamingHandler guards streams.
func (g guard) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) (err error) {
		g.active(1)
		defer g.active(-1)
		defer g.recover(conn.Spec().Procedure, &err)
		return connectError(next(ctx, conn))
	}
}

// WrapStreamingClient does nothing: this is a server.
func (g guard) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// recover keeps one broken call from taking every workspace down.
func (g guard) recover(procedure string, err *error) {
	if p := recover(); p != nil {
		g.log.Error("a call panicked", "procedure", procedure, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		*err = connectError(driver.Errorf(driver.Internal, "the daemon has a fault in %s", procedure).
			Remedy("report it with the daemon's log", "sero", "daemon", "logs"))
	}
}

var _ connect.Interceptor = guard{}
