package doctor_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/sero-labs/sero-runtime/core/doctor"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func offer(name string, isolation driver.Isolation, health driver.Health) negotiate.Offer {
	return negotiate.Offer{Name: name, Info: driver.Info{Name: name, Isolation: isolation}, Health: health}
}

func find(checks []doctor.Check, name string) (doctor.Check, bool) {
	i := slices.IndexFunc(checks, func(c doctor.Check) bool { return c.Name == name })
	if i < 0 {
		return doctor.Check{}, false
	}
	return checks[i], true
}

func TestChecks(t *testing.T) {
	ready := driver.Health{State: driver.HealthReady}
	host := offer("host", driver.IsolationNone, ready)
	stopped := offer("docker", driver.IsolationSharedKernel, driver.Health{
		State: driver.HealthStopped, Message: "the engine is off", Remedies: []driver.Remedy{{Text: "switch it on"}},
	})
	broken := negotiate.Offer{Name: "third", Problem: driver.Errorf(driver.DriverFailed, "it ends at once").Remedy("run it by hand")}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		home    string
		offers  []negotiate.Offer
		check   string
		want    doctor.Verdict
		missing bool
	}{
		"home can be written":  {t.TempDir(), nil, "home", doctor.OK, false},
		"home is a file":       {file, nil, "home", doctor.Fail, false},
		"a driver that works":  {t.TempDir(), []negotiate.Offer{host}, "driver host", doctor.OK, false},
		"an engine is stopped": {t.TempDir(), []negotiate.Offer{stopped}, "driver docker", doctor.Warn, false},
		"a driver is broken":   {t.TempDir(), []negotiate.Offer{broken}, "driver third", doctor.Warn, false},
		"only the host":        {t.TempDir(), []negotiate.Offer{host, stopped}, "isolation", doctor.Warn, false},
		"only the fake":        {t.TempDir(), []negotiate.Offer{offer("fake", driver.IsolationVM, ready)}, "isolation", doctor.Warn, false},
		"one that isolates":    {t.TempDir(), []negotiate.Offer{offer("docker", driver.IsolationSharedKernel, ready)}, "isolation", doctor.OK, true},
	} {
		t.Run(name, func(t *testing.T) {
			checks := doctor.Run(t.Context(), c.home, c.offers)
			got, found := find(checks, c.check)
			if found == c.missing || found && got.Verdict != c.want {
				t.Errorf("found %v: %+v", found, got)
			}
			for _, check := range checks {
				if check.Message == "" || check.Verdict != doctor.OK && len(check.Remedies) == 0 {
					t.Errorf("a check without a message or a remedy: %+v", check)
				}
			}
		})
	}
}
