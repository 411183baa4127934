package wire

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/sero-labs/sero-runtime/internal/window"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/internal/driverpb"
)

// cancelMargin is how much longer than the kill grace a driver may take to
// confirm that a command is gone, before the stream is cut. Some drivers need
// processes of their own for it, which take their time on a busy machine.
const cancelMargin = 5 * time.Second

// exitMargin is how long after the exit a driver may take to end the stream.
const exitMargin = 2 * time.Second

var errUnconfirmed = driver.Errorf(driver.Timeout, "the driver has not confirmed that the command has ended")

// Exec runs one command. When ctx ends it asks the driver to end the command
// and returns once that is confirmed, or cancelMargin after the kill grace with
// an error that says so.
// A Read of stdio.Stdin may still be under way when Exec returns; it ends when
// the reader does.
func (c *Client) Exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	if err := c.gate(spec.Needs()...); err != nil {
		return driver.ExitStatus{}, err
	}
	if ctx.Err() != nil {
		return driver.ExitStatus{}, contextError(ctx)
	}
	sctx, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(errors.New("the command ended"))
	stream, err := c.rpc.Exec(sctx)
	if err != nil {
		return driver.ExitStatus{}, c.fail(ctx, err)
	}
	x := &execClient{stream: stream, stdio: stdio, window: window.New(driver.StdinWindow), cut: cut}
	x.lose = func(err error) {
		x.fail(err)
		go x.abandon(sctx, cut, spec.KillGrace)
	}
	if err := x.send(&driverpb.ExecRequest{Frame: &driverpb.ExecRequest_Start{Start: execToProto(spec)}}); err != nil {
		return driver.ExitStatus{}, c.fail(ctx, x.verdict(err))
	}
	// The caller's end, whatever brings it, asks for a cancel; the stream is cut
	// only when the driver does not confirm.
	stop := context.AfterFunc(ctx, func() { x.abandon(sctx, cut, spec.KillGrace) })
	defer stop()
	go x.pumpStdin(sctx)
	go x.pumpControl(sctx)

	status, err := x.receive()
	switch {
	case err == nil:
		return status, nil
	case x.failure() != nil:
		return driver.ExitStatus{}, confirmed(sctx, x.failure())
	case ctx.Err() != nil:
		return driver.ExitStatus{}, confirmed(sctx, contextError(ctx))
	default:
		return driver.ExitStatus{}, c.fail(sctx, err)
	}
}

// confirmed is err, which ended a command; it says more where the stream was cut
// without the driver's word that the command is gone.
func confirmed(sctx context.Context, err error) error {
	if !errors.Is(context.Cause(sctx), errUnconfirmed) {
		return err
	}
	e := *driver.AsError(err)
	e.Message, e.Err = e.Message+"; "+errUnconfirmed.Message, err
	return &e
}

// execClient is one Exec under way.
type execClient struct {
	stream grpc.BidiStreamingClient[driverpb.ExecRequest, driverpb.ExecResponse]
	stdio  driver.ExecIO
	window *window.Window
	lose   func(error) // the caller's side gave up
	cut    context.CancelCauseFunc

	mu      sync.Mutex // a stream takes one sender
	failMu  sync.Mutex
	failing error // why the caller's side gave up
}

func (x *execClient) send(req *driverpb.ExecRequest) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.stream.Send(req)
}

// verdict is the status behind an io.EOF of Send.
func (x *execClient) verdict(err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	for {
		if _, err := x.stream.Recv(); err != nil {
			return err
		}
	}
}

func (x *execClient) fail(err error) {
	x.failMu.Lock()
	defer x.failMu.Unlock()
	if x.failing == nil {
		x.failing = err
	}
}

func (x *execClient) failure() error {
	x.failMu.Lock()
	defer x.failMu.Unlock()
	return x.failing
}

// abandon asks the driver to end the command, and cuts the stream if it does
// not within grace and margin. It returns when the stream is over.
func (x *execClient) abandon(sctx context.Context, cut context.CancelCauseFunc, grace time.Duration) {
	go func() { // a Send may be stuck behind a driver that does not read
		_ = x.send(&driverpb.ExecRequest{Frame: &driverpb.ExecRequest_Cancel{Cancel: &driverpb.ExecCancel{}}})
	}()
	if grace <= 0 {
		grace = driver.DefaultKillGrace
	}
	timer := time.NewTimer(grace + cancelMargin)
	defer timer.Stop()
	select {
	case <-timer.C:
		cut(errUnconfirmed)
	case <-sctx.Done():
	}
}

