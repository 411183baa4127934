// Package negotiate settles what a driver and the core can agree on, and which
// driver a workspace gets. It decides and does nothing else: no process, no
// file, no clock. Package registry feeds it.
package negotiate

import (
	"slices"
	"strings"

	"github.com/hashicorp/go-version"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Host is what the core is, and what it demands of drivers.
type Host struct {
	Version  string            // semantic version of the core
	Platform string            // GOOS/GOARCH
	SDKs     map[string]string // constraint on the version of an SDK, by the SDK's name
	Drivers  map[string]string // constraint on a driver's version, by the driver's name
}

// SDKs are the core's own demands on what drivers were built with. An SDK that
// is not listed, or none at all, is accepted: the protocol decides then.
var SDKs = map[string]string{"sero-go": ">= 0.1, < 2"}

// Handshake is what a driver says of itself.
type Handshake struct {
	Info         driver.Info
	SDKName      string
	SDKVersion   string
	Capabilities []driver.Capability
}

// CheckVersions tells whether core and driver can work together, beyond the
// wire protocol: the driver's demand on the core, the core's demands on the
// driver and its SDK, the platform, and the one capability that every driver
// has. The first disagreement is returned as DriverIncompatible: one line that
// says who has what and who needs what, with what to upgrade.
func CheckVersions(host Host, d Handshake) error {
	checks := []func(Host, Handshake) *driver.Error{
		checkOwnVersion, checkHostConstraint, checkSDK, checkDriverConstraint, checkPlatform, checkExec,
	}
	for _, check := range checks {
		if err := check(host, d); err != nil {
			err.Driver = clip(d.Info.Name)
			return err
		}
	}
	return nil
}

func incompatible(format string, args ...any) *driver.Error {
	return driver.Errorf(driver.DriverIncompatible, format, args...)
}

func checkOwnVersion(_ Host, d Handshake) *driver.Error {
	if _, err := parseVersion(d.Info.Version); err != nil {
		return incompatible("its version %q is not a semantic version", clip(d.Info.Version)).
			Remedy("fix the version in the driver, such as 1.2.3")
	}
	return nil
}

func checkHostConstraint(host Host, d Handshake) *driver.Error {
	demand := d.Info.HostConstraint
	if strings.TrimSpace(demand) == "" {
		return nil
	}
	ok, err := satisfies(host.Version, demand)
	switch {
	case err != nil && validConstraint(demand):
		return incompatible("it needs sero %s, and this sero has no semantic version: %q", clip(demand), clip(host.Version)).
			Remedy("use a release of sero")
	case err != nil:
		return incompatible("its demand on sero is not a version constraint: %q", clip(demand)).
			Remedy(`fix it in the driver, such as ">= 0.1, < 2"`)
	case !ok:
		return incompatible("version %s needs sero %s, and this is sero %s", clip(d.Info.Version), clip(demand), clip(host.Version)).
			Remedy("install a sero that is " + clip(demand)).
			Remedy("install a version of the driver for sero " + clip(host.Version))
	}
	return nil
}

func checkSDK(host Host, d Handshake) *driver.Error {
	demand, listed := host.SDKs[d.SDKName]
	if !listed {
		return nil
	}
	ok, err := satisfies(d.SDKVersion, demand)
	switch {
	case err != nil && validConstraint(demand):
		return incompatible("it was built with the SDK %s %q, which is not a semantic version", clip(d.SDKName), clip(d.SDKVersion)).
			Remedy("build the driver with a released SDK")
	case err != nil:
		return badDemand(demand)
	case !ok:
		return incompatible("it was built with the SDK %s %s, and sero %s needs %s", clip(d.SDKName), clip(d.SDKVersion), clip(host.Version), demand).
			Remedy("install a newer version of the driver, or build it with the SDK " + demand)
	}
	return nil
}

func checkDriverConstraint(host Host, d Handshake) *driver.Error {
	demand := host.Drivers[d.Info.Name]
	if strings.TrimSpace(demand) == "" {
		return nil
	}
	ok, err := satisfies(d.Info.Version, demand)
	switch {
	case err != nil:
		return badDemand(demand)
	case !ok:
		return incompatible("it is version %s, and this machine's configuration needs %s", clip(d.Info.Version), clip(demand)).
			Remedy("install such a version of the driver").
			Remedy("change drivers." + clip(d.Info.Name) + ".constraint in config.json")
	}
	return nil
}

func badDemand(demand string) *driver.Error {
	return incompatible("what this machine demands of it is not a version constraint: %q", clip(demand)).
		Remedy(`write one such as ">= 1.2, < 2" into config.json`)
}

func checkPlatform(host Host, d Handshake) *driver.Error {
	if len(d.Info.Platforms) == 0 || slices.Contains(d.Info.Platforms, host.Platform) {
		return nil
	}
	return incompatible("it works on %s, and this machine is %s", clip(strings.Join(d.Info.Platforms, ", ")), host.Platform).
		Remedy("install a build of the driver for this machine, if there is one")
}

func checkExec(host Host, d Handshake) *driver.Error {
	if slices.Contains(d.Capabilities, driver.CapExec) {
		return nil
	}
	return incompatible("version %s does not have the capability %s, which sero %s needs of every driver", clip(d.Info.Version), driver.CapExec, clip(host.Version)).
		Remedy("install another version of the driver")
}

// satisfies tells whether a version is within a constraint. A pre-release
// counts as the release that it leads to, unless the constraint names a
// pre-release of the same one: 0.2.0-dev has what 0.2 has, and go-version alone
// would keep development builds from every plain constraint.
func satisfies(have, constraint string) (bool, error) {
	v, err := parseVersion(have)
	if err != nil {
		return false, err
	}
	all, err := parseConstraint(constraint)
	if err != nil {
		return false, err
	}
	for _, c := range all {
		seen := v
		if v.Prerelease() != "" && !samePrereleaseBase(c, v) {
			seen = v.Core()
		}
		if !c.Check(seen) {
			return false, nil
		}
	}
	return true, nil
}

func samePrereleaseBase(c *version.Constraint, v *version.Version) bool {
	if !c.Prerelease() {
		return false
	}
	base, err := version.NewVersion(strings.TrimLeft(c.String(), "<>=!~ "))
	return err == nil && base.Core().Equal(v.Core())
}

// maxVersionText bounds what is parsed: it comes from another process.
const maxVersionText = 200

func parseVersion(s string) (*version.Version, error) {
	if len(s) > maxVersionText {
		return nil, driver.Errorf(driver.InvalidArgument, "the version is too long")
	}
	return version.NewVersion(s)
}

func parseConstraint(s string) (version.Constraints, error) {
	if len(s) > maxVersionText {
		return nil, driver.Errorf(driver.InvalidArgument, "the constraint is too long")
	}
	return version.NewConstraint(s)
}

func validConstraint(s string) bool {
	_, err := parseConstraint(s)
	return err == nil
}

// clip makes a text of a driver's fit for a line.
func clip(s string) string {
	const most = 120
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
