package applecontainer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// snapshot is a container as list and inspect print it. The two forms differ in
// what "status" is, a word up to 0.12 and an object from 1.0, and each tells
// itself apart; so the form is read from the document and not from the version,
// which after an upgrade is the CLI's and not yet the system's.
type snapshot struct {
	Status        state         `json:"status"`
	Networks      []attachment  `json:"networks"`
	StartedDate   moment        `json:"startedDate"`
	Configuration configuration `json:"configuration"`
}

type state struct {
	State       string       `json:"state"`
	Networks    []attachment `json:"networks"`
	StartedDate moment       `json:"startedDate"`
}

// UnmarshalJSON reads both forms.
func (s *state) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte(`"`)) {
		return json.Unmarshal(data, &s.State)
	}
	type object state
	return json.Unmarshal(data, (*object)(s))
}

type attachment struct {
	Address string `json:"ipv4Address"` // with the length of its network's prefix
	Gateway string `json:"ipv4Gateway"`
	IPv6    string `json:"ipv6Address"`
}

type configuration struct {
	ID    string `json:"id"`
	Image struct {
		Reference  string `json:"reference"`
		Descriptor struct {
			Digest string `json:"digest"`
		} `json:"descriptor"`
	} `json:"image"`
	Labels map[string]string `json:"labels"`
	Mounts []struct {
		Source      string   `json:"source"`
		Destination string   `json:"destination"`
		Options     []string `json:"options"`
	} `json:"mounts"`
	PublishedPorts []struct {
		HostPort      uint16 `json:"hostPort"`
		ContainerPort uint16 `json:"containerPort"`
	} `json:"publishedPorts"`
	Networks    *[]json.RawMessage `json:"networks"` // what was asked for
	InitProcess struct {
		WorkingDirectory string `json:"workingDirectory"`
	} `json:"initProcess"`
	CreationDate moment `json:"creationDate"`
}

// moment is a point in time: seconds since 2001 up to 0.12, ISO 8601 from 1.0.
type moment struct{ time.Time }

// referenceDate is where Apple's clock begins.
var referenceDate = time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)

// UnmarshalJSON reads both forms.
func (m *moment) UnmarshalJSON(data []byte) error {
	if bytes.Equal(data, []byte("null")) {
		return nil
	}
	if bytes.HasPrefix(data, []byte(`"`)) {
		return m.Time.UnmarshalJSON(data)
	}
	var seconds float64
	if err := json.Unmarshal(data, &seconds); err != nil {
		return err
	}
	m.Time = referenceDate.Add(time.Duration(seconds * float64(time.Second)))
	return nil
}

var errHalf = errors.New("the CLI's JSON is cut off or not JSON")

// parseSnapshots reads what list and inspect print.
func parseSnapshots(text string) ([]driver.Sandbox, error) {
	var all []snapshot
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("%w: %w", errHalf, err)
	}
	sandboxes := make([]driver.Sandbox, 0, len(all))
	for _, s := range all {
		if s.Configuration.ID == "" {
			return nil, fmt.Errorf("%w: a container without an id", errHalf)
		}
		sandboxes = append(sandboxes, s.sandbox())
	}
	slices.SortFunc(sandboxes, func(a, b driver.Sandbox) int { return strings.Compare(a.ID, b.ID) })
	return sandboxes, nil
}

func (s snapshot) sandbox() driver.Sandbox {
	c := s.Configuration
	sb := driver.Sandbox{
		ID: c.ID, State: stateOf(s.Status.State), WorkspaceDir: c.InitProcess.WorkingDirectory,
		Image: familiar(c.Image.Reference), ImageDigest: c.Image.Descriptor.Digest,
	}
	sb.Labels, sb.Instance, sb.Created = splitLabels(c.Labels)
	if sb.Created.IsZero() {
		sb.Created = c.CreationDate.Time
	}
	if sb.Instance == "" { // another's; it need only differ from ours
		sb.Instance = c.ID + "-" + sb.Created.Format(time.RFC3339Nano)
	}
	if sb.WorkspaceDir == "" {
		sb.WorkspaceDir = "/"
	}
	if sb.State == driver.SandboxRunning {
		sb.Started = s.StartedDate.Time
		if sb.Started.IsZero() {
			sb.Started = s.Status.StartedDate.Time
		}
		addNetworks(&sb, append(slices.Clone(s.Networks), s.Status.Networks...))
	}
	if c.Networks != nil && len(*c.Networks) == 0 {
		sb.Network = driver.NetworkIsolated
	}
	for _, m := range c.Mounts {
		if m.Source != "" {
			sb.Mounts = append(sb.Mounts, driver.Mount{Source: m.Source, Target: m.Destination, ReadOnly: slices.Contains(m.Options, "ro")})
		}
	}
	for _, p := range c.PublishedPorts {
		sb.Publish = append(sb.Publish, driver.PublishedPort{SandboxPort: p.ContainerPort, HostPort: p.HostPort})
	}
	return sb
}

// stateOf is a state in the protocol's terms. One that is stopping is neither;
// what acts on it waits.
func stateOf(word string) driver.SandboxState {
	switch word {
	case "running":
		return driver.SandboxRunning
	case "stopped":
		return driver.SandboxStopped
	default:
		return driver.SandboxUnknown
	}
}

// addNetworks tells addresses as they are now. They change with every start, and
// the subnet may with every start of the system.
func addNetworks(sb *driver.Sandbox, networks []attachment) {
	for _, n := range networks {
		for _, text := range []string{n.Address, n.IPv6} {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				sb.Addresses = append(sb.Addresses, prefix.Addr().String())
				sb.Subnets = append(sb.Subnets, prefix.Masked().String())
			}
		}
		if gateway, err := netip.ParseAddr(n.Gateway); err == nil && sb.Gateway == "" {
			sb.Gateway = gateway.String()
		}
	}
}

// familiar is a reference as people write it.
func familiar(reference string) string {
	if short, ok := strings.CutPrefix(reference, "docker.io/library/"); ok {
		return short
	}
	return strings.TrimPrefix(reference, "docker.io/")
}
