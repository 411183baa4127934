package conformance_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sero-labs/sero-runtime/sdk/conformance"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

var update = flag.Bool("update", false, "write what the tests compare with")

// TestCaseTable holds the table of docs/writing-a-driver.md and the suite
// together.
func TestCaseTable(t *testing.T) {
	name := filepath.Join("..", "..", "docs", "writing-a-driver.md")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	marks := regexp.MustCompile(`(?s)(<!-- cases: begin[^>]*-->\n).*(<!-- cases: end -->)`)
	want := marks.ReplaceAllString(string(text), "${1}"+strings.ReplaceAll(caseTable(), "$", "$$")+"${2}")
	if !marks.Match(text) {
		t.Fatal("the marks of the table are gone")
	}
	if *update {
		if err := os.WriteFile(name, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("the table is old; run go test ./sdk/conformance -run TestCaseTable -update (-want +got)\n%s", diff)
	}
}

func caseTable() string {
	var b strings.Builder
	b.WriteString("| Case | Needs | Must |\n|---|---|---|\n")
	for _, c := range conformance.Cases() {
		var needs []string
		for _, n := range c.Needs {
			needs = append(needs, "`"+string(n)+"`")
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", c.ID, strings.Join(needs, " "), strings.ReplaceAll(c.Must, "|", `\|`))
	}
	return b.String()
}

func check(t *testing.T, s fake.Script, change func(*conformance.Config)) conformance.Report {
	t.Helper()
	script, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	c := fakeConfig(t, string(script))
	if change != nil {
		change(&c)
	}
	report, err := conformance.Check(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// TestVerdicts covers what the verdict on a driver depends on.
func TestVerdicts(t *testing.T) {
	few := regexp.MustCompile("^NEG-|^HEALTH-")
	seven := fake.Script{Faults: []string{"bad-version"}}
	waive := func(expires time.Time) func(*conformance.Config) {
		return func(c *conformance.Config) {
			c.Waivers = map[string]conformance.Waiver{"NEG-1": {Reason: "known", Expires: expires}}
		}
	}
	for _, c := range []struct {
		name   string
		script fake.Script
		change func(*conformance.Config)
		want   conformance.Overall
		one    string // a case
		is     conformance.Verdict
	}{
		{"a failing case", seven, nil, conformance.NotConformant, "NEG-1", conformance.Fail},
		{"a waived case", seven, waive(time.Time{}), conformance.ConformantWithWaivers, "NEG-1", conformance.Waived},
		{"a waiver that has expired", seven, waive(time.Now().Add(-time.Hour)), conformance.NotConformant, "NEG-1", conformance.Fail},
		{"only some cases", fake.Script{}, func(c *conformance.Config) { c.Run = few }, conformance.Incomplete, "NEG-2", conformance.Pass},
		{
			"no engine",
			fake.Script{Health: []fake.HealthStep{{
				State: "not-installed", Reason: driver.EngineNotInstalled, Message: "it is not here", Remedies: []driver.Remedy{{Text: "install it"}},
			}}},
			nil, conformance.Incomplete, "EXEC-1", conformance.SkipEnvironment,
		},
		{"less declared", fake.Script{Without: []driver.Capability{driver.CapStats}}, nil, conformance.Conformant, "STATS-1", conformance.SkipUnclaimed},
		{
			"declared and not testable here",
			fake.Script{Capabilities: []driver.Capability{driver.CapExec, driver.CapImageBuild}, Images: []string{}},
			func(c *conformance.Config) { c.Profile.Image = "not-here:1" }, conformance.NotConformant, "IMAGE-4", conformance.SkipUnclaimed,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			report := check(t, c.script, c.change)
			if report.Verdict != c.want {
				t.Errorf("the verdict is %s (%s), want %s", report.Verdict, report.Why, c.want)
			}
			for _, r := range report.Results {
				if r.ID == c.one && r.Verdict != c.is {
					t.Errorf("%s is %s (%s), want %s", r.ID, r.Verdict, r.Evidence, c.is)
				}
			}
		})
	}
}

// TestHangingDriver: whatever a driver does not answer, the suite ends.
func TestHangingDriver(t *testing.T) {
	t.Parallel()
	report := check(t, fake.Script{Rules: []fake.Rule{{Call: "GetSandbox", Hang: true}}}, func(c *conformance.Config) {
		c.Run = regexp.MustCompile("^GET-1$|^LIST-1$|^EXEC-1$")
		c.Timeout = 10 * time.Second
	})
	if got := report.Failing(); len(got) != 1 || got[0] != "GET-1" {
		t.Errorf("failing: %v", got)
	}
}

// TestCrashingDriver: a case that ends the driver fails alone.
func TestCrashingDriver(t *testing.T) {
	t.Parallel()
	report := check(t, fake.Script{Rules: []fake.Rule{{Call: "ListSandboxes", Crash: "before"}}}, func(c *conformance.Config) {
		c.Run = regexp.MustCompile("^LIST-1$|^GET-1$|^EXEC-|^STOP-1$")
		c.Parallel = 1
	})
	if got := report.Failing(); len(got) != 1 || got[0] != "LIST-1" {
		t.Errorf("failing: %v", got)
	}
}

func TestFormats(t *testing.T) {
	report := check(t, fake.Script{Faults: []string{"seven-bits"}}, func(c *conformance.Config) { c.Run = regexp.MustCompile("^EXEC-1$|^EXEC-2$") })
	for name, format := range map[string]struct {
		write func(io.Writer) error
		want  []string
	}{
		"text":  {report.WriteText, []string{"driver fake 1.0.0", "FAIL", "EXEC-1 ", "exit 255 gives code 127", "NOT CONFORMANT: failing: EXEC-1", report.SHA256[:12]}},
		"json":  {report.WriteJSON, []string{`"verdict": "NOT CONFORMANT"`, `"sha256": "` + report.SHA256, `"id": "EXEC-2"`}},
		"junit": {report.WriteJUnit, []string{`tests="3" failures="1" skipped="0"`, `classname="fake.exec"`, "<failure "}},
	} {
		var b bytes.Buffer
		if err := format.write(&b); err != nil {
			t.Fatal(err)
		}
		for _, want := range format.want {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s: no %q in\n%s", name, want, b.String())
			}
		}
		var any struct{}
		if name == "json" && json.Unmarshal(b.Bytes(), &any) != nil || name == "junit" && xml.Unmarshal(b.Bytes(), &any) != nil {
			t.Errorf("%s cannot be read", name)
		}
	}
}

func TestNothingToTest(t *testing.T) {
	_, err := conformance.Check(t.Context(), conformance.Config{Path: filepath.Join(t.TempDir(), "none")})
	if driver.ReasonOf(err) != driver.DriverNotFound {
		t.Errorf("a missing binary: %v", err)
	}
}
