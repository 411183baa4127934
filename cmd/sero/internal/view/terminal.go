package view

import (
	"strconv"
	"time"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

type terminalJSON struct {
	ID        string     `json:"id"`
	Workspace string     `json:"workspace"`
	Title     string     `json:"title"`
	Started   *time.Time `json:"started,omitempty"`
	Viewers   int32      `json:"viewers"`
	Written   bool       `json:"written"`
	Isolation string     `json:"isolation,omitempty"`
	HostMode  bool       `json:"hostMode,omitempty"`
}

func terminalOf(t *apipb.Terminal) terminalJSON {
	return terminalJSON{
		ID: t.GetId(), Workspace: t.GetWorkspaceId(), Title: t.GetTitle(), Started: timeOf(t.GetStarted()),
		Viewers: t.GetViewers(), Written: t.GetWritten(), Isolation: t.GetIsolation(), HostMode: t.GetHostMode(),
	}
}

// Terminals shows the terminals that are open.
func (v *View) Terminals(terminals []*apipb.Terminal) error {
	if v.JSON {
		return v.Value(map[string]any{"terminals": each(terminals, terminalOf)})
	}
	if len(terminals) == 0 {
		v.Notice("no terminal is open")
		return nil
	}
	rows := [][]string{{"TERMINAL", "WORKSPACE", "SINCE", "VIEWERS", "RUNS"}}
	for _, t := range terminals {
		since := ""
		if at := t.GetStarted(); at != nil {
			since = at.AsTime().Local().Format(time.DateTime)
		}
		rows = append(rows, []string{t.GetId(), t.GetWorkspaceId(), since, strconv.Itoa(int(t.GetViewers())), t.GetTitle()})
	}
	return v.table(rows)
}

// TerminalEnded shows a terminal that was ended.
func (v *View) TerminalEnded(t *apipb.Terminal) error {
	if v.JSON {
		return v.Value(terminalOf(t))
	}
	return v.Text(clean("terminal " + t.GetId() + " of workspace " + t.GetWorkspaceId() + " has ended"))
}
