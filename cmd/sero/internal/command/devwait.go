package command

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/cmd/sero/internal/session"
	"github.com/sero-labs/sero-runtime/cmd/sero/internal/view"
	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

// unlessRunning makes a dev server that does not listen this command's failure,
// after it was shown.
func unlessRunning(s *apipb.DevServer, err error) error {
	switch {
	case err != nil:
		return err
	case s.GetStatus() == apipb.DevServerStatus_DEV_SERVER_STATUS_RUNNING:
		return nil
	case s.GetStatus() == apipb.DevServerStatus_DEV_SERVER_STATUS_STARTING:
		return &statusError{exitTimeout}
	default:
		return &statusError{exitFailure}
	}
}

// asks reports whether a dev server is the one that the flags and the command ask
// for.
func (f *startFlags) asks(command []string) func(*apipb.DevServer) bool {
	return func(s *apipb.DevServer) bool {
		switch {
		case f.name != "" && s.GetName() != f.name:
			return false
		case f.byName && s.GetName() == command[0]:
			return true
		}
		return slices.Equal(s.GetCommand(), command)
	}
}

// interruptedLimit bounds the look at the dev servers after a signal.
const interruptedLimit = 5 * time.Second

// sayIfInterrupted says what a signal to this command left running, and how to see
// and stop it. It looks, for the start may not have got so far.
func (a *app) sayIfInterrupted(ctx context.Context, c *daemonclient.Client, ref *apipb.WorkspaceRef, wanted func(*apipb.DevServer) bool) {
	if _, ok := errors.AsType[*session.Interrupted](context.Cause(ctx)); !ok {
		return
	}
	ctx, cancel := call(context.WithoutCancel(ctx), interruptedLimit)
	defer cancel()
	r, err := c.DevServers.ListDevServers(ctx, &apipb.ListDevServersRequest{Workspace: ref})
	for _, s := range slices.Backward(r.GetDevServers()) {
		if !wanted(s) {
			continue
		}
		a.view.Interrupted(s)
		return
	}
	list := []string{"sero", "dev", "ls"}
	if a.workspaceSet {
		list = append(list, "-w", a.workspace)
	}
	if err != nil {
		a.view.Notice("interrupted; the server may go on; to see it: " + view.Quote(list))
		return
	}
	a.view.Notice("interrupted before the server was started; to see what runs: " + view.Quote(list))
}
