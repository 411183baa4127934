package negotiate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/sero-labs/sero-runtime/internal/nearest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// maxRemedies is how many remedies an answer collects from several drivers.
const maxRemedies = 6

func rejection(name string, why *driver.Error) Rejection {
	return Rejection{Driver: name, Reason: why.Reason, Message: why.Message, Remedies: why.Remedies}
}

// summary is every why-not in one line: "docker: not installed; …".
func summary(rejected []Rejection) string {
	lines := make([]string, 0, len(rejected))
	for _, r := range rejected {
		lines = append(lines, r.Driver+": "+r.Message)
	}
	return strings.Join(lines, "; ")
}

// remediesOf are the remedies of all rejections, best driver first, each once.
func remediesOf(rejected []Rejection) []driver.Remedy {
	var all []driver.Remedy
	for _, r := range rejected {
		for _, remedy := range r.Remedies {
			same := func(have driver.Remedy) bool {
				return have.Text == remedy.Text && slices.Equal(have.Command, remedy.Command)
			}
			if len(all) < maxRemedies && !slices.ContainsFunc(all, same) {
				all = append(all, remedy)
			}
		}
	}
	return all
}

func withRemedies(e *driver.Error, rejected []Rejection) *driver.Error {
	e.Remedies = remediesOf(rejected)
	return e.Remedy("see all drivers", "sero", "driver", "ls")
}

func (c chooser) notFound(name string) *driver.Error {
	known := make([]string, 0, len(c.offers))
	for _, o := range c.offers {
		if c.request.HideFake && o.Name == FakeDriver {
			continue
		}
		known = append(known, o.Name)
	}
	return NotFound(name, known)
}

// NotFound is the DriverNotFound error for a name, with the known name that was
// probably meant.
func NotFound(name string, known []string) *driver.Error {
	e := driver.Errorf(driver.DriverNotFound, "there is no driver %q", clip(name)).About(clip(name))
	if match := nearest.Name(name, known); match != "" {
		e.Message += fmt.Sprintf(", did you mean %s?", match)
	}
	return e.Remedy("see the drivers there are", "sero", "driver", "ls")
}

var capabilityName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z][a-z0-9.-]*(/[a-z0-9.-]+)?@[0-9]+$`) })

// lookCommand is the way to the drivers that driver.Lacks names.
var lookCommand = []string{"sero", "driver", "ls"}

// WhoHas adds to an Unsupported error which other drivers have the capability
// that is missing. Any other error is returned as it is.
func WhoHas(err *driver.Error, offers []Offer) *driver.Error {
	if err.Reason != driver.Unsupported || !capabilityName().MatchString(err.Resource) {
		return err
	}
	missing := driver.Capability(err.Resource)
	var names, usable []string
	for _, o := range slices.SortedFunc(slices.Values(offers), Compare) {
		if o.Name == err.Driver || o.Name == FakeDriver || !slices.Contains(o.Capabilities, missing) {
			continue
		}
		if Unusable(o) == nil {
			usable = append(usable, o.Name)
			names = append(names, o.Name)
		} else {
			names = append(names, o.Name+" (not usable now)")
		}
	}
	e := *err
	e.Remedies = slices.DeleteFunc(slices.Clone(err.Remedies), func(r driver.Remedy) bool {
		return slices.Equal(r.Command, lookCommand) // the drivers are looked at below
	})
	switch {
	case len(names) == 0:
		e.Message += "; no installed driver has it"
	case len(names) == 1:
		e.Message += "; " + names[0] + " has it"
	default:
		e.Message += "; " + strings.Join(names, ", ") + " have it"
	}
	if len(usable) > 0 {
		return e.Remedy("use the driver "+usable[0], "sero", "up", "--driver", usable[0])
	}
	return e.Remedy("see what each driver can do", lookCommand...)
}
