package view

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// The shapes of the JSON output. Lists are never null; a text that is not known
// is left out.

type errorJSON struct {
	Reason    driver.Reason `json:"reason"`
	Message   string        `json:"message"`
	Driver    string        `json:"driver,omitempty"`
	Resource  string        `json:"resource,omitempty"`
	Field     string        `json:"field,omitempty"`
	Retryable bool          `json:"retryable"`
	Remedies  []remedyJSON  `json:"remedies"`
}

type remedyJSON struct {
	Text    string   `json:"text"`
	Command []string `json:"command"`
}

type workspaceJSON struct {
	ID               string          `json:"id"`
	Directory        string          `json:"directory"`
	State            string          `json:"state"`
	StateMessage     string          `json:"stateMessage,omitempty"`
	Driver           choiceJSON      `json:"driver"`
	SandboxID        string          `json:"sandboxId,omitempty"`
	SandboxDirectory string          `json:"sandboxDirectory,omitempty"`
	Image            string          `json:"image,omitempty"`
	Guest            string          `json:"guest,omitempty"`
	User             string          `json:"user,omitempty"`
	DevServers       []devServerJSON `json:"devServers"`
	Warnings         []string        `json:"warnings"`
	Capabilities     []string        `json:"capabilities"`
	Created          *time.Time      `json:"created,omitempty"`
	Drift            []driftJSON     `json:"drift"`
}

type choiceJSON struct {
	Desired   string          `json:"desired,omitempty"`
	Actual    string          `json:"actual,omitempty"`
	Isolation string          `json:"isolation,omitempty"`
	Reason    string          `json:"reason,omitempty"`
	HostMode  bool            `json:"hostMode"`
	Reduced   []string        `json:"reduced"`
	Rejected  []rejectionJSON `json:"rejected"`
	Remedies  []remedyJSON    `json:"remedies"`
}

type rejectionJSON struct {
	Driver   string       `json:"driver"`
	Reason   string       `json:"reason"`
	Message  string       `json:"message"`
	Remedies []remedyJSON `json:"remedies"`
}

type devServerJSON struct {
	ID            string     `json:"id"`
	UID           string     `json:"uid,omitempty"`
	WorkspaceID   string     `json:"workspaceId"`
	Scope         string     `json:"scope"`
	CardID        string     `json:"cardId"`
	Port          uint32     `json:"port"`
	Name          string     `json:"name"`
	Command       []string   `json:"command"`
	Dir           string     `json:"dir,omitempty"`
	URL           string     `json:"url,omitempty"`
	Status        string     `json:"status"`
	StatusMessage string     `json:"statusMessage,omitempty"`
	PID           int64      `json:"pid,omitempty"`
	Started       *time.Time `json:"started,omitempty"`
	LogTail       []string   `json:"logTail"`
	Detected      bool       `json:"detected"`
	PreviewURL    string     `json:"previewUrl,omitempty"`
	Isolation     string     `json:"isolation,omitempty"`
	HostMode      bool       `json:"hostMode,omitempty"`
	ParentUID     string     `json:"parentUid,omitempty"`
}

type driverJSON struct {
	Name         string            `json:"name"`
	Path         string            `json:"path,omitempty"`
	Origin       string            `json:"origin"`
	Usable       bool              `json:"usable"`
	State        string            `json:"state"`
	Problem      string            `json:"problem,omitempty"`
	Reason       string            `json:"reason,omitempty"`
	Remedies     []remedyJSON      `json:"remedies"`
	Version      string            `json:"version,omitempty"`
	SDKVersion   string            `json:"sdkVersion,omitempty"`
	Description  string            `json:"description,omitempty"`
	Isolation    string            `json:"isolation,omitempty"`
	Capabilities []string          `json:"capabilities"`
	Attributes   map[string]string `json:"attributes"`
	PID          int64             `json:"pid,omitempty"`
	Restarts     int64             `json:"restarts"`
	Overrides    string            `json:"overrides,omitempty"`
}

type checkJSON struct {
	Name     string       `json:"name"`
	Verdict  string       `json:"verdict"`
	Message  string       `json:"message"`
	Remedies []remedyJSON `json:"remedies"`
}

