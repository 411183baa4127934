package view

import (
	"cmp"
	"strconv"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

// DevServers shows a list of dev servers.
func (v *View) DevServers(list []*apipb.DevServer) error {
	if v.JSON {
		return v.Value(map[string]any{"devServers": each(list, devServerOf)})
	}
	if len(list) == 0 {
		v.Notice("no dev servers; start one with: sero run -- COMMAND")
		return nil
	}
	rows := [][]string{{"ID", "NAME", "STATUS", "URL", "PREVIEW", "ORIGIN", "COMMAND"}}
	for _, s := range list {
		rows = append(rows, []string{s.GetId(), s.GetName(), statusWord(s.GetStatus()), s.GetUrl(), s.GetPreviewUrl(), origin(s), Quote(s.GetCommand())})
	}
	return v.table(rows)
}

// DevServer shows one dev server after something was done to it.
func (v *View) DevServer(s *apipb.DevServer) error {
	if v.JSON {
		return v.Value(devServerOf(s))
	}
	return v.devServerText(s, "")
}

// DevServerForgotten shows a dev server whose record has ended.
func (v *View) DevServerForgotten(s *apipb.DevServer) error {
	if v.JSON {
		return v.Value(struct {
			devServerJSON
			Forgotten bool `json:"forgotten"`
		}{devServerOf(s), true})
	}
	return v.Text(s.GetName() + " is forgotten")
}

// DevServerStarted shows a dev server after its start.
func (v *View) DevServerStarted(r *apipb.StartDevServerResponse) error {
	if v.JSON {
		return v.Value(struct {
			devServerJSON
			AlreadyRunning bool       `json:"alreadyRunning"`
			Driver         choiceJSON `json:"driver"`
		}{devServerOf(r.GetDevServer()), r.GetAlreadyRunning(), choiceOf(r.GetDriver())})
	}
	note := ""
	if r.GetAlreadyRunning() {
		note = " already"
	}
	if err := v.devServerText(r.GetDevServer(), note); err != nil {
		return err
	}
	if c := r.GetDriver(); c.GetHostMode() {
		v.Notice("host mode, no isolation: " + c.GetReason())
	}
	return nil
}

// devServerText puts what a person wants most first: the URL of a server that
// listens, the last words of one that failed.
func (v *View) devServerText(s *apipb.DevServer, note string) error {
	title := s.GetName() + " is " + statusWord(s.GetStatus()) + note
	running := s.GetStatus() == apipb.DevServerStatus_DEV_SERVER_STATUS_RUNNING
	if running && s.GetUrl() != "" {
		title += " at " + s.GetUrl()
	}
	port := ""
	if s.GetPort() > 0 {
		port = strconv.Itoa(int(s.GetPort()))
	}
	if err := v.fields(title, []field{
		{"why", s.GetStatusMessage()},
		{"preview", s.GetPreviewUrl()},
		{"id", s.GetId()},
		{"uid", s.GetUid()},
		{"port", port},
		{"command", Quote(s.GetCommand())},
	}); err != nil {
		return err
	}
	if s.GetStatus() == apipb.DevServerStatus_DEV_SERVER_STATUS_STARTING {
		v.Notice(s.GetName() + " is still starting: it does not listen yet and goes on; " + seeAndStop(s))
	}
	if len(s.GetLogTail()) > 0 {
		return v.Text(outcome("last lines of its output:", s.GetLogTail())...)
	}
	return nil
}

// seeAndStop says how to see what a dev server writes, and how to stop it.
func seeAndStop(s *apipb.DevServer) string {
	logs := Quote([]string{"sero", "dev", "logs", "-f", "-w", s.GetWorkspaceId(), s.GetName()})
	stop := Quote([]string{"sero", "dev", "stop", "-w", s.GetWorkspaceId(), s.GetName()})
	return "to see what it writes: " + logs + "; to stop it: " + stop
}

// Interrupted says what is left of a dev server whose start or restart was not
// waited for to the end.
func (v *View) Interrupted(s *apipb.DevServer) {
	switch s.GetStatus() {
	case apipb.DevServerStatus_DEV_SERVER_STATUS_STARTING:
		v.Notice("interrupted; " + s.GetName() + " goes on starting; " + seeAndStop(s))
	case apipb.DevServerStatus_DEV_SERVER_STATUS_RUNNING:
		v.Notice("interrupted; " + s.GetName() + " goes on running; " + seeAndStop(s))
	default:
		v.Notice("interrupted; " + s.GetName() + " is " + statusWord(s.GetStatus()))
	}
}

// origin tells how a dev server came to be known.
func origin(s *apipb.DevServer) string {
	if s.GetDetected() {
		return "detected"
	}
	return "started"
}

func serverLine(s *apipb.DevServer) string {
	line := s.GetName() + " " + statusWord(s.GetStatus())
	if where := cmp.Or(s.GetUrl(), s.GetStatusMessage()); where != "" {
		line += " " + where
	}
	return line
}
