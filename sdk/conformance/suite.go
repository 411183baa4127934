package conformance

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Version is the suite's own version, told in reports.
const Version = "1.0.0"

// Case is one sentence of the contract and how to see it kept.
type Case struct {
	ID    string              // "STOP-2"; never reused for something else
	Group string              // "lifecycle"
	Needs []driver.Capability // without them the case is skipped as unclaimed
	Must  string              // the sentence, told when it is broken
	Run   func(t T, s *Session)

	engine bool // needs a runtime that is ready
	last   bool // runs after all others, and alone
}

// T is what a case reports to. Fatalf and Skipf end the case.
type T interface {
	Helper()
	Logf(format string, args ...any)   // evidence
	Errorf(format string, args ...any) // the sentence is broken
	Fatalf(format string, args ...any) // the same, and there is no going on
	Skipf(format string, args ...any)  // this machine cannot show it
	Cleanup(f func())                  // run at the end of the case, last first
}

// Profile says what the machine offers to sandboxes.
type Profile struct {
	Image     string   `json:"image,omitempty"`     // for sandboxes; sero-node:latest
	PullImage string   `json:"pullImage,omitempty"` // one that may be pulled from a registry
	User      string   `json:"user,omitempty"`      // a uid that commands may run as; 1000
	Listen    []string `json:"listen,omitempty"`    // a command that listens on the TCP port {port}

	// StopSystem allows the cases that stop the whole system, with all that others
	// run in it. Without it they are skipped.
	StopSystem bool `json:"stopSystem,omitempty"`
}

// Waiver accepts that a case fails.
type Waiver struct {
	Reason  string    `json:"reason"`
	Expires time.Time `json:"expires"` // zero: never
}

// Config says what to test.
type Config struct {
	Path     string   // the driver's binary
	Args     []string // after the path
	Env      []string // the driver's environment; nil: an allow-list of this process's
	Settings []byte   // for Configure, a JSON object
	Run      *regexp.Regexp
	Profile  Profile
	Waivers  map[string]Waiver // by case ID
	Parallel int               // drivers tested at once; 0: 4
	Timeout  time.Duration     // of each case; 0: a minute
	Slack    time.Duration     // how much longer than the contract says a busy machine may take; 0: two seconds
	Log      *slog.Logger      // nil: nothing is logged
}

// envAllowed is what drivers get of this process's environment, as from sero.
var envAllowed = []string{
	"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "SHELL",
	"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "XDG_RUNTIME_DIR",
	"SERO_APPLE_CONTAINER_PATH",
}

func (c *Config) fill() {
	c.Profile.Image = cmp.Or(c.Profile.Image, "sero-node:latest")
	c.Profile.User = cmp.Or(c.Profile.User, "1000")
	c.Parallel = cmp.Or(c.Parallel, 4)
	c.Timeout = cmp.Or(c.Timeout, time.Minute)
	c.Slack = cmp.Or(c.Slack, 2*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Env == nil {
		for _, name := range envAllowed {
			if v, ok := os.LookupEnv(name); ok {
				c.Env = append(c.Env, name+"="+v)
			}
		}
	}
}

// Cases lists the suite, in the order of the report.
func Cases() []Case {
	return slices.Concat(
		[]Case{startCase}, wireCases(), negotiationCases(), settingsCases(), healthCases(),
		createCases(), lifecycleCases(), listCases(),
		execCases(), execEdgeCases(), execStreamCases(), execEndCases(), terminalCases(),
		errorCases(), imageCases(), mountCases(), networkCases(), partCases(), factCases(),
		crashCases(), cleanUpCases(),
	)
}

// Run tests a driver as subtests of t, one for each case: what fails fails t,
// and what is skipped says why.
func Run(t *testing.T, c Config) {
	t.Helper()
	report, err := Check(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range report.Results {
		t.Run(r.Group+"/"+r.ID, func(t *testing.T) {
			switch r.Verdict {
			case Pass, Waived:
			case SkipUnclaimed, SkipEnvironment:
				t.Skipf("%s: %s", r.Verdict, r.Evidence)
			case Fail:
				t.Errorf("%s must hold: %s\n%s", r.ID, r.Must, r.Evidence)
			}
		})
	}
	if report.Verdict == NotConformant && !t.Failed() {
		t.Errorf("%s: %s", report.Verdict, report.Why)
	}
}

// Check tests a driver and reports. Its error is about the suite's own
// surroundings only (no such file, no temporary directory); what the driver does
// wrong is in the report. It ends with ctx, and leaves nothing behind.
func Check(ctx context.Context, c Config) (Report, error) {
	c.fill()
	r, err := newRunner(c)
	if err != nil {
		return Report{}, err
	}
	defer r.close()
	return r.run(ctx), nil
}