type eventJSON struct {
	Sequence    uint64     `json:"sequence"`
	Time        *time.Time `json:"time,omitempty"`
	Type        string     `json:"type"`
	WorkspaceID string     `json:"workspaceId,omitempty"`
	Subject     string     `json:"subject,omitempty"`
	Name        string     `json:"name,omitempty"`
	UID         string     `json:"uid,omitempty"`
	Message     string     `json:"message,omitempty"`
}

type daemonJSON struct {
	Running           bool       `json:"running"`
	PID               int64      `json:"pid,omitempty"`
	Version           string     `json:"version,omitempty"`
	Started           *time.Time `json:"started,omitempty"`
	Home              string     `json:"home,omitempty"`
	Socket            string     `json:"socket,omitempty"`
	LogFile           string     `json:"logFile,omitempty"`
	RunningWorkspaces int32      `json:"runningWorkspaces"`
	RunningDevServers int32      `json:"runningDevServers"`
	RunningCommands   int32      `json:"runningCommands"`
	IdleExitMS        int64      `json:"idleExitMs"`
	PreviewPort       uint32     `json:"previewPort,omitempty"`
	PreviewConflict   string     `json:"previewConflict,omitempty"`
}

func errorOf(e *driver.Error) errorJSON {
	remedies := make([]remedyJSON, 0, len(e.Remedies))
	for _, r := range e.Remedies {
		remedies = append(remedies, remedyJSON{Text: r.Text, Command: list(r.Command)})
	}
	return errorJSON{
		Reason: e.Reason, Message: e.Message, Driver: e.Driver, Resource: e.Resource, Field: e.Field,
		Retryable: e.Retryable, Remedies: remedies,
	}
}

func remediesOf(in []*apipb.Remedy) []remedyJSON {
	return each(in, func(r *apipb.Remedy) remedyJSON {
		return remedyJSON{Text: r.GetText(), Command: list(r.GetCommand())}
	})
}

func workspaceOf(w *apipb.Workspace) workspaceJSON {
	return workspaceJSON{
		ID: w.GetId(), Directory: w.GetDirectory(),
		State: stateWord(w.GetState()), StateMessage: w.GetStateMessage(),
		Driver: choiceOf(w.GetDriver()), SandboxID: w.GetSandboxId(), SandboxDirectory: w.GetSandboxDirectory(),
		Image: w.GetImage(), DevServers: each(w.GetDevServers(), devServerOf),
		Guest: w.GetGuest(), User: w.GetUser(), Warnings: list(w.GetWarnings()), Capabilities: list(w.GetCapabilities()), Created: timeOf(w.GetCreated()),
		Drift: each(w.GetDrift(), driftOf),
	}
}

func choiceOf(c *apipb.DriverChoice) choiceJSON {
	return choiceJSON{
		Desired: c.GetDesired(), Actual: c.GetActual(), Isolation: c.GetIsolation(), Reason: c.GetReason(),
		HostMode: c.GetHostMode(), Reduced: list(c.GetReduced()),
		Rejected: each(c.GetRejected(), func(r *apipb.DriverRejection) rejectionJSON {
			return rejectionJSON{Driver: r.GetDriver(), Reason: r.GetReason(), Message: r.GetMessage(), Remedies: remediesOf(r.GetRemedies())}
		}),
		Remedies: remediesOf(c.GetRemedies()),
	}
}

func devServerOf(d *apipb.DevServer) devServerJSON {
	return devServerJSON{
		ID: d.GetId(), UID: d.GetUid(), WorkspaceID: d.GetWorkspaceId(), Scope: d.GetScope(), CardID: d.GetCardId(),
		Port: d.GetPort(), Name: d.GetName(), Command: list(d.GetCommand()), Dir: d.GetDir(), URL: d.GetUrl(),
		Status: statusWord(d.GetStatus()), StatusMessage: d.GetStatusMessage(), PID: d.GetPid(),
		Started: timeOf(d.GetStarted()), LogTail: list(d.GetLogTail()), Detected: d.GetDetected(), PreviewURL: d.GetPreviewUrl(),
		Isolation: d.GetIsolation(), HostMode: d.GetHostMode(), ParentUID: d.GetParentUid(),
	}
}

