package conformance

import (
	"maps"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/internal/driverpb"
)

func errorCases() []Case {
	return engine([]Case{
		{
			ID: "ERR-1", Group: "errors", Run: errTyped,
			Must: "every error is a gRPC status with exactly one ErrorDetail that has a reason, under 4 KiB in all",
		},
		{
			ID: "ERR-2", Group: "errors", Run: errText,
			Must: "an error's message is one line without the driver's name and without a full stop",
		},
		{
			ID: "ERR-3", Group: "errors", Run: errRemedies,
			Must: "an error that a person can do something about says what: NOT_RUNNING, NOT_STOPPED and ALREADY_EXISTS have remedies",
		},
		{
			ID: "ERR-4", Group: "errors", Run: errResource,
			Must: "an error about a sandbox names it as its resource",
		},
	})
}

// mistakes makes the calls that every driver refuses, by what they are.
func mistakes(t T, s *Session, d driver.Driver) map[string]error {
	t.Helper()
	absent := s.Spec(t).ID
	spec := s.Spec(t)
	s.Create(t, d, spec)
	other := spec
	other.Labels = maps.Clone(spec.Labels)
	other.Labels[driver.LabelSpecHash] = "another"
	out := map[string]error{}
	_, out["Get of an absent sandbox"] = d.Get(s.Ctx, absent)
	_, out["Start of an absent sandbox"] = d.Start(s.Ctx, absent)
	out["Stop of an absent sandbox"] = d.Stop(s.Ctx, absent, time.Second)
	_, out["Create of another specification"] = d.Create(s.Ctx, other)
	out["Exec in a stopped sandbox"] = s.exec(d, s.script(spec.ID, "true"), nil).Err
	if _, err := d.Start(s.Ctx, spec.ID); err != nil {
		t.Fatalf("Start: %v", err)
	}
	out["Remove of a running sandbox"] = d.Remove(s.Ctx, spec.ID, false)
	return out
}

// errTyped looks at the statuses themselves.
func errTyped(t T, s *Session) {
	r := s.Wire(t)
	absent := s.Spec(t).ID
	_, get := r.GetSandbox(s.Ctx, &driverpb.GetSandboxRequest{Id: absent})
	_, start := r.StartSandbox(s.Ctx, &driverpb.StartSandboxRequest{Id: absent})
	_, stop := r.StopSandbox(s.Ctx, &driverpb.StopSandboxRequest{Id: absent})
	x := r.exec(s, t, &driverpb.ExecStart{SandboxId: absent, ExecId: "conf-typed", Argv: []string{"true"}})
	_, exec := x.frames()
	for what, err := range map[string]error{"Get": get, "Start": start, "Stop": stop, "Exec": exec} {
		st, _ := status.FromError(err)
		if err == nil || st.Code() == codes.OK {
			continue // that it succeeds is another case's business
		}
		details := st.Details()
		if len(details) != 1 {
			t.Errorf("%s: %v has %d details", what, err, len(details))
			continue
		}
		detail, ok := details[0].(*driverpb.ErrorDetail)
		if !ok || detail.GetReason() == "" {
			t.Errorf("%s: the detail is %v", what, details[0])
		} else if size := len(st.Message()) + len(detail.String()); size > 4<<10 {
			t.Errorf("%s: the error is %d bytes", what, size)
		}
	}
}

func errText(t T, s *Session) {
	name := s.r.shake.Info.Name
	for what, err := range mistakes(t, s, s.Driver(t)) {
		if err == nil {
			continue
		}
		m := driver.AsError(err).Message
		if strings.TrimSpace(m) == "" || strings.ContainsAny(m, "\n\r") || strings.HasSuffix(m, ".") || strings.HasPrefix(m, name+":") {
			t.Errorf("%s: %q", what, m)
		}
	}
}

func errRemedies(t T, s *Session) {
	for what, err := range mistakes(t, s, s.Driver(t)) {
		if err == nil {
			continue
		}
		e := driver.AsError(err)
		switch e.Reason {
		case driver.NotRunning, driver.NotStopped, driver.AlreadyExists:
			if len(e.Remedies) == 0 || e.Remedies[0].Text == "" {
				t.Errorf("%s: %s (%s) has no remedy", what, e.Reason, e.Message)
			}
		default:
		}
	}
}

func errResource(t T, s *Session) {
	for what, err := range mistakes(t, s, s.Driver(t)) {
		if e := driver.AsError(err); e != nil && !strings.HasPrefix(e.Resource, "sero-conf-") {
			t.Errorf("%s: the resource is %q", what, e.Resource)
		}
	}
}

func contains(e *driver.Error, text string) bool {
	all := []string{e.Message, e.Resource, e.Field}
	for _, r := range e.Remedies {
		all = append(all, r.Text, strings.Join(r.Command, " "))
	}
	return strings.Contains(strings.Join(all, "\n"), text)
}
