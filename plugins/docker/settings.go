package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Schema describes the driver's settings.
func (d *Driver) Schema() string {
	return `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "host": {
      "type": "string",
      "description": "The engine's address, as in DOCKER_HOST: unix:///var/run/docker.sock"
    },
    "context": {
      "type": "string",
      "description": "The docker context to use, as in DOCKER_CONTEXT"
    }
  }
}`
}

// Configure checks and takes the settings. It touches no engine.
func (d *Driver) Configure(_ context.Context, text []byte, validateOnly bool) error {
	var s settings
	if len(bytes.TrimSpace(text)) > 0 {
		var err error
		if s, err = readSettings(text); err != nil {
			return err
		}
	}
	if s.Host != "" && s.Context != "" {
		return settingsError("context", "host and context cannot both be set")
	}
	if s.Host != "" {
		if err := checkHost(endpoint{host: s.Host, source: "the driver's settings"}); err != nil {
			return settingsError("host", "%w", err)
		}
	}
	if !validateOnly {
		d.engine.configure(s)
	}
	return nil
}

func readSettings(text []byte) (settings, error) {
	var s settings
	var given map[string]json.RawMessage
	if err := json.Unmarshal(text, &given); err != nil {
		return s, settingsError("", "the settings of the docker driver are no JSON object: %w", err)
	}
	fields := map[string]*string{"host": &s.Host, "context": &s.Context}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		value, known := fields[name]
		if !known {
			return s, settingsError(name, "the docker driver has no setting %q", name)
		}
		if err := json.Unmarshal(given[name], value); err != nil {
			return s, settingsError(name, "the setting %s of the docker driver must be a string", name)
		}
	}
	return s, nil
}

func settingsError(field, format string, args ...any) error {
	e := driver.Errorf(driver.ConfigInvalid, format, args...)
	e.Field = field
	return e.Remedy("mend drivers.docker in config.json")
}
