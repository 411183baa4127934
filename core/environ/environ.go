// Package environ makes the environment of commands: what sero sets for every
// one, what a workspace sets on top, and secrets, which are looked up when they
// are needed and are never part of a sandbox.
package environ

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/sero-labs/sero-runtime/internal/brief"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Terminal tells programs what terminal they have. It holds on the host too.
var Terminal = driver.EnvVar{Name: "TERM", Value: "xterm-256color"}

// Network makes servers inside a sandbox listen where they can be reached from
// outside of it. It is not for the host, where it would show a person's servers
// to the network.
var Network = []driver.EnvVar{
	{Name: "HOST", Value: "0.0.0.0"},
	{Name: "HOSTNAME", Value: "0.0.0.0"},
	{Name: "VITE_HOST", Value: "0.0.0.0"},
}

// Sandbox is what every command in a sandbox gets: Terminal, Network, a locale
// that every image has, and the machine's time zone.
func Sandbox() []driver.EnvVar {
	env := append([]driver.EnvVar{Terminal, {Name: "LANG", Value: "C.UTF-8"}}, Network...)
	if zone := TimeZone(os.Getenv("TZ"), "/etc/localtime"); zone != "" {
		env = append(env, driver.EnvVar{Name: "TZ", Value: zone})
	}
	return Merge(env)
}

// Merge puts lists over one another, the last one winning, ordered by name.
func Merge(lists ...[]driver.EnvVar) []driver.EnvVar {
	merged := map[string]driver.EnvVar{}
	for _, list := range lists {
		for _, v := range list {
			merged[v.Name] = v
		}
	}
	env := make([]driver.EnvVar, 0, len(merged))
	for _, name := range slices.Sorted(maps.Keys(merged)) {
		env = append(env, merged[name])
	}
	return env
}

// What a system hands a program at most, in bytes: Linux refuses a longer variable,
// and sero's own frames a larger environment.
const (
	maxVariable = 128<<10 - 1
	maxTotal    = 1<<20 - 128<<10
	perVariable = 16 // what each one costs besides its text
)

// Oversize says what is too large to be handed to a program: the whole, or one of
// the variables. It is empty for what can be.
func Oversize(env []driver.EnvVar) string {
	total := 0
	for _, v := range env {
		size := len(v.Name) + 1 + len(v.Value)
		if size > maxVariable {
			return fmt.Sprintf("the variable %s is too large: %d bytes, at most %d can be passed", brief.Text(v.Name), size, maxVariable)
		}
		total += size + perVariable
	}
	if total > maxTotal {
		return fmt.Sprintf("the environment is too large: %d variables of %d bytes, at most %d bytes can be passed", len(env), total, maxTotal)
	}
	return ""
}

// Of is the environment that a map gives, ordered by name.
func Of(values map[string]string) []driver.EnvVar {
	env := make([]driver.EnvVar, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		env = append(env, driver.EnvVar{Name: name, Value: values[name]})
	}
	return env
}

var zonePattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$`) })

// TimeZone is the name of the machine's time zone: tz if that is a zone's name,
// else the one that the link localtime leads to. It is empty if neither tells.
func TimeZone(tz, localtime string) string {
	if zonePattern().MatchString(tz) {
		return tz
	}
	for _, follow := range []func(string) (string, error){os.Readlink, filepath.EvalSymlinks} {
		target, err := follow(localtime)
		if err != nil {
			continue
		}
		if _, zone, ok := strings.Cut(target, "zoneinfo/"); ok && zonePattern().MatchString(zone) {
			return zone
		}
	}
	return ""
}
