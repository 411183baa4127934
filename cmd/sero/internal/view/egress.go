package view

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

type egressJSON struct {
	WorkspaceID string          `json:"workspaceId"`
	Asked       bool            `json:"asked"`
	Mode        string          `json:"mode"`
	Running     bool            `json:"running"`
	OnlyWayOut  bool            `json:"onlyWayOut"`
	Machine     egressRulesJSON `json:"machine"`
	Workspace   egressRulesJSON `json:"workspace"`
	Changed     bool            `json:"changed"`
	Granted     []string        `json:"granted"`
	HostMode    bool            `json:"hostMode"`
}

type egressRulesJSON struct {
	Mode    string   `json:"mode"`
	Enforce bool     `json:"enforce"`
	Allow   []string `json:"allow"`
	Deny    []string `json:"deny"`
}

type refusalJSON struct {
	Method string    `json:"method"`
	Target string    `json:"target"`
	Status uint32    `json:"status"`
	Why    string    `json:"why"`
	Rule   string    `json:"rule,omitempty"`
	Allow  string    `json:"allow,omitempty"`
	Count  uint32    `json:"count"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
}

func egressRulesOf(r *apipb.EgressRules) egressRulesJSON {
	return egressRulesJSON{Mode: r.GetMode(), Enforce: r.GetEnforce(), Allow: list(r.GetAllow()), Deny: list(r.GetDeny())}
}

// Egress shows the rules of a workspace.
func (v *View) Egress(e *apipb.Egress) error {
	if v.JSON {
		return v.Value(egressJSON{
			WorkspaceID: e.GetWorkspaceId(), Asked: e.GetAsked(), Mode: e.GetMode(), Running: e.GetRunning(), OnlyWayOut: e.GetOnlyWayOut(),
			Machine: egressRulesOf(e.GetMachine()), Workspace: egressRulesOf(e.GetWorkspace()), Changed: e.GetChanged(), Granted: list(e.GetGranted()),
			HostMode: e.GetHostMode(),
		})
	}
	if !e.GetAsked() && len(e.GetGranted()) == 0 {
		return v.Text(clean(e.GetWorkspaceId()) + " has no egress rules: its network is the sandbox's own")
	}
	state := "not running; it opens with the next command in a sandbox"
	switch {
	case e.GetHostMode():
		state = "none: in host mode nothing holds the rules"
	case e.GetRunning() && e.GetOnlyWayOut():
		state = "running; it is the only way out of the sandbox"
	case e.GetRunning():
		state = "running; the sandbox has a network of its own too, so only programs that use the proxy keep to the rules"
	}
	fields := []field{{"proxy", state}}
	fields = append(fields, rulesFields("sero.json", e.GetWorkspace())...)
	fields = append(fields, rulesFields("config.json", e.GetMachine())...)
	fields = append(fields, field{"granted", strings.Join(e.GetGranted(), " ")})
	if n := len(e.GetRefusals()); n > 0 {
		fields = append(fields, field{"refusals", strconv.Itoa(n) + "; see sero egress log -w " + e.GetWorkspaceId()})
	}
	if e.GetChanged() {
		v.Notice("egress in sero.json has changed; that holds once the workspace is stopped and started again")
	}
	return v.fields(e.GetWorkspaceId()+" is in egress mode "+e.GetMode(), fields)
}

func rulesFields(file string, r *apipb.EgressRules) []field {
	mode := r.GetMode()
	if r.GetEnforce() {
		mode += ", enforced"
	}
	return []field{
		{file, mode}, {file + " allow", strings.Join(r.GetAllow(), " ")}, {file + " deny", strings.Join(r.GetDeny(), " ")},
	}
}

// EgressLog shows what was not let through.
func (v *View) EgressLog(e *apipb.Egress) error {
	if v.JSON {
		return v.Value(map[string]any{"refusals": each(e.GetRefusals(), func(r *apipb.EgressRefusal) refusalJSON {
			return refusalJSON{
				Method: r.GetMethod(), Target: r.GetTarget(), Status: r.GetStatus(), Why: r.GetWhy(), Rule: r.GetRule(), Allow: r.GetAllow(),
				Count: r.GetCount(), First: r.GetFirst().AsTime(), Last: r.GetLast().AsTime(),
			}
		})})
	}
	if len(e.GetRefusals()) == 0 {
		return v.Text("nothing was refused")
	}
	for _, r := range e.GetRefusals() {
		times := ""
		if r.GetCount() > 1 {
			times = fmt.Sprintf(" (%d times)", r.GetCount())
		}
		lines := []string{clean(fmt.Sprintf("%s  %s %s%s", r.GetLast().AsTime().Local().Format(time.DateTime), r.GetMethod(), r.GetTarget(), times)), "  " + clean(r.GetWhy())}
		if r.GetRule() != "" {
			lines = append(lines, "  rule: "+clean(r.GetRule()))
		}
		if r.GetAllow() != "" {
			lines = append(lines, "  to allow it: "+clean(Quote([]string{"sero", "egress", "allow", "-w", e.GetWorkspaceId(), r.GetAllow()})))
		}
		if r.GetAllow() == "" && r.GetRule() != "" {
			stop := Quote([]string{"sero", "stop", "-w", e.GetWorkspaceId()})
			lines = append(lines, "  to allow it: remove that rule; of sero.json it holds until: "+clean(stop)+", of config.json until: sero daemon stop")
		}
		if err := v.Text(lines...); err != nil {
			return err
		}
	}
	return nil
}

// EgressObserved shows the rules that a workspace would need.
func (v *View) EgressObserved(e *apipb.Egress) error {
	if v.JSON {
		return v.Value(map[string]any{"observed": list(e.GetObserved())})
	}
	if len(e.GetObserved()) == 0 {
		hint := `set "egress": {"mode": "observe"} in sero.json, start the workspace anew and use it`
		if e.GetMode() == "observe" {
			hint = clean(e.GetWorkspaceId()) + " is in mode observe: what it reaches from now on is written down"
		}
		v.Notice(hint)
		return v.Text("nothing was observed")
	}
	return v.Text(egressSection(e.GetObserved()))
}

// egressSection is what allows just these, for a sero.json.
func egressSection(allow []string) string {
	text, err := json.MarshalIndent(map[string]any{"egress": map[string]any{"mode": "allowlist", "allow": allow}}, "", "  ")
	if err != nil {
		return ""
	}
	return strings.Join(each(strings.Split(string(text), "\n"), clean), "\n")
}

// namesAddress tells whether a rule is an address or a network, of which a file of
// the workspace opens public ones only.
func namesAddress(rule string) bool {
	if rule = strings.TrimPrefix(rule, "["); strings.Count(rule, ":") == 1 {
		rule, _, _ = strings.Cut(rule, ":")
	}
	rule, _, _ = strings.Cut(rule, "]")
	rule, _, _ = strings.Cut(rule, "/")
	_, err := netip.ParseAddr(rule)
	return err == nil
}

// EgressGranted shows what is granted, and what would make it everybody's.
func (v *View) EgressGranted(e *apipb.Egress, rules []string) error {
	if err := v.Egress(e); err != nil || v.JSON {
		return err
	}
	text, err := json.Marshal(rules)
	if err != nil {
		return err
	}
	where := "sero.json"
	if slices.ContainsFunc(rules, namesAddress) {
		where += ", or of config.json what is not public"
	}
	v.Notice("granted on this machine; for everybody, add to egress.allow of " + where + ": " + strings.Trim(string(text), "[]"))
	return nil
}
