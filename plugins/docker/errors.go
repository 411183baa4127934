package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// explain turns what a call failed with into an error of the protocol. caller is
// the context of who called, bounded the call's own.
func (e *engine) explain(caller, bounded context.Context, c *connection, err error) error {
	if already, ok := errors.AsType[*driver.Error](err); ok {
		return already
	}
	switch {
	case caller.Err() != nil:
		return ctxError(caller)
	case errors.Is(context.Cause(bounded), errWedged):
		e.drop(c)
		return wedged(c.at)
	case bounded.Err() != nil:
		slow := driver.Errorf(driver.Timeout, "the engine at %s takes too long to answer", c.at.host).About(c.at.host)
		slow.Retryable, slow.Err = true, err
		return slow.Remedy("see whether the engine works", "sero", "doctor")
	case isGone(err):
		e.drop(c)
		gone := notRunning("the engine at " + c.at.host + " has gone away")
		gone.Resource, gone.Err = c.at.host, err
		return gone
	}
	reason := reasonOf(err)
	return &driver.Error{Reason: reason, Message: oneLine(err), Err: err, Remedies: remedies[reason]}
}

func wedged(at endpoint) *driver.Error {
	e := driver.Errorf(driver.EngineWedged, "the engine at %s does not answer", at.host).About(at.host)
	e.Retryable = true
	return e.Remedy("restart the engine, which also stops the containers of others on it: systemctl restart docker, or Docker Desktop's own menu")
}

// dialError is why there is no connection with an engine.
func dialError(ctx context.Context, at endpoint, err error) error {
	switch {
	case errors.Is(context.Cause(ctx), errWedged):
		return wedged(at)
	case ctx.Err() != nil:
		return ctxError(ctx)
	case errors.Is(err, os.ErrPermission):
		e := driver.Errorf(driver.PermissionDenied, "this user may not use the engine at %s (from %s)", at.host, at.source).About(at.host)
		e.Err = err
		return e.Remedy("join the group of its socket, and log in again", "sudo", "usermod", "-aG", "docker", os.Getenv("USER"))
	}
	e := notRunning(fmt.Sprintf("no engine answers at %s (from %s)", at.host, at.source))
	e.Resource, e.Err = at.host, err
	return e
}

// isGone tells whether the connection itself has failed.
func isGone(err error) bool {
	if client.IsErrConnectionFailed(err) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return true
	}
	for _, errno := range []syscall.Errno{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, syscall.ENOENT} {
		if errors.Is(err, errno) {
			return true
		}
	}
	_, network := errors.AsType[*net.OpError](err)
	return network
}

// reasonOf classifies an engine's answer by its HTTP status.
func reasonOf(err error) driver.Reason {
	switch {
	case errdefs.IsNotFound(err):
		return driver.NotFound
	case errdefs.IsConflict(err):
		return driver.AlreadyExists
	case errdefs.IsInvalidArgument(err):
		return driver.InvalidArgument
	case errdefs.IsPermissionDenied(err), errdefs.IsUnauthorized(err):
		return driver.PermissionDenied
	case errdefs.IsNotImplemented(err):
		return driver.Unsupported
	case errdefs.IsUnavailable(err):
		return driver.EngineNotRunning
	}
	return reasonOfText(oneLine(err))
}

// texts are what an engine's status 500 is about, for which there is nothing
// else to read. They come from the system, not from the engine.
var texts = []struct {
	text   string
	reason driver.Reason
}{
	{"no space left on device", driver.OutOfDisk},
	{"disk quota exceeded", driver.OutOfDisk},
	{"cannot allocate memory", driver.OutOfMemory},
	{"address already in use", driver.PortInUse},
	{"port is already allocated", driver.PortInUse},
}

func reasonOfText(text string) driver.Reason {
	for _, known := range texts {
		if strings.Contains(text, known.text) {
			return known.reason
		}
	}
	return driver.Internal
}

var remedies = map[driver.Reason][]driver.Remedy{
	driver.OutOfDisk:   {{Text: "see what the engine keeps", Command: []string{"docker", "system", "df"}}},
	driver.OutOfMemory: {{Text: "lower the memory limit, or stop something"}},
	driver.PortInUse:   {{Text: "publish another port, or let one be chosen"}},
}

// oneLine is an engine's message for people.
func oneLine(err error) string {
	text := strings.TrimPrefix(err.Error(), "Error response from daemon: ")
	return strings.Join(strings.Fields(text), " ")
}
