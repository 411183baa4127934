package view

import (
	"strings"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

type systemUseJSON struct {
	Name        string   `json:"name"`
	WorkspaceID string   `json:"workspaceId,omitempty"`
	DevServers  []string `json:"devServers"`
}

func systemUseOf(u *apipb.SystemUse) systemUseJSON {
	return systemUseJSON{Name: u.GetName(), WorkspaceID: u.GetWorkspaceId(), DevServers: list(u.GetDevServers())}
}

// RestartPlan shows what a restart of a driver's system would stop.
func (v *View) RestartPlan(name string, before *apipb.SystemUses) error {
	if v.JSON {
		return v.restartValue(name, before, nil)
	}
	if e := before.GetUnknown(); e != nil {
		v.Notice("cannot tell what runs there: " + e.GetMessage())
		return nil
	}
	if len(before.GetUses()) == 0 {
		return v.Text("nothing runs there")
	}
	if err := v.Text("these will stop:"); err != nil {
		return err
	}
	return v.systemUses(before.GetUses())
}

// Restarted shows what runs after a restart.
func (v *View) Restarted(name string, before, after *apipb.SystemUses) error {
	if v.JSON {
		return v.restartValue(name, before, after)
	}
	if err := v.Text(clean("restarted the system of " + name)); err != nil {
		return err
	}
	v.Notice("workspaces become ready again at their next use; other people's containers have to be started by them")
	switch e := after.GetUnknown(); {
	case e != nil:
		v.Notice("cannot tell what runs there now: " + e.GetMessage())
		return nil
	case len(after.GetUses()) == 0:
		return v.Text("nothing runs there now")
	}
	if err := v.Text("these run again:"); err != nil {
		return err
	}
	return v.systemUses(after.GetUses())
}

func (v *View) systemUses(uses []*apipb.SystemUse) error {
	rows := [][]string{{"NAME", "WORKSPACE", "DEV SERVERS"}}
	for _, u := range uses {
		whose := u.GetWorkspaceId()
		if whose == "" {
			whose = "(another's)"
		}
		rows = append(rows, []string{u.GetName(), whose, strings.Join(u.GetDevServers(), ", ")})
	}
	return v.table(rows)
}

// restartValue has what was or would be stopped, and what runs again once it was.
func (v *View) restartValue(name string, before, after *apipb.SystemUses) error {
	out := map[string]any{
		"driver": name, "restarted": after != nil,
		"stops": each(before.GetUses(), systemUseOf), "runs": each(after.GetUses(), systemUseOf),
	}
	if e := before.GetUnknown(); e != nil {
		out["unknown"] = errorOf(failure(e))
	}
	return v.Value(out)
}
