package wire

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"

	"github.com/sero-labs/sero-runtime/internal/window"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/internal/driverpb"
)

type execServerStream = grpc.BidiStreamingServer[driverpb.ExecRequest, driverpb.ExecResponse]

var errCancelFrame = driver.Errorf(driver.Canceled, "the caller ended the command")

// Exec runs one command: frames in, driver.Exec, frames out.
func (s *Server) Exec(stream execServerStream) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if first.GetStart() == nil {
		return driver.Errorf(driver.InvalidArgument, "the first frame of Exec must be start")
	}
	spec := execFromProto(first.GetStart())
	if len(spec.Argv) == 0 {
		return &driver.Error{Reason: driver.InvalidArgument, Message: "no command was given", Field: "start.argv"}
	}
	if err := driver.NeedAll(s.d, spec.Needs()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	out := &execSender{stream: stream}
	defer out.end()
	call := &execCall{Feed: window.NewFeed(out.consumed), cancel: cancel, signals: driver.Need(s.d, driver.CapExecSignal)}
	defer call.Close()
	go call.receive(stream) // ends with the stream, which ends when Exec returns

	stdio := call.IO()
	stdio.Stdout, stdio.Stderr, stdio.Started = frameWriter(out.stdout), frameWriter(out.stderr), out.started
	status, err := s.d.Exec(ctx, spec, stdio)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return context.Cause(ctx) // what was wrong with the caller, which the driver need not know
	}
	if err != nil {
		return err
	}
	return out.send(&driverpb.ExecResponse{Frame: &driverpb.ExecResponse_Exit{Exit: exitToProto(status)}})
}

// execCall takes the frames of the caller.
type execCall struct {
	*window.Feed
	cancel  context.CancelCauseFunc
	signals error // why signals are refused; nil: they are not
}

func (c *execCall) receive(stream execServerStream) {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) { // the caller sends no more; only input's own frame ends input
			return
		}
		if err != nil {
			c.cancel(driver.Errorf(driver.Canceled, "the caller is gone"))
			return
		}
		if err := c.take(req); err != nil {
			c.cancel(err)
		}
	}
}

func (c *execCall) take(req *driverpb.ExecRequest) error {
	switch frame := req.GetFrame().(type) {
	case *driverpb.ExecRequest_Stdin:
		return c.Input(frame.Stdin)
	case *driverpb.ExecRequest_StdinClose:
		c.EndInput()
	case *driverpb.ExecRequest_Resize:
		c.Resize(sizeFromProto(frame.Resize))
	case *driverpb.ExecRequest_Signal:
		if c.signals != nil {
			return c.signals
		}
		c.Signal(frame.Signal)
	case *driverpb.ExecRequest_Cancel:
		return errCancelFrame
	}
	return nil
}

// execSender sends frames one at a time, for a stream takes only one sender.
type execSender struct {
	mu     sync.Mutex
	stream execServerStream
	over   bool // the exit is sent, or an error will be
}

func (o *execSender) send(resp *driverpb.ExecResponse) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return io.ErrClosedPipe
	}
	o.over = resp.GetExit() != nil
	return o.stream.Send(resp)
}

// end refuses every later frame: who still takes input must not touch a stream
// whose call has returned.
func (o *execSender) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.over = true
}

func (o *execSender) started(pid int64) {
	_ = o.send(&driverpb.ExecResponse{Frame: &driverpb.ExecResponse_Started{Started: &driverpb.ExecStarted{Pid: pid}}})
}

func (o *execSender) stdout(p []byte) error {
	return o.send(&driverpb.ExecResponse{Frame: &driverpb.ExecResponse_Stdout{Stdout: p}})
}

func (o *execSender) stderr(p []byte) error {
	return o.send(&driverpb.ExecResponse{Frame: &driverpb.ExecResponse_Stderr{Stderr: p}})
}

func (o *execSender) consumed(n int) {
	_ = o.send(&driverpb.ExecResponse{Frame: &driverpb.ExecResponse_StdinConsumed{StdinConsumed: int64(n)}})
}
