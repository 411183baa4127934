package api

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func ref(p *apipb.WorkspaceRef) workspace.Ref {
	return workspace.Ref{ID: p.GetId(), Dir: p.GetDirectory()}
}

// envVars are the variables of one call. They count as secrets, for nobody has
// said that they are none.
func envVars(ps []*apipb.EnvVar) []driver.EnvVar {
	var out []driver.EnvVar
	for _, p := range ps {
		out = append(out, driver.EnvVar{Name: p.GetName(), Value: p.GetValue(), Secret: true})
	}
	return out
}

// longest is more than any wait that is meant, and small enough that sums of
// durations cannot wrap around.
const longest = 10 * 365 * 24 * time.Hour

// duration is a request's number of milliseconds, or InvalidArgument.
func duration(field string, ms int64) (time.Duration, error) {
	if ms < 0 || ms > longest.Milliseconds() {
		return 0, &driver.Error{
			Reason: driver.InvalidArgument, Field: field,
			Message:  fmt.Sprintf("%d ms is not a time to wait: it is negative or longer than ten years", ms),
			Remedies: []driver.Remedy{{Text: "give a positive time, or 0 for the usual one"}},
		}
	}
	return time.Duration(ms) * time.Millisecond, nil
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func progress(p driver.Progress) *apipb.Progress {
	return &apipb.Progress{
		Phase: valid(p.Phase), Message: valid(p.Message), Current: p.Current, Total: p.Total, Unit: valid(p.Unit),
	}
}

func remedies(rs []driver.Remedy) []*apipb.Remedy {
	var out []*apipb.Remedy
	for _, r := range rs {
		remedy := &apipb.Remedy{Text: valid(r.Text)}
		for _, word := range r.Command {
			remedy.Command = append(remedy.Command, valid(word))
		}
		out = append(out, remedy)
	}
	return out
}

func capabilities(cs []driver.Capability) []string {
	var out []string
	for _, c := range cs {
		out = append(out, valid(string(c)))
	}
	return out
}

func choice(c negotiate.Choice) *apipb.DriverChoice {
	out := &apipb.DriverChoice{
		Desired: c.Desired, Actual: c.Actual, Reason: valid(c.Reason), HostMode: c.HostMode,
		Reduced: capabilities(c.Reduced), Remedies: remedies(c.Remedies),
	}
	out.Isolation = isolation(c)
	for _, r := range c.Rejected {
		out.Rejected = append(out.Rejected, &apipb.DriverRejection{
			Driver: r.Driver, Reason: string(r.Reason), Message: valid(r.Message), Remedies: remedies(r.Remedies),
		})
	}
	return out
}

// isolation is that of a choice, or empty where it is not known.
func isolation(c negotiate.Choice) string {
	if c.Actual == "" || c.Isolation == 0 {
		return ""
	}
	return c.Isolation.String()
}

// workspaceStates pairs the two spellings.
var workspaceStates = map[workspace.State]apipb.WorkspaceState{
	workspace.StateStopped:          apipb.WorkspaceState_WORKSPACE_STATE_STOPPED,
	workspace.StateStarting:         apipb.WorkspaceState_WORKSPACE_STATE_STARTING,
	workspace.StateRunning:          apipb.WorkspaceState_WORKSPACE_STATE_RUNNING,
	workspace.StateStopping:         apipb.WorkspaceState_WORKSPACE_STATE_STOPPING,
	workspace.StateBroken:           apipb.WorkspaceState_WORKSPACE_STATE_BROKEN,
	workspace.StateDirectoryMissing: apipb.WorkspaceState_WORKSPACE_STATE_DIRECTORY_MISSING,
	workspace.StatePaused:           apipb.WorkspaceState_WORKSPACE_STATE_PAUSED,
}

func workspaceMessage(w workspace.Workspace) *apipb.Workspace {
	out := &apipb.Workspace{
		Id: w.ID, Directory: valid(w.Directory), State: workspaceStates[w.State], StateMessage: valid(w.StateMessage),
		Driver: choice(w.Choice), SandboxId: w.SandboxID, SandboxDirectory: valid(w.SandboxDir), Image: valid(w.Image),
		Created: timestamp(w.Created), Capabilities: capabilities(w.Capabilities), Drift: drift(w.Drift), Guest: valid(w.Guest), User: valid(w.User),
	}
	for _, warning := range w.Warnings {
		out.Warnings = append(out.Warnings, valid(warning))
	}
	return out
}

func drift(ds []workspace.Drift) []*apipb.Drift {
	var out []*apipb.Drift
	for _, d := range ds {
		out = append(out, &apipb.Drift{Part: d.Part, Message: valid(d.Message)})
	}
	return out
}
