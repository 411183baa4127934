package applecontainer

import (
	"bytes"
	"context"
	"encoding/json"
	"net/netip"
	"path/filepath"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// settings are the driver's, in config.json under drivers.apple-container.
type settings struct {
	Path  string   `json:"path"`
	Calls int      `json:"calls"`
	DNS   []string `json:"dns"`
}

// Schema is a JSON Schema of the settings.
func (d *Driver) Schema() string {
	return `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "path": {"type": "string", "description": "Apple's container CLI, an absolute path; taken on any platform"},
    "calls": {"type": "integer", "minimum": 1, "maximum": 64, "default": 8, "description": "how many calls of the CLI may be under way at once"},
    "dns": {"type": "array", "items": {"type": "string"}, "description": "addresses of name servers for new sandboxes, where the system's own is cut off by a VPN"}
  }
}`
}

// Configure takes settings over. They hold for calls that begin later.
func (d *Driver) Configure(_ context.Context, data []byte, validateOnly bool) error {
	s, err := parseSettings(data)
	if err != nil || validateOnly {
		return err
	}
	d.cli.configure(s)
	d.health.poke()
	return nil
}

func (c *cli) configure(s settings) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.Path != "" {
		c.explicit = s.Path
	}
	if s.Calls != 0 && s.Calls != cap(c.slots) {
		c.slots = make(chan struct{}, s.Calls) // calls under way give back to the old ones
	}
	c.dns = s.DNS
}

func parseSettings(data []byte) (settings, error) {
	var s settings
	if len(bytes.TrimSpace(data)) == 0 {
		return s, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return s, invalid("", "the settings are not a JSON object: %v", err)
	}
	targets := map[string]any{"path": &s.Path, "calls": &s.Calls, "dns": &s.DNS}
	for name, value := range fields {
		target, ok := targets[name]
		if !ok {
			return s, invalid(name, "there is no setting %q; there are path, calls and dns", name)
		}
		if err := json.Unmarshal(value, target); err != nil {
			return s, invalid(name, "the setting %s cannot be read: %v", name, err)
		}
	}
	if _, given := fields["calls"]; given && (s.Calls < 1 || s.Calls > 64) {
		return s, invalid("calls", "the setting calls is %d; it has to be from 1 to 64", s.Calls)
	}
	if s.Path != "" && !filepath.IsAbs(s.Path) {
		return s, invalid("path", "the setting path is %q; it has to be an absolute path", s.Path)
	}
	for _, server := range s.DNS {
		if _, err := netip.ParseAddr(server); err != nil {
			return s, invalid("dns", "%q in the setting dns is not an IP address", server)
		}
	}
	return s, nil
}

func invalid(field, format string, args ...any) *driver.Error {
	e := driver.Errorf(driver.ConfigInvalid, format, args...)
	e.Field = field
	return e
}