func driverOf(d *apipb.Driver) driverJSON {
	attributes := d.GetAttributes()
	if attributes == nil {
		attributes = map[string]string{}
	}
	return driverJSON{
		Name: d.GetName(), Path: d.GetPath(), Origin: d.GetOrigin(), Usable: d.GetUsable(), State: d.GetState(),
		Problem: d.GetProblem(), Reason: d.GetReason(), Remedies: remediesOf(d.GetRemedies()),
		Version: d.GetVersion(), SDKVersion: d.GetSdkVersion(), Description: d.GetDescription(),
		Isolation: d.GetIsolation(), Capabilities: list(d.GetCapabilities()), Attributes: attributes,
		PID: d.GetPid(), Restarts: d.GetRestarts(), Overrides: d.GetOverrides(),
	}
}

func eventOf(e *apipb.WatchEventsResponse) eventJSON {
	return eventJSON{
		Sequence: e.GetSequence(), Time: timeOf(e.GetTime()), Type: e.GetType(),
		WorkspaceID: e.GetWorkspaceId(), Subject: e.GetSubject(), Name: e.GetName(), UID: e.GetUid(), Message: e.GetMessage(),
	}
}

func daemonOf(s *apipb.GetStatusResponse) daemonJSON {
	return daemonJSON{
		Running: s != nil, PID: s.GetPid(), Version: s.GetVersion(), Started: timeOf(s.GetStarted()),
		Home: s.GetHome(), Socket: s.GetSocket(), LogFile: s.GetLogFile(), RunningWorkspaces: s.GetRunningWorkspaces(),
		RunningDevServers: s.GetRunningDevServers(), RunningCommands: s.GetRunningCommands(), IdleExitMS: s.GetIdleExitMs(),
		PreviewPort: s.GetPreviewPort(), PreviewConflict: s.GetPreviewConflict(),
	}
}

// each converts a list; the result is never nil.
func each[A, B any](in []A, f func(A) B) []B {
	out := make([]B, 0, len(in))
	for _, a := range in {
		out = append(out, f(a))
	}
	return out
}

// list is in, never nil.
func list(in []string) []string {
	if in == nil {
		return []string{}
	}
	return in
}

func timeOf(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	return new(t.AsTime())
}

func stateWord(s apipb.WorkspaceState) string {
	switch s {
	case apipb.WorkspaceState_WORKSPACE_STATE_UNSPECIFIED:
	case apipb.WorkspaceState_WORKSPACE_STATE_STOPPED:
		return "stopped"
	case apipb.WorkspaceState_WORKSPACE_STATE_STARTING:
		return "starting"
	case apipb.WorkspaceState_WORKSPACE_STATE_RUNNING:
		return "running"
	case apipb.WorkspaceState_WORKSPACE_STATE_STOPPING:
		return "stopping"
	case apipb.WorkspaceState_WORKSPACE_STATE_BROKEN:
		return "broken"
	case apipb.WorkspaceState_WORKSPACE_STATE_DIRECTORY_MISSING:
		return "directory-missing"
	case apipb.WorkspaceState_WORKSPACE_STATE_PAUSED:
		return "paused"
	}
	return "unknown"
}

func statusWord(s apipb.DevServerStatus) string {
	switch s {
	case apipb.DevServerStatus_DEV_SERVER_STATUS_UNSPECIFIED:
	case apipb.DevServerStatus_DEV_SERVER_STATUS_STARTING:
		return "starting"
	case apipb.DevServerStatus_DEV_SERVER_STATUS_RUNNING:
		return "running"
	case apipb.DevServerStatus_DEV_SERVER_STATUS_STOPPED:
		return "stopped"
	case apipb.DevServerStatus_DEV_SERVER_STATUS_FAILED:
		return "failed"
	}
	return "unknown"
}

func verdictWord(v apipb.CheckVerdict) string {
	switch v {
	case apipb.CheckVerdict_CHECK_VERDICT_UNSPECIFIED:
	case apipb.CheckVerdict_CHECK_VERDICT_OK:
		return "ok"
	case apipb.CheckVerdict_CHECK_VERDICT_WARN:
		return "warn"
	case apipb.CheckVerdict_CHECK_VERDICT_FAIL:
		return "fail"
	}
	return "unknown"
}
