package negotiate_test

import (
	"slices"
	"testing"

	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// A2: a workspace that has had a sandbox that isolates is not run on the host,
// whatever its driver says, also when there is no such driver any more.
func TestA2NoReasonOfADriverLeadsToTheHost(t *testing.T) {
	reasons := []driver.Reason{
		driver.PermissionDenied, driver.Internal, driver.OutOfDisk, driver.EngineNotInstalled, driver.EngineNotRunning, driver.EngineWedged,
		driver.Unsupported, driver.Timeout, driver.Canceled, driver.DriverCrashed, driver.DriverFailed, driver.DriverSetAside,
		driver.DriverUntrusted, driver.DriverIncompatible, driver.DriverNotFound, driver.NotFound, driver.InvalidArgument, "X_QUOTA", "X_", "",
	}
	var all []offers
	for _, reason := range reasons {
		all = append(all, offers{host, with(docker, func(o *negotiate.Offer) { o.Problem = driver.Errorf(reason, "it does not work") })})
		for state := range driver.HealthState(9) {
			if state != driver.HealthReady {
				o := unable(down(docker, state), driver.CapSystemStart)
				o.Health.Reason = reason
				all = append(all, offers{host, o}, offers{host, o, ssh, fake})
			}
		}
	}
	all = append(all, offers{host}, offers{host, ssh, fake}, offers{host, unable(docker, driver.CapCopy)})
	for i, have := range all {
		request := negotiate.Request{LivesIn: "docker"}
		if i == len(all)-1 {
			request.Needs = []driver.Capability{driver.CapCopy}
		}
		choice, err := negotiate.Choose(request, have)
		if err == nil {
			t.Errorf("%+v: runs in %s", have, choice.Actual)
			continue
		}
		e := driver.AsError(err)
		asks := func(r driver.Remedy) bool { return slices.Equal(r.Command, []string{"sero", "up", "--driver", "host"}) }
		if e.Driver != "docker" || !slices.ContainsFunc(e.Remedies, asks) {
			t.Errorf("the error does not say what to do: %+v", e)
		}
	}
	t.Logf("%d tried, 0 may be accepted", len(all))

	twins := map[string]negotiate.Request{
		"a workspace that never had one": {}, "a person's wish": {Mode: negotiate.ModeHost}, "by name": {Driver: "host"},
	}
	for name, request := range twins {
		if choice, err := negotiate.Choose(request, offers{host, broken}); err != nil || !choice.HostMode {
			t.Errorf("%s: %+v %v", name, choice, err)
		}
	}
	t.Logf("%d benign twins run on the host", len(twins))
}
