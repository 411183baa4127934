package fake

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// ScriptEnv is the environment variable with the script that a fake driver's
// process starts with: JSON, or @ and the path of a file with it.
const ScriptEnv = "SERO_FAKE_SCRIPT"

// Script says what the fake is and when it fails. The zero Script is a healthy
// driver with every capability that keeps every promise.
type Script struct {
	// What a process is from its start; these count in SERO_FAKE_SCRIPT and New
	// only, for a driver's identity is constant.
	Name           string              `json:"name,omitempty"`           // fake
	Version        string              `json:"version,omitempty"`        // 1.0.0
	HostConstraint string              `json:"hostConstraint,omitempty"` // demand on the core
	Isolation      string              `json:"isolation,omitempty"`      // none, shared-kernel (the default) or vm
	Capabilities   []driver.Capability `json:"capabilities,omitempty"`   // exactly these; absent: all
	Without        []driver.Capability `json:"without,omitempty"`        // all but these
	Startup        Startup             `json:"startup,omitzero"`

	// What Configure's settings may change, too.
	Clock  string       `json:"clock,omitempty"`  // real (the default) or manual
	Health []HealthStep `json:"health,omitempty"` // ready, if there is none
	Images []string     `json:"images,omitempty"` // local at first; sero-node:latest
	Remote []string     `json:"remote,omitempty"` // what can be pulled
	Rules  []Rule       `json:"rules,omitempty"`
	Faults []string     `json:"faults,omitempty"` // names of Faults
}

// Startup is what the process does before it serves.
type Startup struct {
	Stdout      string   `json:"stdout,omitempty"`      // printed before the handshake line
	Stderr      string   `json:"stderr,omitempty"`      // printed first
	FloodStdout int      `json:"floodStdout,omitempty"` // bytes printed to stdout once it serves
	Delay       Duration `json:"delay,omitempty"`
	Hang        bool     `json:"hang,omitempty"`
	Exit        *int     `json:"exit,omitempty"` // ends with this code
	WireVersion int      `json:"wireVersion,omitempty"`
	NeedEnv     string   `json:"needEnv,omitempty"` // ends with 1 when it is not set
}

// HealthStep is one report of the health stream.
type HealthStep struct {
	State    string          `json:"state"` // a HealthState's word, or a number from the future
	Reason   driver.Reason   `json:"reason,omitempty"`
	Message  string          `json:"message,omitempty"`
	Remedies []driver.Remedy `json:"remedies,omitempty"`
	After    Duration        `json:"after,omitempty"` // waited before the report
	End      bool            `json:"end,omitempty"`   // the stream ends instead
}

// Rule makes calls misbehave. What is set happens in the order delay, crash
// before, hang, error.
type Rule struct {
	Call     string            `json:"call"`              // the RPC's name in sero.driver.v1, or *
	Sandbox  string            `json:"sandbox,omitempty"` // only for this id
	Nth      int               `json:"nth,omitempty"`     // from the nth matching call on; 0 and 1: the first
	Times    int               `json:"times,omitempty"`   // for so many calls; 0: for ever
	Delay    Duration          `json:"delay,omitempty"`
	Hang     bool              `json:"hang,omitempty"`  // until the caller gives up
	Crash    string            `json:"crash,omitempty"` // before or after: the process dies
	Error    *Failure          `json:"error,omitempty"`
	Drop     *int64            `json:"drop,omitempty"`     // Exec: the stream is lost after so many bytes of output
	State    *int              `json:"state,omitempty"`    // the sandbox's state in the reply, a future one perhaps
	ID       string            `json:"id,omitempty"`       // the sandbox's id in the reply
	Progress []driver.Progress `json:"progress,omitempty"` // reported by StartSystem, EnsureImage, BuildImage
}

// Failure is a scripted error.
type Failure struct {
	Reason    driver.Reason   `json:"reason"`
	Message   string          `json:"message,omitempty"`
	Resource  string          `json:"resource,omitempty"`
	Field     string          `json:"field,omitempty"`
	Retryable bool            `json:"retryable,omitempty"`
	Remedies  []driver.Remedy `json:"remedies,omitempty"`
}

// Duration is a time.Duration as text: "250ms".
type Duration time.Duration

// UnmarshalText reads it.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// MarshalText writes it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// ParseScript reads and checks a script. Its errors are ConfigInvalid and name
// the field.
func ParseScript(data []byte) (Script, error) {
	var s Script
	if len(bytes.TrimSpace(data)) == 0 {
		return s, nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		e := driver.Errorf(driver.ConfigInvalid, "the script is not valid: %w", err)
		e.Field = fieldAtFault(err)
		return s, e.Remedy("compare it with the schema that the driver describes")
	}
	return s, s.check()
}

