package view

import "github.com/sero-labs/sero-runtime/core/api/apipb"

type mountJSON struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"readOnly"`
	Attached bool   `json:"attached"`
	State    string `json:"state"`
	Why      string `json:"why,omitempty"`
}

// Mounts lists what a workspace's sandbox shows of this machine.
func (v *View) Mounts(list []*apipb.Mount) error {
	if v.JSON {
		return v.Value(map[string]any{"mounts": each(list, func(m *apipb.Mount) mountJSON {
			return mountJSON{
				Source: m.GetSource(), Target: m.GetTarget(), ReadOnly: m.GetReadOnly(), Attached: m.GetAttached(), State: m.GetState(), Why: m.GetWhy(),
			}
		})})
	}
	if len(list) == 0 {
		return v.Text("the workspace has no directories but its own")
	}
	rows := [][]string{{"SOURCE", "TARGET", "ACCESS", "FROM", "STATE"}}
	for _, m := range list {
		access, from, state := "writable", "sero.json", m.GetState()
		if m.GetReadOnly() {
			access = "read-only"
		}
		if m.GetAttached() {
			from = "sero mount add"
		}
		if m.GetWhy() != "" {
			state += ": " + m.GetWhy()
		}
		rows = append(rows, []string{m.GetSource(), m.GetTarget(), access, from, state})
	}
	return v.table(rows)
}
