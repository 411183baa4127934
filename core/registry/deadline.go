package registry

import (
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// limit bounds a call.
type limit struct {
	within  time.Duration // 0: the caller's context alone
	control bool          // a call whose missed deadlines count against the driver
}

// limits are those of each RPC of sero.driver.v1.DriverService. Stop's is on top
// of its grace time. What runs as long as its caller wants has none.
var limits = map[string]limit{
	"Configure":     {within: 10 * time.Second},
	"GetSandbox":    {within: 10 * time.Second, control: true},
	"ListSandboxes": {within: 10 * time.Second, control: true},
	"CreateSandbox": {within: 2 * time.Minute, control: true},
	"StartSandbox":  {within: 2 * time.Minute, control: true},
	"StopSandbox":   {within: 15 * time.Second, control: true},
	"RemoveSandbox": {within: time.Minute, control: true},
	"ListImages":    {within: 30 * time.Second, control: true},
	"RemoveImage":   {within: time.Minute, control: true},
	"StartSystem":   {within: 2 * time.Minute},
	"StopSystem":    {within: 2 * time.Minute},
	"EnsureImage":   {within: 30 * time.Minute},
	"BuildImage":    {within: time.Hour},
	"Exec":          {},
	"CopyIn":        {},
	"CopyOut":       {},
	"Stats":         {},
	"Logs":          {},
	"Events":        {},
	"Listeners":     {},
	"Health":        {},
}

// limit is the limit of a call with the configuration's changes.
func (c *Config) limit(call string) limit {
	l := limits[call]
	if within, ok := c.Deadlines[call]; ok {
		l.within = within
	}
	return l
}

func noAnswer(call string, within time.Duration) *driver.Error {
	e := driver.Errorf(driver.Timeout, "%s was not answered within %s", call, within)
	e.Retryable = true
	return e.Remedy("see whether the engine works", "sero", "doctor")
}
