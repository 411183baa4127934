package wire

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sero-labs/sero-runtime/internal/oneline"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/internal/driverpb"
)

// reasonCodes gives the gRPC code of each reason, for peers that look no
// further; sero itself reads only the reason.
var reasonCodes = map[driver.Reason]codes.Code{
	driver.EngineNotInstalled:   codes.FailedPrecondition,
	driver.EngineNotRunning:     codes.Unavailable,
	driver.EngineWedged:         codes.Unavailable,
	driver.EngineTooOld:         codes.FailedPrecondition,
	driver.PermissionDenied:     codes.PermissionDenied,
	driver.OutOfDisk:            codes.ResourceExhausted,
	driver.OutOfMemory:          codes.ResourceExhausted,
	driver.ImageNotFound:        codes.NotFound,
	driver.ImageBuildFailed:     codes.Aborted,
	driver.ImageInUse:           codes.FailedPrecondition,
	driver.NotFound:             codes.NotFound,
	driver.NotRunning:           codes.FailedPrecondition,
	driver.NotStopped:           codes.FailedPrecondition,
	driver.AlreadyExists:        codes.AlreadyExists,
	driver.ForeignResource:      codes.PermissionDenied,
	driver.Corrupt:              codes.DataLoss,
	driver.NameInvalid:          codes.InvalidArgument,
	driver.MountDenied:          codes.PermissionDenied,
	driver.PortInUse:            codes.FailedPrecondition,
	driver.CommandNotFound:      codes.NotFound,
	driver.CommandNotExecutable: codes.PermissionDenied,
	driver.InvalidArgument:      codes.InvalidArgument,
	driver.ConfigInvalid:        codes.InvalidArgument,
	driver.Unsupported:          codes.Unimplemented,
	driver.Timeout:              codes.DeadlineExceeded,
	driver.Canceled:             codes.Canceled,
}

// limits of what travels in an error, in bytes: all of it together stays under
// 4 KiB, for it has to fit a trailer.
const (
	maxText     = 1024
	maxName     = 512 // of what an error is about
	maxReason   = 64
	maxRemedies = 4
	maxRemedied = 1800 // all remedies together
)

// ToStatus turns an error into a gRPC status with one ErrorDetail.
func ToStatus(err error) error {
	if err == nil {
		return nil
	}
	e := driver.AsError(err)
	code, ok := reasonCodes[e.Reason]
	if !ok {
		code = codes.Internal
	}
	message := clip(e.Message)
	detail := &driverpb.ErrorDetail{
		Reason:    clipTo(string(e.Reason), maxReason),
		Message:   message,
		Resource:  clipTo(e.Resource, maxName),
		Field:     clipTo(e.Field, maxName),
		Retryable: e.Retryable,
		Remedies:  remediesToProto(e.Remedies),
	}
	st, detailErr := status.New(code, message).WithDetails(detail)
	if detailErr != nil {
		return status.Error(code, message)
	}
	return st.Err()
}

// FromStatus turns what a call returned into a *driver.Error. lost explains a
// broken connection, if it can; ctx tells whose fault an end was.
func FromStatus(ctx context.Context, err error, lost func() error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*driver.Error](err); ok {
		return e
	}
	st, ok := status.FromError(err)
	if !ok {
		return driver.AsError(err)
	}
	for _, d := range st.Details() {
		if d, ok := d.(*driverpb.ErrorDetail); ok {
			if e := fromDetail(d); e.Reason != driver.Timeout && e.Reason != driver.Canceled || !ended(ctx) {
				return e
			}
		}
	}
	if ended(ctx) {
		return contextError(ctx)
	}
	return withoutDetail(st, lost)
}

func fromDetail(d *driverpb.ErrorDetail) *driver.Error {
	e := &driver.Error{
		Reason:    driver.Reason(d.GetReason()),
		Message:   oneLine(clip(d.GetMessage())),
		Resource:  oneLine(clip(d.GetResource())),
		Field:     oneLine(clip(d.GetField())),
		Retryable: d.GetRetryable(),
		Remedies:  remediesFromProto(d.GetRemedies()),
	}
	if e.Reason == "" {
		e.Reason = driver.Internal
	}
	return e
}

// ended tells whether the caller ended the call. The driver knows the deadline
// too and may answer a moment before it passes here.
func ended(ctx context.Context) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < 50*time.Millisecond {
		<-ctx.Done()
	}
	return ctx.Err() != nil
}

// contextError is the error for a call that its caller ended: with the cause
// that it gave, so that a reader learns who and why.
func contextError(ctx context.Context) error {
	cause := context.Cause(ctx)
	if e, ok := errors.AsType[*driver.Error](cause); ok {
		return e
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &driver.Error{Reason: driver.Timeout, Message: "no answer in time: " + cause.Error(), Retryable: true, Err: cause}
	}
	return &driver.Error{Reason: driver.Canceled, Message: cause.Error(), Err: cause}
}

// withoutDetail is for statuses that gRPC made, or a driver that does not follow
// the contract.
func withoutDetail(st *status.Status, lost func() error) error {
	message := oneLine(clip(st.Message()))
	switch st.Code() {
	case codes.Unavailable:
		if err := lost(); err != nil {
			return err
		}
		return &driver.Error{Reason: driver.DriverCrashed, Message: "the connection to the driver broke: " + message, Retryable: true}
	case codes.Unimplemented:
		return &driver.Error{Reason: driver.Unsupported, Message: "the driver does not serve this call: " + message}
	case codes.DeadlineExceeded:
		return &driver.Error{Reason: driver.Timeout, Message: "no answer in time", Retryable: true}
	case codes.Canceled:
		if err := lost(); err != nil {
			return err
		}
		return &driver.Error{Reason: driver.Canceled, Message: message}
	default:
		return &driver.Error{Reason: driver.Internal, Message: "the driver gave an error without detail: " + message}
	}
}

// remediesToProto are the first remedies, as many as there is room for. A
// command is whole or left out: a part of one does something else.
func remediesToProto(rs []driver.Remedy) []*driverpb.Remedy {
	var out []*driverpb.Remedy
	room := maxRemedied
	for _, r := range rs[:min(len(rs), maxRemedies)] {
		p := &driverpb.Remedy{Text: clip(r.Text), Command: r.Command}
		if proto.Size(p) > room || !allText(r.Command) {
			p.Command = nil
		}
		if proto.Size(p) > room {
			break
		}
		room -= proto.Size(p)
		out = append(out, p)
	}
	return out
}

func allText(words []string) bool {
	return !slices.ContainsFunc(words, func(w string) bool { return !utf8.ValidString(w) })
}

func remediesFromProto(rs []*driverpb.Remedy) []driver.Remedy {
	var out []driver.Remedy
	for _, r := range rs[:min(len(rs), maxRemedies)] {
		out = append(out, driver.Remedy{Text: oneLine(clip(r.GetText())), Command: r.GetCommand()})
	}
	return out
}

// clip bounds a text at a rune's edge.
func clip(s string) string { return clipTo(s, maxText) }

func clipTo(s string, most int) string {
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}

// oneLine makes a text from another process safe to print.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if oneline.Unfit(r) {
			return ' '
		}
		return r
	}, s)
}