func (x *execClient) pumpStdin(sctx context.Context) {
	if x.stdio.Stdin != nil {
		var sendErr error
		err := x.window.Copy(sctx, x.stdio.Stdin, func(p []byte) error {
			sendErr = x.send(&driverpb.ExecRequest{Frame: &driverpb.ExecRequest_Stdin{Stdin: p}})
			return sendErr
		})
		if err != nil {
			if sctx.Err() == nil && sendErr == nil { // else the stream is over, and receive knows why
				x.lose(driver.Errorf(driver.Canceled, "standard input failed: %w", err))
			}
			return
		}
	}
	_ = x.send(&driverpb.ExecRequest{Frame: &driverpb.ExecRequest_StdinClose{StdinClose: &driverpb.ExecStdinClose{}}})
}

func (x *execClient) pumpControl(sctx context.Context) {
	resize, signals := x.stdio.Resize, x.stdio.Signals
	for {
		var req *driverpb.ExecRequest
		select {
		case <-sctx.Done():
			return
		case size, ok := <-resize:
			if !ok {
				resize = nil
				continue
			}
			req = &driverpb.ExecRequest{Frame: &driverpb.ExecRequest_Resize{Resize: sizeToProto(size)}}
		case name, ok := <-signals:
			if !ok {
				signals = nil
				continue
			}
			req = &driverpb.ExecRequest{Frame: &driverpb.ExecRequest_Signal{Signal: name}}
		}
		if x.send(req) != nil {
			return
		}
	}
}

// receive takes frames until the exit and the end of the stream.
func (x *execClient) receive() (driver.ExitStatus, error) {
	var status *driver.ExitStatus
	started := false
	for {
		resp, err := x.stream.Recv()
		if errors.Is(err, io.EOF) && status != nil {
			return *status, nil
		}
		if errors.Is(err, io.EOF) {
			return driver.ExitStatus{}, driver.Errorf(driver.Internal, "the driver ended the stream without an exit")
		}
		if err != nil {
			return driver.ExitStatus{}, err
		}
		if status != nil {
			return driver.ExitStatus{}, driver.Errorf(driver.Internal, "the driver sent a frame after the exit")
		}
		if resp.GetFrame() == nil {
			continue // a frame from a newer driver
		}
		if !started && resp.GetStarted() == nil && resp.GetStdinConsumed() == 0 {
			return driver.ExitStatus{}, driver.Errorf(driver.Internal, "the driver sent a frame before started")
		}
		switch frame := resp.GetFrame().(type) {
		case *driverpb.ExecResponse_Started:
			started = true
			if x.stdio.Started != nil {
				x.stdio.Started(frame.Started.GetPid())
			}
		case *driverpb.ExecResponse_Exit:
			status = new(exitFromProto(frame.Exit))
			late := time.AfterFunc(exitMargin, func() {
				x.cut(driver.Errorf(driver.Internal, "the driver did not end the stream after the exit"))
			})
			defer late.Stop()
		default:
			if err := x.take(resp); err != nil {
				return driver.ExitStatus{}, err
			}
		}
	}
}

func (x *execClient) take(resp *driverpb.ExecResponse) error {
	var to io.Writer
	var data []byte
	switch frame := resp.GetFrame().(type) {
	case *driverpb.ExecResponse_Stdout:
		to, data = x.stdio.Stdout, frame.Stdout
	case *driverpb.ExecResponse_Stderr:
		to, data = x.stdio.Stderr, frame.Stderr
	case *driverpb.ExecResponse_StdinConsumed:
		x.window.Release(int(frame.StdinConsumed))
		return nil
	default:
		return nil
	}
	if len(data) > driver.MaxFrame {
		return driver.Errorf(driver.Internal, "the driver sent a frame of %d bytes, more than %d", len(data), driver.MaxFrame)
	}
	if to == nil || x.failure() != nil {
		return nil
	}
	if _, err := to.Write(data); err != nil {
		x.lose(driver.Errorf(driver.Canceled, "writing the command's output: %w", err))
	}
	return nil
}
