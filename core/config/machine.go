package config

import (
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/hashicorp/go-version"

	"github.com/sero-labs/sero-runtime/internal/ownpath"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Machine is what config.json in sero's home says for every workspace. The zero
// value is that of a machine without one.
type Machine struct {
	Schema string `json:"$schema"`
	Mode   string `json:"mode"`   // as in Workspace; a workspace cannot weaken ModeRequire
	Driver string `json:"driver"` // for workspaces that name none
	// NeverHost refuses every driver that isolates nothing, also to a person who asks for one.
	NeverHost bool `json:"neverHost"`

	Drivers  map[string]Driver `json:"drivers"`
	IdleExit string            `json:"idleExit"` // see IdleExitAfter
	Preview  Preview           `json:"preview"`
	Egress   Egress            `json:"egress"` // for every workspace; one can only close what this leaves open

	API API `json:"api"`

	Image     string `json:"image"`     // of workspaces that name none; empty: sero's own
	ImageBase string `json:"imageBase"` // what sero's own is built on; empty: a public one
}

// API is what is configured for who may call the daemon.
type API struct {
	OtherNamespaces bool `json:"otherNamespaces"` // processes in other mount and process namespaces may
}

// Preview is what is configured for the previews of dev servers.
type Preview struct {
	Port uint16 `json:"port"` // at least 1024; 0: chosen by sero
}

// Driver is what is configured for one driver.
type Driver struct {
	Settings   json.RawMessage `json:"settings"`   // an object, by the driver's own schema
	SHA256     string          `json:"sha256"`     // of the one binary that may run, in hex
	Constraint string          `json:"constraint"` // on its version, go-version syntax
}

// IdleExitAfter is how long the daemon stays when nothing runs: fallback if the
// file does not say, 0 for ever ("never").
func (m Machine) IdleExitAfter(fallback time.Duration) time.Duration {
	switch m.IdleExit {
	case "":
		return fallback
	case never:
		return 0
	}
	d, _ := time.ParseDuration(m.IdleExit)
	return d
}

const never = "never"

var pinPattern = newPattern(`^[0-9a-f]{64}$`)

// LoadMachine reads the machine's configuration. A file that does not exist is
// the zero Machine; one that is wrong is ConfigInvalid.
func LoadMachine(file string) (Machine, []Warning, error) {
	f, err := ownpath.Open(file, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return Machine{}, nil, nil
	}
	if refusal := ownpath.Refusal("the machine's configuration", err); refusal != nil {
		return Machine{}, nil, refusal
	}
	if err != nil {
		return Machine{}, nil, unreadable(file, err)
	}
	text, err := readFile(f, file)
	if err != nil {
		return Machine{}, nil, err
	}
	return ParseMachine(file, text)
}

// ParseMachine reads the text of a config.json; file is for messages.
func ParseMachine(file string, text []byte) (Machine, []Warning, error) {
	d, err := parse(file, text)
	if err != nil {
		return Machine{}, nil, err
	}
	var m Machine
	if err := d.decode(&m); err != nil {
		return Machine{}, nil, err
	}
	if err := m.check(d); err != nil {
		return Machine{}, nil, err
	}
	return m, d.allWarnings(), nil
}

func (m Machine) check(d *document) error {
	err := cmp.Or(
		oneOf(d, "mode", m.Mode, modes),
		matches(d, "driver", m.Driver, driverPattern, "a driver's name, as in sero driver ls"),
		imageReference(d, "image", m.Image),
		imageReference(d, "imageBase", m.ImageBase),
		m.Egress.check(d),
	)
	for _, name := range slices.Sorted(maps.Keys(m.Drivers)) {
		at := "drivers." + name
		if !driverPattern.MatchString(name) {
			err = cmp.Or(err, d.errorAt(at, "this is not a driver's name").Remedy("use a name as in sero driver ls"))
		}
		entry := m.Drivers[name]
		err = cmp.Or(err, matches(d, at+".sha256", entry.SHA256, pinPattern, "64 hexadecimal digits, lower-case"))
		if entry.Constraint != "" {
			if _, parseErr := version.NewConstraint(entry.Constraint); parseErr != nil {
				err = cmp.Or(err, d.errorAt(at+".constraint", "%s is not a version constraint", shown(entry.Constraint)).
					Remedy(`give one such as ">= 1.2, < 2"`))
			}
		}
	}
	if m.IdleExit != "" && m.IdleExit != never {
		if idle, parseErr := time.ParseDuration(m.IdleExit); parseErr != nil || idle <= 0 {
			err = cmp.Or(err, d.errorAt("idleExit", "%s is not a duration", shown(m.IdleExit)).
				Remedy(`give one such as "30m", or "never"`))
		}
	}
	if m.Preview.Port < firstUnprivileged && d.positions["preview.port"] > 0 {
		err = cmp.Or(err, d.errorAt("preview.port", "port %d is the system's", m.Preview.Port).Remedy("give one from 1024 to 65535"))
	}
	return asError(err)
}

// firstUnprivileged is the first port that everybody may listen on.
const firstUnprivileged = 1024

// asError keeps a nil *driver.Error from becoming a non-nil error.
func asError(err *driver.Error) error {
	if err == nil {
		return nil
	}
	return err
}
