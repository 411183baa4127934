package conformance_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/conformance"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

// TestFaults breaks one promise of the fake at a time: the suite must fail the
// cases that the fault names, and no other (B7).
func TestFaults(t *testing.T) {
	driverBinary(t, "fake")
	for _, f := range fake.Faults {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			checkFault(t, f)
		})
	}
}

func checkFault(t *testing.T, f fake.Fault) {
	script, err := json.Marshal(fake.Script{Faults: []string{f.Name}})
	if err != nil {
		t.Fatal(err)
	}
	c := fakeConfig(t, string(script))
	c.Timeout = 30 * time.Second // for what only a hang can show
	if only := os.Getenv("SERO_CONFORMANCE_CASES"); only != "" {
		c.Run = regexp.MustCompile(only)
	}
	report, err := conformance.Check(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(slices.Values(f.Breaks))
	if got := slices.Sorted(slices.Values(report.Failing())); !slices.Equal(got, want) {
		t.Errorf("%s: failing %v, want %v%s", f.Does, got, want, evidence(report, want))
	}
	if report.Verdict != conformance.NotConformant {
		t.Errorf("the verdict is %s", report.Verdict)
	}
}

// evidence tells of the cases that came out otherwise than they should.
func evidence(r conformance.Report, want []string) string {
	var b strings.Builder
	for _, c := range r.Results {
		if (c.Verdict == conformance.Fail) != slices.Contains(want, c.ID) {
			b.WriteString("\n" + c.ID + " " + string(c.Verdict) + ": " + c.Evidence)
		}
	}
	return b.String()
}

// TestQuirks shows that the suite does not mind what the contract allows.
func TestQuirks(t *testing.T) {
	driverBinary(t, "fake")
	for _, f := range fake.Quirks {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			script, err := json.Marshal(fake.Script{Faults: []string{f.Name}})
			if err != nil {
				t.Fatal(err)
			}
			report, err := conformance.Check(t.Context(), fakeConfig(t, string(script)))
			if err != nil {
				t.Fatal(err)
			}
			if report.Verdict != conformance.Conformant {
				t.Errorf("%s: %s: %s%s", f.Does, report.Verdict, report.Why, evidence(report, nil))
			}
		})
	}
}

// TestEveryCaseIsBrokenByAFault: a case that no fault breaks is decoration.
func TestEveryCaseIsBrokenByAFault(t *testing.T) {
	broken := map[string]bool{}
	for _, f := range fake.Faults {
		if len(f.Breaks) == 0 {
			t.Errorf("no case notices the fault %s", f.Name)
		}
		for _, id := range f.Breaks {
			broken[id] = true
		}
	}
	known := map[string]bool{}
	for _, c := range conformance.Cases() {
		if known[c.ID] {
			t.Errorf("two cases are called %s", c.ID)
		}
		known[c.ID] = true
		if !broken[c.ID] {
			t.Errorf("no fault breaks %s: %s", c.ID, c.Must)
		}
	}
	for id := range broken {
		if !known[id] {
			t.Errorf("a fault breaks %s, which is no case", id)
		}
	}
}
