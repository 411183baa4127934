package environ

import (
	"slices"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// callerNames are the variables that host mode takes from the caller.
var callerNames = []string{
	"PATH", "TZ", "LANG", "LC_ALL", "LC_ADDRESS", "LC_COLLATE", "LC_CTYPE", "LC_IDENTIFICATION", "LC_MEASUREMENT",
	"LC_MESSAGES", "LC_MONETARY", "LC_NAME", "LC_NUMERIC", "LC_PAPER", "LC_TELEPHONE", "LC_TIME",
}

// Caller is what host mode takes of a caller's environment: its PATH, its time zone
// and its locale, as far as it has them.
func Caller(lookup func(name string) (string, bool)) []driver.EnvVar {
	var env []driver.EnvVar
	for _, name := range callerNames {
		if value, ok := lookup(name); ok {
			env = append(env, driver.EnvVar{Name: name, Value: value})
		}
	}
	return env
}

// NotCallers is the name of the first variable that Caller does not give; empty if
// there is none.
func NotCallers(env []driver.EnvVar) string {
	for _, v := range env {
		if !slices.Contains(callerNames, v.Name) {
			return v.Name
		}
	}
	return ""
}
