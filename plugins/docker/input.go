package docker

import (
	"context"
	_ "embed" // for the scripts
	"errors"
	"io"
	"log/slog"
	"strconv"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

//go:embed end.sh
var endScript string

//go:embed signal.sh
var signalScript string

// write passes the caller's input on.
func (c *command) write(stdin io.Reader) {
	buf := make([]byte, driver.MaxFrame)
	for {
		n, err := stdin.Read(buf)
		if n > 0 {
			if _, werr := c.stream.Conn.Write(buf[:n]); werr != nil {
				return // the command has ended, or the engine has
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			c.endInput()
			return
		case err != nil:
			c.lose(err)
			return
		}
	}
}

// endInput ends the command's input; on a terminal as a person does.
func (c *command) endInput() {
	if c.spec.Terminal != nil {
		_, _ = c.stream.Conn.Write([]byte{4}) // fails when the command has ended
		return
	}
	_ = c.stream.CloseWrite()
}

// obey takes sizes and signals from the caller until it has left.
func (c *command) obey(ctx context.Context, stdio driver.ExecIO, left <-chan struct{}) {
	if c.spec.Terminal != nil {
		c.resize(ctx, *c.spec.Terminal)
	}
	resize, signals := stdio.Resize, stdio.Signals
	for {
		select {
		case <-left:
			return
		case <-c.done:
			return
		case size, open := <-resize:
			if !open {
				resize = nil
			} else if c.spec.Terminal != nil {
				c.resize(ctx, size)
			}
		case name, open := <-signals:
			if !open {
				signals = nil
			} else {
				c.signal(ctx, name)
			}
		}
	}
}

func (c *command) resize(ctx context.Context, size driver.TerminalSize) {
	size = usable(size)
	err := do(ctx, c.d, readLimit, func(ctx context.Context, api *connection) error {
		_, err := api.ExecResize(ctx, c.exec, client.ExecResizeOptions{Height: uint(size.Rows), Width: uint(size.Cols)})
		return err
	})
	if err != nil {
		slog.Debug("a terminal could not be resized", "error", err)
	}
}

func (c *command) signal(ctx context.Context, name string) {
	if _, known := driver.SignalNumber(name); !known {
		slog.Warn("there is no such signal", "signal", name)
		return
	}
	if err := c.d.control(ctx, c.container, "0", startLimit, io.Discard, signalScript, c.leader, name[len("SIG"):]); err != nil {
		slog.Debug("a signal could not be sent", "signal", name, "error", err)
	}
}

// abandonPatience is how long a call waits for the last output of a command that
// was ended.
const abandonPatience = 500 * time.Millisecond

// abandon is the end of a call whose caller is gone; it returns err. The command
// and all that it started are ended, unless it is to go on.
func (c *command) abandon(err error) error {
	if c.spec.Detach {
		return err
	}
	grace := c.spec.KillGrace
	if grace <= 0 {
		grace = driver.DefaultKillGrace
	}
	leader := "none"
	if isClosed(c.began) {
		leader = c.leader
	}
	// The caller's context has ended; the limit bounds this.
	if failed := c.d.endCommand(context.Background(), c.container, c.spec.User, leader, c.mark, grace); failed != nil {
		slog.Error("a command could not be ended", "exec", c.spec.ExecID, "error", failed)
	}
	select {
	case <-c.done:
	case <-time.After(abandonPatience):
	}
	return err
}

// endAll ends everything in a container but its main process.
func (d *Driver) endAll(ctx context.Context, container string, grace time.Duration) error {
	return d.endProcesses(ctx, container, "0", "all", "none", grace)
}

// endStep is the time between two looks of end.sh.
const endStep = 50 * time.Millisecond

func (d *Driver) endProcesses(ctx context.Context, container, user, leader, mark string, grace time.Duration) error {
	return d.control(ctx, container, user, grace+startLimit, io.Discard, endScript, leader, mark, strconv.Itoa(int(grace/endStep)))
}

// control runs one of the driver's own scripts in a container and waits for its
// end; out gets what it says.
func (d *Driver) control(ctx context.Context, container, user string, limit time.Duration, out io.Writer, script string, args ...string) error {
	return do(ctx, d, limit, func(ctx context.Context, c *connection) error {
		made, err := c.ExecCreate(ctx, container, client.ExecCreateOptions{
			User: user, WorkingDir: "/", AttachStdout: true, AttachStderr: true,
			Env: []string{scriptEnv + "=" + script},
			Cmd: append([]string{"sh", "-c", runScript, "sero-control"}, args...),
		})
		if err != nil {
			return err
		}
		stream, err := c.ExecAttach(ctx, made.ID, client.ExecAttachOptions{})
		if err != nil {
			return err
		}
		defer stream.Close()
		defer context.AfterFunc(ctx, stream.Close)()
		_, err = stdcopy.StdCopy(out, io.Discard, stream.Reader)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	})
}
