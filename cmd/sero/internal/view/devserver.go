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
		{"port", port},
		{"command", Quote(s.GetCommand())},
	}); err != nil {
		return err
	}
	if s.GetStatus() == apipb.DevServerStatus_DEV_SERVER_STATUS_STARTING {
		logs := Quote([]string{"sero", "dev", "logs", "-f", "-w", s.GetWorkspaceId(), s.GetName()})
		v.Notice(s.GetName() + " does not listen yet; to see what it writes: " + logs)
	}
	if s.GetStatus() == apipb.DevServerStatus_DEV_SERVER_STATUS_FAILED && len(s.GetLogTail()) > 0 {
		return v.Text(outcome("last lines of its output:", s.GetLogTail())...)
	}
	return nil
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
