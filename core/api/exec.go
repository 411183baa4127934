package api

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/terminal"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/internal/handover"
	"github.com/sero-labs/sero-runtime/internal/window"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

type execStream = connect.BidiStream[apipb.ExecRequest, apipb.ExecResponse]

// execHandler serves ExecService.
type execHandler struct {
	workspaces *workspace.Manager
	terminals  *terminal.Service
	pipes      *handover.Receiver
}

// Exec runs one command: frames in, the workspace's Exec, frames out. The
// command ends with the stream.
func (h execHandler) Exec(ctx context.Context, stream *execStream) error {
	first, err := stream.Receive()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	start := first.GetStart()
	if start == nil {
		return driver.Errorf(driver.InvalidArgument, "the first frame of Exec must be start")
	}
	options, err := execOptions(start)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := &execSender{stream: stream}
	defer out.end()
	in := &execReceiver{Feed: window.NewFeed(out.consumed), cancel: cancel, detach: make(chan struct{})}
	defer in.Close()
	go in.run(stream) // ends with the stream, which ends when Exec returns

	if start.GetSession() != nil {
		return h.view(ctx, start, options, in, out)
	}
	stdio := in.IO()
	stdio.Stdout, stdio.Stderr = outWriter(out.stdout), outWriter(out.stderr)
	if name := start.GetInput(); name != "" {
		pipe, err := h.pipe("input", name, handover.ReadEnd, options)
		if err != nil {
			return err
		}
		defer pipe.Close() // for who still reads from it
		stdio.Stdin = io.MultiReader(pipe, in.Stdin)
	}
	if name := start.GetOutput(); name != "" {
		pipe, err := h.pipe("output", name, handover.WriteEnd, options)
		if err != nil {
			return err
		}
		defer pipe.Close()
		// A caller that is gone takes nothing, and must not be waited for.
		defer context.AfterFunc(ctx, func() { _ = pipe.SetWriteDeadline(time.Now()) })()
		stdio.Stdout = pipe
		result, err := h.workspaces.Exec(ctx, options, stdio, out.started, out.progress)
		_ = pipe.Close() // all is in it before the exit is sent
		return out.exit(result, err)
	}
	return out.exit(h.workspaces.Exec(ctx, options, stdio, out.started, out.progress))
}

// pipe is what a client has handed over for a field of its start frame.
func (h execHandler) pipe(field, name string, end handover.End, options workspace.ExecOptions) (*os.File, error) {
	if options.Terminal != nil {
		return nil, &driver.Error{Reason: driver.InvalidArgument, Field: field, Message: "what a terminal takes and gives comes in frames"}
	}
	pipe := h.pipes.Take(name, end)
	if pipe == nil {
		return nil, &driver.Error{Reason: driver.InvalidArgument, Field: field, Message: "no such end of a pipe was handed over under this name"}
	}
	return pipe, nil
}

// exit sends how the command ended, unless it failed.
func (o *execSender) exit(result workspace.ExecResult, err error) error {
	if err != nil {
		return err
	}
	return o.send(&apipb.ExecResponse{Frame: &apipb.ExecResponse_Exit{Exit: &apipb.ExecExit{
		Code: int32(result.Code), Signal: result.Signal, TimedOut: result.TimedOut, OutOfMemory: result.OutOfMemory,
	}}})
}

func execOptions(s *apipb.ExecStart) (workspace.ExecOptions, error) {
	timeout, err := duration("timeout_ms", s.GetTimeoutMs())
	o := workspace.ExecOptions{
		Ref:        ref(s.GetWorkspace()),
		Argv:       s.GetArgv(),
		Env:        envVars(s.GetEnv()),
		Caller:     envVars(s.GetCaller()),
		Dir:        s.GetDir(),
		User:       s.GetUser(),
		Timeout:    timeout,
		LoginShell: s.GetLoginShell(),
		Driver:     s.GetDriver(),
	}
	if size := s.GetTerminal(); size != nil {
		o.Terminal = new(terminalSize(size))
	}
	return o, err
}

func terminalSize(p *apipb.TerminalSize) driver.TerminalSize {
	return driver.TerminalSize{Rows: uint16(min(p.GetRows(), 0xffff)), Cols: uint16(min(p.GetCols(), 0xffff))}
}

// execReceiver takes the frames of the caller, until the stream ends.
type execReceiver struct {
	*window.Feed
	cancel context.CancelCauseFunc
	detach chan struct{} // closed when the caller leaves a session
}

func (r *execReceiver) run(stream *execStream) {
	for {
		req, err := stream.Receive()
		if errors.Is(err, io.EOF) { // it sends no more; only stdin_close ends input
			return
		}
		if err != nil {
			e := asError(err)
			if e.Reason != driver.InvalidArgument {
				e = driver.Errorf(driver.Canceled, "the caller is gone")
			}
			r.cancel(e)
			return
		}
		if err := r.take(req); err != nil {
			r.cancel(err)
		}
	}
}

func (r *execReceiver) take(req *apipb.ExecRequest) error {
	switch frame := req.GetFrame().(type) {
	case *apipb.ExecRequest_Stdin:
		return r.Input(frame.Stdin)
	case *apipb.ExecRequest_StdinClose:
		r.EndInput()
	case *apipb.ExecRequest_Resize:
		r.Resize(terminalSize(frame.Resize))
	case *apipb.ExecRequest_Signal:
		r.Signal(frame.Signal)
	case *apipb.ExecRequest_Detach:
		select {
		case <-r.detach:
		default:
			close(r.detach)
		}
	}
	return nil
}

// execSender sends frames one at a time, for a stream takes only one sender.
type execSender struct {
	mu     sync.Mutex
	stream *execStream
	over   bool // the exit is sent, or an error will be
}

func (o *execSender) send(resp *apipb.ExecResponse) error {
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

func (o *execSender) progress(p driver.Progress) {
	_ = o.send(&apipb.ExecResponse{Frame: &apipb.ExecResponse_Progress{Progress: progress(p)}})
}

func (o *execSender) started(w workspace.Workspace, dir string, pid int64) {
	_ = o.send(&apipb.ExecResponse{Frame: &apipb.ExecResponse_Started{Started: &apipb.ExecStarted{
		WorkspaceId: w.ID, Driver: choice(w.Choice), Pid: pid, Dir: valid(dir), FirstOnHost: w.FirstOnHost,
	}}})
}

func (o *execSender) stdout(p []byte) error {
	return o.send(&apipb.ExecResponse{Frame: &apipb.ExecResponse_Stdout{Stdout: p}})
}

func (o *execSender) stderr(p []byte) error {
	return o.send(&apipb.ExecResponse{Frame: &apipb.ExecResponse_Stderr{Stderr: p}})
}

func (o *execSender) consumed(n int) {
	_ = o.send(&apipb.ExecResponse{Frame: &apipb.ExecResponse_StdinConsumed{StdinConsumed: int64(n)}})
}

// outWriter sends what is written; the driver's frames are small enough already.
type outWriter func([]byte) error

// Write sends p as one frame.
func (w outWriter) Write(p []byte) (int, error) {
	if err := w(p); err != nil {
		return 0, err
	}
	return len(p), nil
}