// fieldAtFault finds the field's name. The decoder tells of unknown fields in
// text only.
func fieldAtFault(err error) string {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return e.Field
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return strings.Trim(name, `"`)
	}
	return "settings"
}

func (s Script) check() error {
	bad := func(field, format string, args ...any) error {
		e := driver.Errorf(driver.ConfigInvalid, format, args...)
		e.Field = field
		return e.Remedy("correct the driver's settings")
	}
	if !slices.Contains([]string{"", "real", "manual"}, s.Clock) {
		return bad("clock", "clock is real or manual, not %q", s.Clock)
	}
	if _, ok := isolations[s.Isolation]; !ok {
		return bad("isolation", "isolation is none, shared-kernel or vm, not %q", s.Isolation)
	}
	for i, step := range s.Health {
		if _, ok := healthState(step.State); !ok && !step.End {
			return bad(fmt.Sprintf("health[%d].state", i), "no health state is called %q", step.State)
		}
	}
	for i, name := range s.Faults {
		if _, ok := FaultNamed(name); !ok {
			return bad(fmt.Sprintf("faults[%d]", i), "no fault is called %q", name)
		}
	}
	for i, r := range s.Rules {
		if r.Call == "" {
			return bad(fmt.Sprintf("rules[%d].call", i), "a rule needs the name of a call")
		}
		if !slices.Contains([]string{"", "before", "after"}, r.Crash) {
			return bad(fmt.Sprintf("rules[%d].crash", i), "crash is before or after, not %q", r.Crash)
		}
	}
	return nil
}

// ScriptFlag, with a script behind it, may stand among a fake driver's arguments
// instead of SERO_FAKE_SCRIPT.
const ScriptFlag = "-script="

// ScriptOfProcess reads the script of this process's arguments or environment.
func ScriptOfProcess() (Script, error) {
	text := os.Getenv(ScriptEnv)
	for _, arg := range os.Args[1:] {
		if s, ok := strings.CutPrefix(arg, ScriptFlag); ok {
			text = s
		}
	}
	if file, ok := strings.CutPrefix(text, "@"); ok {
		data, err := os.ReadFile(file)
		if err != nil {
			return Script{}, driver.Errorf(driver.ConfigInvalid, "reading the script: %w", err)
		}
		return ParseScript(data)
	}
	return ParseScript([]byte(text))
}

// merge lays the settings of Configure over what the process started with.
func (s Script) merge(over Script) Script {
	s.Clock = over.Clock
	s.Health = over.Health
	s.Rules = slices.Concat(s.Rules, over.Rules)
	s.Faults = slices.Concat(s.Faults, over.Faults)
	if over.Images != nil {
		s.Images = over.Images
	}
	if over.Remote != nil {
		s.Remote = over.Remote
	}
	return s
}

var isolations = map[string]driver.Isolation{
	"":              driver.IsolationSharedKernel,
	"none":          driver.IsolationNone,
	"shared-kernel": driver.IsolationSharedKernel,
	"vm":            driver.IsolationVM,
}

// healthState finds a state by its word; a number is a state from the future.
func healthState(word string) (driver.HealthState, bool) {
	for s := driver.HealthUnknown; s <= driver.HealthUnhealthy; s++ {
		if s.String() == word {
			return s, true
		}
	}
	var n int
	if _, err := fmt.Sscanf(word, "%d", &n); err == nil {
		return driver.HealthState(n), true
	}
	return 0, false
}

// Schema is the JSON Schema of the settings.
func (d *Driver) Schema() string { return schema }

const schema = `{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "Settings of the fake driver",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "name": {"type": "string", "description": "start only"},
    "version": {"type": "string", "description": "start only"},
    "hostConstraint": {"type": "string", "description": "start only"},
    "isolation": {"enum": ["none", "shared-kernel", "vm"], "description": "start only"},
    "capabilities": {"type": "array", "items": {"type": "string"}, "description": "start only: exactly these"},
    "without": {"type": "array", "items": {"type": "string"}, "description": "start only: all but these"},
    "startup": {"type": "object", "description": "start only: what the process does before it serves"},
    "clock": {"enum": ["real", "manual"], "default": "real"},
    "health": {"type": "array", "items": {"type": "object", "required": ["state"]}},
    "images": {"type": "array", "items": {"type": "string"}, "default": ["sero-node:latest"]},
    "remote": {"type": "array", "items": {"type": "string"}},
    "rules": {"type": "array", "items": {"type": "object", "required": ["call"]}},
    "faults": {"type": "array", "items": {"type": "string"}}
  }
}`
