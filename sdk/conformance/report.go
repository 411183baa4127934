package conformance

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Verdict is how one case came out.
type Verdict string

// The verdicts of a case.
const (
	Pass            Verdict = "PASS"
	Fail            Verdict = "FAIL"
	SkipUnclaimed   Verdict = "SKIP-unclaimed"   // the driver does not declare it
	SkipEnvironment Verdict = "SKIP-environment" // this machine cannot show it
	Waived          Verdict = "WAIVED"           // fails, and that is accepted
)

// Overall is the verdict on a driver.
type Overall string

// The overall verdicts.
const (
	// Conformant: no case fails, all that a driver must have was tested, and
	// each declared capability had at least one executed case.
	Conformant            Overall = "CONFORMANT"
	ConformantWithWaivers Overall = "CONFORMANT-WITH-WAIVERS"
	// Incomplete: nothing fails, but something could not be tested here.
	Incomplete    Overall = "INCOMPLETE"
	NotConformant Overall = "NOT CONFORMANT"
)

// Result is one case's outcome.
type Result struct {
	ID       string              `json:"id"`
	Group    string              `json:"group"`
	Must     string              `json:"must"`
	Needs    []driver.Capability `json:"needs,omitempty"`
	Verdict  Verdict             `json:"verdict"`
	Millis   int64               `json:"ms"`
	Evidence string              `json:"evidence,omitempty"`
}

// Report is the outcome of a run.
type Report struct {
	Suite        string              `json:"suite"` // the suite's version
	Protocol     int                 `json:"protocol"`
	Driver       string              `json:"driver"`
	Version      string              `json:"version"`
	SDK          string              `json:"sdk"`
	Path         string              `json:"path"`
	SHA256       string              `json:"sha256"`
	OS           string              `json:"os"`
	Arch         string              `json:"arch"`
	Engine       map[string]string   `json:"engine,omitempty"` // the health report's attributes
	Capabilities []driver.Capability `json:"capabilities"`
	Started      time.Time           `json:"started"`
	Millis       int64               `json:"ms"`
	Verdict      Overall             `json:"verdict"`
	Why          string              `json:"why,omitempty"` // what the verdict lacks
	Results      []Result            `json:"results"`
}

// Failing lists the cases that failed, in order.
func (r Report) Failing() []string {
	var out []string
	for _, c := range r.Results {
		if c.Verdict == Fail {
			out = append(out, c.ID)
		}
	}
	return out
}

// judge fills in the overall verdict.
func (r *Report) judge(partial bool) {
	counts := map[Verdict]int{}
	ran := map[driver.Capability]bool{}
	missing := ""
	for _, c := range r.Results {
		counts[c.Verdict]++
		if c.Verdict == Pass || c.Verdict == Waived {
			for _, n := range c.Needs {
				ran[n] = true
			}
		}
		if c.Verdict == SkipEnvironment && len(c.Needs) == 0 && missing == "" {
			missing = c.ID + " could not run here: " + c.Evidence
		}
	}
	for _, c := range r.Capabilities {
		if known(c) && !ran[c] && missing == "" {
			missing = fmt.Sprintf("no case for %s has run", c)
		}
	}
	switch {
	case counts[Fail] > 0:
		r.Verdict, r.Why = NotConformant, "failing: "+strings.Join(r.Failing(), " ")
	case partial:
		r.Verdict, r.Why = Incomplete, "only some cases were asked for"
	case missing != "":
		r.Verdict, r.Why = Incomplete, missing
	case counts[Waived] > 0:
		r.Verdict = ConformantWithWaivers
	default:
		r.Verdict = Conformant
	}
}

// known tells whether the suite has cases for a capability; vendors' own and
// newer ones it cannot judge.
func known(c driver.Capability) bool {
	for _, k := range Cases() {
		if slices.Contains(k.Needs, c) {
			return true
		}
	}
	return false
}

// WriteText writes the report for people.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "driver %s %s  (%s, %s/%s, sha256 %.12s)\nsuite %s, driver protocol %d\n",
		r.Driver, r.Version, r.SDK, r.OS, r.Arch, r.SHA256, r.Suite, r.Protocol)
	group := ""
	counts := map[Verdict]int{}
	for _, c := range r.Results {
		counts[c.Verdict]++
		if c.Group != group {
			group = c.Group
			fmt.Fprintf(&b, "\n%s\n", group)
		}
		fmt.Fprintf(&b, "  %-16s %-10s %6d ms  %s\n", c.Verdict, c.ID, c.Millis, c.Must)
		if c.Verdict != Pass && c.Evidence != "" {
			fmt.Fprintf(&b, "      %s\n", strings.ReplaceAll(strings.TrimSpace(c.Evidence), "\n", "\n      "))
		}
	}
	fmt.Fprintf(&b, "\n%d passed, %d failed, %d waived, %d not declared, %d not possible here, in %.1f s\n%s",
		counts[Pass], counts[Fail], counts[Waived], counts[SkipUnclaimed], counts[SkipEnvironment],
		float64(r.Millis)/1000, r.Verdict)
	if r.Why != "" {
		fmt.Fprintf(&b, ": %s", r.Why)
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON writes the report as one JSON object.
func (r Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Started  string      `xml:"timestamp,attr"`
	Props    []junitProp `xml:"properties>property"`
	Cases    []junitCase `xml:"testcase"`
}

type junitProp struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitMessage `xml:"failure"`
	Skipped *junitMessage `xml:"skipped"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the report as JUnit XML, for CI systems.
func (r Report) WriteJUnit(w io.Writer) error {
	seconds := func(ms int64) string { return fmt.Sprintf("%.3f", float64(ms)/1000) }
	s := junitSuite{
		Name: "sero driver conformance: " + r.Driver, Tests: len(r.Results),
		Time: seconds(r.Millis), Started: r.Started.UTC().Format(time.RFC3339),
		Props: []junitProp{{"suite", r.Suite}, {"version", r.Version}, {"sha256", r.SHA256}, {"verdict", string(r.Verdict)}},
	}
	for _, c := range r.Results {
		jc := junitCase{Class: r.Driver + "." + c.Group, Name: c.ID + " " + c.Must, Time: seconds(c.Millis)}
		switch c.Verdict {
		case Pass:
		case Fail:
			s.Failures++
			jc.Failure = &junitMessage{Message: c.Must, Text: printable(c.Evidence)}
		case Waived, SkipUnclaimed, SkipEnvironment:
			s.Skipped++
			jc.Skipped = &junitMessage{Message: string(c.Verdict), Text: printable(c.Evidence)}
		}
		s.Cases = append(s.Cases, jc)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// printable drops what XML cannot carry.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
