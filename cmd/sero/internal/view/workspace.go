package view

import (
	"strconv"
	"strings"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Workspaces shows a list of workspaces.
func (v *View) Workspaces(list []*apipb.Workspace) error {
	if v.JSON {
		return v.Value(map[string]any{"workspaces": each(list, workspaceOf)})
	}
	if len(list) == 0 {
		v.Notice("no workspaces; open one with: sero up")
		return nil
	}
	rows := [][]string{{"ID", "STATE", "DRIVER", "ISOLATION", "SERVERS", "DIRECTORY"}}
	var notes []string
	for _, w := range list {
		rows = append(rows, []string{
			w.GetId(), stateWord(w.GetState()), w.GetDriver().GetActual(), w.GetDriver().GetIsolation(),
			serverList(w.GetDevServers()), w.GetDirectory(),
		})
		if m := w.GetStateMessage(); m != "" {
			notes = append(notes, w.GetId()+": "+m)
		}
	}
	if err := v.table(rows); err != nil {
		return err
	}
	for _, note := range notes {
		v.Notice(note)
	}
	v.hostModeOfList(list)
	return nil
}

// hostModeOfList says once for each reason which workspaces run on the host.
func (v *View) hostModeOfList(list []*apipb.Workspace) {
	var reasons []string
	ids := map[string][]string{}
	for _, w := range list {
		if c := w.GetDriver(); c.GetHostMode() {
			if _, ok := ids[c.GetReason()]; !ok {
				reasons = append(reasons, c.GetReason())
			}
			ids[c.GetReason()] = append(ids[c.GetReason()], w.GetId())
		}
	}
	for _, reason := range reasons {
		v.Notice("HOST MODE, no isolation: " + strings.Join(ids[reason], ", ") + ": " + reason)
	}
}

func serverList(servers []*apipb.DevServer) string {
	var out []string
	for _, s := range servers {
		if s.GetStatus() == apipb.DevServerStatus_DEV_SERVER_STATUS_RUNNING {
			out = append(out, s.GetName()+":"+strconv.Itoa(int(s.GetPort())))
		}
	}
	return strings.Join(out, ",")
}

// Workspace shows one workspace in full.
func (v *View) Workspace(w *apipb.Workspace) error {
	if v.JSON {
		return v.Value(workspaceOf(w))
	}
	if err := v.workspaceFields(w); err != nil {
		return err
	}
	if err := v.drift(w.GetId(), w.GetDrift()); err != nil {
		return err
	}
	for _, s := range w.GetDevServers() {
		if err := v.Text("  server     " + clean(serverLine(s))); err != nil {
			return err
		}
	}
	for _, warning := range w.GetWarnings() {
		v.Notice("warning: " + warning)
	}
	return v.hostMode(w.GetDriver())
}

func (v *View) workspaceFields(w *apipb.Workspace) error {
	c := w.GetDriver()
	chosen := c.GetActual()
	if c.GetIsolation() != "" {
		chosen += ", isolation " + c.GetIsolation()
	}
	if c.GetDesired() != "" && c.GetDesired() != c.GetActual() {
		chosen += ", asked for " + c.GetDesired()
	}
	because := ""
	if !c.GetHostMode() {
		because = c.GetReason()
	}
	inside := w.GetSandboxDirectory()
	if inside == w.GetDirectory() {
		inside = ""
	}
	return v.fields(w.GetId()+" is "+strings.ReplaceAll(stateWord(w.GetState()), "-", " "), []field{
		{"problem", w.GetStateMessage()},
		{"directory", w.GetDirectory()},
		{"inside", inside},
		{"driver", chosen},
		{"because", because},
		{"image", w.GetImage()},
		{"sandbox", w.GetSandboxId()},
		{"commands", w.GetGuest()},
		{"user", w.GetUser()},
	})
}

// hostMode is the notice that belongs to every answer about a workspace that
// nothing separates from the host.
func (v *View) hostMode(c *apipb.DriverChoice) error {
	if !c.GetHostMode() {
		return nil
	}
	lines := []string{clean("  HOST MODE  nothing separates this workspace from your machine: " + c.GetReason())}
	if len(c.GetReduced()) > 0 {
		lines = append(lines, clean("  without    "+strings.Join(c.GetReduced(), " ")))
	}
	for _, r := range c.GetRemedies() {
		lines = append(lines, "  hint       "+remedyText(driver.Remedy{Text: r.GetText(), Command: r.GetCommand()}))
	}
	return v.Text(lines...)
}

// HostModeNotice says that a command runs on the host itself: on a terminal, and
// for the first command of a new workspace in any case.
func (v *View) HostModeNotice(c *apipb.DriverChoice, first bool) {
	if (v.Terminal || first) && c.GetHostMode() {
		v.Notice("host mode, no isolation: " + c.GetReason())
	}
}

// Stopped shows what a stop ended.
func (v *View) Stopped(r *apipb.StopWorkspaceResponse) error {
	if v.JSON {
		return v.Value(struct {
			workspaceJSON
			Stopped []string `json:"stopped"`
		}{workspaceOf(r.GetWorkspace()), list(r.GetStopped())})
	}
	w := r.GetWorkspace()
	return v.Text(outcome(w.GetId()+" is "+stateWord(w.GetState()), r.GetStopped())...)
}

// Removed shows what a removal took away.
func (v *View) Removed(r *apipb.RemoveWorkspaceResponse) error {
	if v.JSON {
		return v.Value(struct {
			ID      string   `json:"id"`
			Removed []string `json:"removed"`
		}{r.GetId(), list(r.GetRemoved())})
	}
	if r.GetId() == "" {
		v.Notice("there was no such workspace")
		return nil
	}
	return v.Text(outcome(r.GetId()+" is removed; its files are as they were", r.GetRemoved())...)
}

func outcome(title string, details []string) []string {
	lines := []string{clean(title)}
	for _, d := range details {
		lines = append(lines, "  "+clean(d))
	}
	return lines
}
