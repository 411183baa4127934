// Package doctor looks at this machine and says what keeps sero from working
// well on it, and what to do about each. It changes nothing.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Verdict is how a check ended.
type Verdict int

// The verdicts.
const (
	OK   Verdict = iota // all is well
	Warn                // it works, with a limit that the message names
	Fail                // it does not work
)

// Check is one thing that was looked at.
type Check struct {
	Name     string
	Verdict  Verdict
	Message  string // one line
	Remedies []driver.Remedy
}

// nameTimeout bounds the look-up of a name that should need no network.
const nameTimeout = time.Second

// Run makes every check. offers are what the drivers said just now; home is
// sero's directory.
func Run(ctx context.Context, home string, offers []negotiate.Offer) []Check {
	checks := []Check{writable(home), freeSpace(home)}
	checks = append(checks, drivers(offers)...)
	checks = append(checks, names(ctx), shell())
	return append(checks, platform()...)
}

// writable tries to write where the daemon keeps its state.
func writable(home string) Check {
	c := Check{Name: "home", Message: home + " can be written"}
	f, err := os.CreateTemp(home, ".doctor-*")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		c.Verdict, c.Message = Fail, "sero cannot write its state: "+err.Error()
		c.Remedies = []driver.Remedy{{Text: "make the directory writable, or set SERO_HOME to another one"}}
	}
	return c
}

// lowSpace is the free space, in bytes, below which images and logs get into
// trouble.
const lowSpace = 1 << 30

func freeSpace(home string) Check {
	c := Check{Name: "disk"}
	free, err := freeBytes(home)
	switch {
	case err != nil:
		c.Verdict, c.Message = Warn, "the free space is not known: "+err.Error()
	case free < lowSpace:
		c.Verdict, c.Message = Warn, fmt.Sprintf("only %d MiB are free at %s", free>>20, home)
		c.Remedies = []driver.Remedy{{Text: "free some space"}}
	default:
		c.Message = fmt.Sprintf("%d GiB are free", free>>30)
	}
	return c
}

// drivers has a check for each driver, and one for whether any isolates.
func drivers(offers []negotiate.Offer) []Check {
	var checks []Check
	isolated := false
	for _, o := range offers {
		c := Check{Name: "driver " + o.Name}
		problem := o.Problem
		switch {
		case problem != nil:
			c.Verdict, c.Message, c.Remedies = Warn, problem.Message, problem.Remedies
		case o.Health.State == driver.HealthReady:
			c.Message = "ready, isolation " + o.Info.Isolation.String()
			isolated = isolated || o.Info.Isolation > driver.IsolationNone && o.Name != "fake"
		default:
			c.Verdict, c.Message, c.Remedies = Warn, o.Health.State.String()+": "+o.Health.Message, o.Health.Remedies
		}
		checks = append(checks, c)
	}
	if !isolated {
		checks = append(checks, Check{
			Name: "isolation", Verdict: Warn,
			Message:  "no container driver is ready: commands run as you, on this machine, with nothing between",
			Remedies: []driver.Remedy{{Text: "install a container runtime, then look again", Command: []string{"sero", "driver", "ls"}}},
		})
	}
	return checks
}

// names tries a name as previews will have them. Browsers resolve it by
// themselves; other programs ask the system.
func names(ctx context.Context) Check {
	c := Check{Name: "names", Message: "*.localhost names resolve to this machine"}
	ctx, cancel := context.WithTimeoutCause(ctx, nameTimeout, errors.New("the resolver did not answer"))
	defer cancel()
	addresses, err := net.DefaultResolver.LookupIPAddr(ctx, "web.doctor.localhost")
	for _, a := range addresses {
		if !a.IP.IsLoopback() {
			err = fmt.Errorf("it resolves to %s", a.IP)
		}
	}
	if err != nil {
		c.Verdict, c.Message = Warn, "*.localhost names work in browsers only; other programs need the numeric URL, which is always shown"
		c.Remedies = []driver.Remedy{{Text: "on Debian or Ubuntu, install libnss-myhostname"}}
	}
	return c
}

// shell looks for the shell that sero shell starts in host mode.
func shell() Check {
	c := Check{Name: "shell"}
	path := os.Getenv("SHELL")
	if path == "" {
		path = "/bin/sh"
	}
	c.Message = path
	if info, err := os.Stat(path); err != nil || !filepath.IsAbs(path) || info.Mode()&0o111 == 0 {
		c.Verdict, c.Message = Warn, fmt.Sprintf("the shell %q cannot be run; /bin/sh is used", path)
		c.Remedies = []driver.Remedy{{Text: "set SHELL to an installed shell"}}
	}
	return c
}
