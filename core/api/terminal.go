package api

import (
	"context"
	"errors"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/core/terminal"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// terminalHandler serves TerminalService.
type terminalHandler struct {
	terminals  *terminal.Service
	workspaces *workspace.Manager
}

// ListTerminals lists the open terminals.
func (h terminalHandler) ListTerminals(ctx context.Context, r *apipb.ListTerminalsRequest) (*apipb.ListTerminalsResponse, error) {
	id := ""
	if r.GetWorkspace() != nil {
		var err error
		if id, err = h.workspaces.ID(ref(r.GetWorkspace())); err != nil {
			return nil, err
		}
	}
	out := &apipb.ListTerminalsResponse{}
	for _, t := range h.terminals.List(ctx, id) {
		out.Terminals = append(out.Terminals, h.message(t))
	}
	return out, nil
}

// KillTerminal ends one.
func (h terminalHandler) KillTerminal(ctx context.Context, r *apipb.KillTerminalRequest) (*apipb.KillTerminalResponse, error) {
	t, err := h.terminals.Kill(ctx, ref(r.GetWorkspace()), r.GetId())
	if err != nil {
		return nil, err
	}
	return &apipb.KillTerminalResponse{Terminal: h.message(t)}, nil
}

func (h terminalHandler) message(t terminal.Terminal) *apipb.Terminal {
	runsIn := h.workspaces.Choice(t.WorkspaceID)
	return &apipb.Terminal{
		Id: t.ID, WorkspaceId: t.WorkspaceID, Title: valid(t.Title), Started: timestamp(t.Started),
		Viewers: int32(t.Viewers), Written: t.Written, Isolation: isolation(runsIn), HostMode: runsIn.HostMode,
	}
}

// view opens a terminal or looks at one, until it ends or the viewer leaves.
func (h execHandler) view(ctx context.Context, start *apipb.ExecStart, options workspace.ExecOptions, in *execReceiver, out *execSender) error {
	if options.Terminal == nil {
		return driver.Errorf(driver.InvalidArgument, "a session needs a terminal")
	}
	asked, id := start.GetSession(), ""
	stdio := in.IO()
	v := terminal.Viewer{
		Size: *options.Terminal, ReadOnly: asked.GetReadOnly(), TakeOver: asked.GetTakeOver(),
		Stdin: stdio.Stdin, Resize: stdio.Resize, Stdout: outWriter(out.stdout), Detach: in.detach,
		Opened: out.started, Progress: out.progress,
		Attached: func(now string, writes bool) {
			id = now
			runsIn := h.choice(options.Ref)
			out.attached(&apipb.ExecAttached{Id: now, Writes: writes, Isolation: isolation(runsIn), HostMode: runsIn.HostMode})
		},
	}
	var result workspace.ExecResult
	var err error
	if asked.GetAttach() {
		result, err = h.terminals.View(ctx, options.Ref, asked.GetId(), v)
	} else {
		result, err = h.terminals.Open(ctx, options, v)
	}
	if errors.Is(err, terminal.ErrDetached) {
		out.attached(&apipb.ExecAttached{Id: id, Detached: true})
		return nil
	}
	return out.exit(result, err)
}

// choice is the driver of the workspace that a Ref leads to.
func (h execHandler) choice(r workspace.Ref) negotiate.Choice {
	id, err := h.workspaces.ID(r)
	if err != nil {
		return negotiate.Choice{}
	}
	return h.workspaces.Choice(id)
}

func (o *execSender) attached(a *apipb.ExecAttached) {
	_ = o.send(&apipb.ExecResponse{Frame: &apipb.ExecResponse_Attached{Attached: a}})
}
