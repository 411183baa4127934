package guest

import (
	"context"
	"errors"
	"io"
	"math"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/core/guest/frame"
	"github.com/sero-labs/sero-runtime/core/guest/mux"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Keep says what is kept of a detached command.
type Keep struct {
	Bytes int    // of its last output, shown to whoever attaches; 0: it is no session
	Label string // given back by Sessions
}

// exec runs a command in the helper.
func (l *link) exec(ctx context.Context, spec driver.ExecSpec, keep Keep, stdio driver.ExecIO) (driver.ExitStatus, error) {
	grace := spec.KillGrace
	if grace <= 0 {
		grace = driver.DefaultKillGrace
	}
	e := &frame.Exec{
		Argv: spec.Argv, Dir: spec.Dir, User: spec.User, Detach: spec.Detach, ExecID: spec.ExecID,
		KillGraceMS: uint64(grace.Milliseconds()), Stdin: stdio.Stdin != nil, Keep: uint64(keep.Bytes), Label: keep.Label,
	}
	size := len(spec.Dir) + len(spec.User) + len(keep.Label)
	for _, v := range spec.Env {
		e.Env = append(e.Env, v.Name+"="+v.Value)
		size += len(v.Name) + len(v.Value) + 16
	}
	for _, arg := range spec.Argv {
		size += len(arg) + 16
	}
	if size > frame.MaxFrame-1024 {
		return driver.ExitStatus{}, driver.Errorf(driver.InvalidArgument, "the arguments and environment are too long")
	}
	if t := spec.Terminal; t != nil {
		e.Terminal = &frame.Size{Rows: uint32(t.Rows), Cols: uint32(t.Cols)}
	}
	s, err := l.open(ctx, &frame.Open{Exec: e})
	if err != nil {
		return driver.ExitStatus{}, &lost{link: l, err: errGone(err)}
	}
	c := &call{link: l, stream: s, stdio: stdio, detached: spec.Detach, grace: grace, limit: openLimit}
	status, err := c.run(ctx)
	if err != nil && !c.started && ctx.Err() == nil && !l.alive() {
		return status, &lost{link: l, stream: s.ID(), err: err}
	}
	return status, err
}

// call is a command in the helper that the core is connected with.
type call struct {
	link     *link
	stream   *mux.Stream
	stdio    driver.ExecIO
	detached bool
	grace    time.Duration
	limit    time.Duration // for its start
	skipped  func(int64)   // as in Attach
	started  bool
	left     sync.Once
}

// run carries the command's input and output until its end, or the caller's.
func (c *call) run(ctx context.Context) (driver.ExitStatus, error) {
	defer c.stream.Forget()
	life, end := context.WithCancelCause(ctx)
	defer end(nil)
	if c.stdio.Resize != nil || c.stdio.Signals != nil {
		go c.forward(life) // ends with life
	}
	// Also while the caller does not take the output.
	defer context.AfterFunc(life, func() { _ = c.leave() })()
	timer := time.AfterFunc(c.limit, func() {
		end(driver.Errorf(driver.Timeout, "the guest helper did not start the command in %s", c.limit))
	})
	defer timer.Stop()
	for {
		f, err := c.stream.Next(life)
		if life.Err() != nil {
			return driver.ExitStatus{}, c.abandon(context.Cause(life))
		}
		if err != nil {
			return driver.ExitStatus{}, c.errGone(err)
		}
		switch {
		case f.Started != nil && !c.started:
			c.started = true
			timer.Stop()
			if c.skipped != nil {
				c.skipped(int64(min(f.Started.Skipped, math.MaxInt64)))
			}
			c.begin(life, end, int64(f.Started.PID))
		case f.Exit != nil:
			return exitStatus(f.Exit), nil
		case f.Error != nil:
			return driver.ExitStatus{}, asError(f.Error)
		default:
			if err := c.deliver(life, f); err != nil {
				return driver.ExitStatus{}, c.abandon(err)
			}
		}
	}
}

// errGone is why a command is lost. One of which it is not known that it has begun
// is not to be run again just so.
func (c *call) errGone(cause error) error {
	err := errGone(cause)
	if e, ok := errors.AsType[*driver.Error](err); ok && !c.started {
		e.Message += "; the command may have begun"
		e.Retryable = false
	}
	return err
}

func (c *call) begin(ctx context.Context, end context.CancelCauseFunc, pid int64) {
	if c.stdio.Started != nil {
		c.stdio.Started(max(0, pid))
	}
	if c.stdio.Stdin == nil {
		return
	}
	go func() { // ends when the caller's reader returns
		readErr, sendErr := c.stream.Copy(ctx, c.stdio.Stdin)
		switch {
		case sendErr != nil: // seen by run, too
		case errors.Is(readErr, io.EOF):
			_ = c.stream.Send(ctx, &frame.Frame{End: true})
		default:
			end(errCallerLost(readErr))
		}
	}()
}

func errCallerLost(err error) error {
	return &driver.Error{Reason: driver.Canceled, Message: "the caller of the command is lost", Err: err}
}

// deliver gives output to the caller.
func (c *call) deliver(ctx context.Context, f *frame.Frame) error {
	to, data := c.stdio.Stdout, f.Data
	if len(f.ErrorData) > 0 {
		to, data = c.stdio.Stderr, f.ErrorData
	}
	if len(data) > 0 && to != nil && c.started {
		if _, err := to.Write(data); err != nil {
			return errCallerLost(err)
		}
	}
	_ = c.stream.Took(ctx, f) // a broken connection is seen by Next
	return nil
}

// forward passes on signals and sizes.
func (c *call) forward(ctx context.Context) {
	resize, signals := c.stdio.Resize, c.stdio.Signals
	for {
		select {
		case size, open := <-resize:
			if !open {
				resize = nil
				continue
			}
			_ = c.stream.Send(ctx, &frame.Frame{Resize: &frame.Size{Rows: uint32(size.Rows), Cols: uint32(size.Cols)}})
		case name, open := <-signals:
			if !open {
				signals = nil
				continue
			}
			_ = c.stream.Send(ctx, &frame.Frame{Signal: name})
		case <-ctx.Done():
			return
		}
	}
}

// endPatience is how long the end of a command may take beyond its grace.
const endPatience = 6 * time.Second

var errSlowEnd = errors.New("the command did not end in time")

// leave tells the helper that the caller wants no more.
func (c *call) leave() (err error) {
	c.left.Do(func() {
		ctx, cancel := context.WithTimeoutCause(context.Background(), endPatience, errSlowEnd)
		defer cancel()
		err = c.stream.Send(ctx, &frame.Frame{Reset: true})
	})
	return err
}

// abandon is the end of a call whose caller is gone or has given up. It waits
// until the command and all that it started have ended, unless it is to go on,
// still delivers what comes, and returns why as an error.
func (c *call) abandon(why error) error {
	why = driver.AsError(why)
	ctx, cancel := context.WithTimeoutCause(context.Background(), c.grace+endPatience, errSlowEnd)
	defer cancel()
	if c.leave() != nil || c.detached {
		return why
	}
	for {
		f, err := c.stream.Next(ctx)
		if err != nil || f.Exit != nil || f.Error != nil {
			return why
		}
		if c.deliver(ctx, f) != nil {
			c.stdio.Stdout, c.stdio.Stderr = nil, nil
		}
	}
}

func exitStatus(e *frame.Exit) driver.ExitStatus {
	if _, known := driver.SignalNumber(e.Signal); known {
		return driver.ExitStatus{Signal: e.Signal, OutOfMemory: e.OutOfMemory}
	}
	if e.Signal != "" { // a real-time one, or nonsense
		return driver.ExitStatus{Signal: line(e.Signal, 16)}
	}
	return driver.ExitStatus{Code: int(min(e.Code, 255)), OutOfMemory: e.OutOfMemory}
}

// helperReasons are those that a helper may give. Others say more of the
// sandbox or the driver than it can know.
var helperReasons = map[driver.Reason]bool{
	driver.CommandNotFound: true, driver.CommandNotExecutable: true, driver.NotFound: true, driver.InvalidArgument: true,
	driver.PermissionDenied: true, driver.OutOfMemory: true, driver.Canceled: true, driver.Unsupported: true,
	driver.PortInUse: true, driver.AlreadyExists: true, driver.Timeout: true,
}

func asError(e *frame.Error) *driver.Error {
	out := &driver.Error{
		Reason: driver.Reason(e.Reason), Message: line(e.Message, 1024), Resource: line(e.Resource, 1024), Field: line(e.Field, 64),
	}
	if !helperReasons[out.Reason] {
		out.Reason = driver.Internal
	}
	if out.Message == "" {
		out.Message = "the guest helper failed without saying why"
	}
	if out.Reason == driver.CommandNotFound {
		return out.Remedy("install it, or add its directory to PATH")
	}
	return out
}
