// Package api serves sero.api.v1 with Connect: it translates between messages
// and the core's parts, and maps errors. It decides nothing.
package api

import (
	"context"
	"log/slog"
	"net/http"

	"connectrpc.com/connect"

	"github.com/sero-labs/sero-runtime/core/api/apipb/apipbconnect"
	"github.com/sero-labs/sero-runtime/core/devserver"
	"github.com/sero-labs/sero-runtime/core/egress"
	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/core/forward"
	"github.com/sero-labs/sero-runtime/core/image"
	"github.com/sero-labs/sero-runtime/core/preview"
	"github.com/sero-labs/sero-runtime/core/registry"
	"github.com/sero-labs/sero-runtime/core/terminal"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/internal/handover"
)

// maxRequest is the largest message that a client may send, in bytes.
const maxRequest = 4 << 20

// Parts are what the API is an interface to.
type Parts struct {
	Workspaces *workspace.Manager
	Terminals  *terminal.Service
	DevServers *devserver.Supervisor
	Previews   *preview.Gateway // nil: there are none
	Forwards   *forward.Service
	Drivers    *registry.Registry
	Images     *image.Images
	Egress     *egress.Service
	Events     *event.Bus
	Pipes      *handover.Receiver // for input and output
	Daemon     Daemon
	Log        *slog.Logger
	// Active is told of each call's begin (1) and end (-1).
	Active func(delta int)
	// Refusal is why nothing of a call's connection is served, or nil.
	Refusal func(context.Context) error
}

// Handler serves all services.
func Handler(p Parts) http.Handler {
	mux := http.NewServeMux()
	options := []connect.HandlerOption{
		connect.WithInterceptors(guard{active: p.Active, log: p.Log}),
		connect.WithReadMaxBytes(maxRequest),
		// Both ends are on one machine: compressing would only cost time.
		connect.WithCompression("gzip", nil, nil),
		jsonCodecs(),
	}
	workspaces := workspaceHandler{p.Workspaces, p.DevServers, p.Previews}
	mux.Handle(apipbconnect.NewWorkspaceServiceHandler(workspaces, options...))
	mux.Handle(apipbconnect.NewLifecycleServiceHandler(lifecycleHandler{workspaces}, options...))
	mux.Handle(apipbconnect.NewExecServiceHandler(execHandler{p.Workspaces, p.Terminals, p.Pipes}, options...))
	mux.Handle(apipbconnect.NewDevServerServiceHandler(devServerHandler{p.DevServers, p.Workspaces, p.Previews}, options...))
	mux.Handle(apipbconnect.NewPortServiceHandler(portHandler{p.Forwards}, options...))
	mux.Handle(apipbconnect.NewDriverServiceHandler(driverHandler{p.Drivers, p.Workspaces, p.DevServers}, options...))
	mux.Handle(apipbconnect.NewTerminalServiceHandler(terminalHandler{p.Terminals, p.Workspaces}, options...))
	mux.Handle(apipbconnect.NewTrustServiceHandler(trustHandler{p.Workspaces}, options...))
	mux.Handle(apipbconnect.NewMountServiceHandler(mountHandler{p.Workspaces}, options...))
	mux.Handle(apipbconnect.NewImageServiceHandler(imageHandler{p.Images}, options...))
	mux.Handle(apipbconnect.NewEgressServiceHandler(egressHandler{p.Egress, p.Workspaces}, options...))
	mux.Handle(apipbconnect.NewDaemonServiceHandler(daemonHandler{p}, options...))
	return refusing(p.Refusal, detailed(mux))
}

// refusing answers each call of a refused connection with the reason.
func refusing(refusal func(context.Context) error, next http.Handler) http.Handler {
	if refusal == nil {
		return next
	}
	errorWriter := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := refusal(r.Context()); err != nil {
			_ = errorWriter.Write(w, r, connectError(err)) // a client that is gone needs no answer
			return
		}
		next.ServeHTTP(w, r)
	})
}
