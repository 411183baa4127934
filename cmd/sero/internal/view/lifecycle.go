package view

import (
	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

type driftJSON struct {
	Part    string `json:"part"`
	Message string `json:"message"`
}

func driftOf(d *apipb.Drift) driftJSON {
	return driftJSON{Part: d.GetPart(), Message: d.GetMessage()}
}

// drift says what of a sandbox is not as it would be made now, and what to do.
func (v *View) drift(id string, drift []*apipb.Drift) error {
	for _, d := range drift {
		if err := v.Text(clean("  drift      " + d.GetMessage())); err != nil {
			return err
		}
	}
	if len(drift) == 0 {
		return nil
	}
	return v.Text("  hint       " + remedyText(driver.Remedy{Text: "make the sandbox anew", Command: []string{"sero", "recreate", "-w", id}}))
}

type recreatedJSON struct {
	ID        string         `json:"id"`
	Workspace *workspaceJSON `json:"workspace,omitempty"`
	Drift     []driftJSON    `json:"drift"`
	Ended     []string       `json:"ended"`
	Restarted []string       `json:"restarted"`
	Error     *errorJSON     `json:"error,omitempty"`
}

func recreatedOf(r *apipb.Recreated) recreatedJSON {
	out := recreatedJSON{
		ID: r.GetId(), Drift: each(r.GetDrift(), driftOf), Ended: list(r.GetEnded()), Restarted: list(r.GetRestarted()),
	}
	if w := r.GetWorkspace(); w != nil {
		out.Workspace = new(workspaceOf(w))
	}
	if e := r.GetError(); e != nil {
		out.Error = new(errorOf(failure(e)))
	}
	return out
}

// failure is an error that came inside an answer.
func failure(e *apipb.ErrorDetail) *driver.Error {
	out := &driver.Error{
		Reason: driver.Reason(e.GetReason()), Message: e.GetMessage(), Driver: e.GetDriver(), Resource: e.GetResource(),
		Field: e.GetField(), Retryable: e.GetRetryable(),
	}
	for _, r := range e.GetRemedies() {
		out.Remedies = append(out.Remedies, driver.Remedy{Text: r.GetText(), Command: r.GetCommand()})
	}
	return out
}

// Recreated shows what came of making sandboxes anew.
func (v *View) Recreated(done []*apipb.Recreated) error {
	if v.JSON {
		return v.Value(map[string]any{"recreated": each(done, recreatedOf)})
	}
	if len(done) == 0 {
		return v.Text("no sandbox has to be made anew")
	}
	for _, r := range done {
		if e := r.GetError(); e != nil {
			f := failure(e)
			f.Message = r.GetId() + ": " + f.Message
			v.Failure(f)
			continue
		}
		var lines []string
		for _, d := range r.GetDrift() {
			lines = append(lines, d.GetMessage())
		}
		for _, line := range r.GetEnded() {
			lines = append(lines, "ended: "+line)
		}
		for _, line := range r.GetRestarted() {
			lines = append(lines, "started again: "+line)
		}
		if err := v.Text(outcome(r.GetId()+" is made anew; its files are as they were", lines)...); err != nil {
			return err
		}
	}
	return nil
}
