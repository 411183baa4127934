package daemonclient

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Error is what a call's error says: the daemon's own words where it sent them,
// and otherwise what became of the connection. It is nil for nil.
func Error(err error) *driver.Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*driver.Error](err); ok { // it may wrap the Connect error that it was made from
		return e
	}
	c, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return driver.AsError(err)
	}
	for _, d := range c.Details() {
		if value, err := d.Value(); err == nil {
			if detail, ok := value.(*apipb.ErrorDetail); ok {
				return fromDetail(detail, c)
			}
		}
	}
	return undetailed(c)
}

func fromDetail(d *apipb.ErrorDetail, cause error) *driver.Error {
	e := &driver.Error{
		Reason: driver.Reason(d.GetReason()), Message: d.GetMessage(), Driver: d.GetDriver(),
		Resource: d.GetResource(), Field: d.GetField(), Retryable: d.GetRetryable(), Err: cause,
	}
	for _, r := range d.GetRemedies() {
		e.Remedies = append(e.Remedies, driver.Remedy{Text: r.GetText(), Command: r.GetCommand()})
	}
	return e
}

// undetailed is an error that did not come from a handler.
func undetailed(c *connect.Error) *driver.Error {
	switch c.Code() {
	case connect.CodeCanceled:
		if !errors.Is(c, context.Canceled) {
			return lost(c) // the stream was reset
		}
		return &driver.Error{Reason: driver.Canceled, Message: "cancelled", Err: context.Canceled}
	case connect.CodeDeadlineExceeded:
		return &driver.Error{Reason: driver.Timeout, Message: "the daemon took too long", Retryable: true, Err: c}
	case connect.CodeUnimplemented:
		e := &driver.Error{Reason: driver.Unsupported, Message: "the daemon that runs does not know this command; it is of another version", Err: c}
		return e.Remedy("end it; the next command starts this version's", "sero", "daemon", "stop")
	case connect.CodeUnavailable:
		return lost(c)
	default:
	}
	if connect.IsWireError(c) {
		return &driver.Error{Reason: driver.Internal, Message: c.Message(), Err: c}
	}
	// It arose on this side, in an answer or in the connection.
	switch c.Code() {
	case connect.CodeResourceExhausted:
		return &driver.Error{Reason: driver.Internal, Message: fmt.Sprintf("the daemon's answer is larger than %d bytes", maxMessage), Err: c}
	case connect.CodeInvalidArgument:
		e := &driver.Error{Reason: driver.Internal, Message: "the daemon's answer cannot be read: " + c.Message(), Err: c}
		return e.Remedy("if the daemon is of another version, end it; the next command starts this version's", "sero", "daemon", "stop")
	default:
		return lost(c)
	}
}

func lost(c *connect.Error) *driver.Error {
	e := &driver.Error{Reason: DaemonLost, Message: "the daemon went away in the middle of the call", Retryable: true, Err: c}
	return e.Remedy("look at its last words", "sero", "daemon", "logs")
}
