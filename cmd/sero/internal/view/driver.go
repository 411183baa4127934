package view

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Drivers shows the drivers that were found: one line each, with what to do
// about one that does not work.
func (v *View) Drivers(list []*apipb.Driver) error {
	if v.JSON {
		return v.Value(map[string]any{"drivers": each(list, driverOf)})
	}
	if len(list) == 0 {
		v.Notice("no drivers were found")
		return nil
	}
	rows := [][]string{{"NAME", "STATE", "ISOLATION", "VERSION", "ORIGIN", "PROBLEM"}}
	for _, d := range list {
		rows = append(rows, []string{d.GetName(), d.GetState(), d.GetIsolation(), d.GetVersion(), d.GetOrigin(), problem(d)})
	}
	return v.table(rows)
}

// problem is what is wrong with a driver and the best thing to do about it.
func problem(d *apipb.Driver) string {
	text := d.GetProblem()
	if text != "" && len(d.GetRemedies()) > 0 {
		text += "; " + remedyText(remedyOf(d.GetRemedies()[0]))
	}
	return text
}

// Driver shows one driver in full.
func (v *View) Driver(d *apipb.Driver) error {
	if v.JSON {
		return v.Value(driverOf(d))
	}
	pid := ""
	if d.GetPid() > 0 {
		pid = strconv.FormatInt(d.GetPid(), 10)
	}
	restarts := ""
	if d.GetRestarts() > 0 {
		restarts = strconv.FormatInt(d.GetRestarts(), 10)
	}
	list := []field{
		{"about", d.GetDescription()},
		{"problem", d.GetProblem()},
		{"reason", d.GetReason()},
		{"origin", d.GetOrigin()},
		{"path", d.GetPath()},
		{"overrides", d.GetOverrides()},
		{"version", d.GetVersion()},
		{"sdk", d.GetSdkVersion()},
		{"isolation", d.GetIsolation()},
		{"pid", pid},
		{"restarts", restarts},
		{"capabilities", strings.Join(d.GetCapabilities(), " ")},
	}
	for _, name := range slices.Sorted(maps.Keys(d.GetAttributes())) {
		list = append(list, field{name, d.GetAttributes()[name]})
	}
	for _, r := range d.GetRemedies() {
		list = append(list, field{"hint", remedyText(remedyOf(r))})
	}
	return v.fields(d.GetName()+" is "+cmp.Or(d.GetState(), "unknown"), list)
}

func remedyOf(r *apipb.Remedy) driver.Remedy {
	return driver.Remedy{Text: r.GetText(), Command: r.GetCommand()}
}
