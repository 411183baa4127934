package serve

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/internal/plug"
)

// Description is what the "describe" subcommand of a driver binary prints.
type Description struct {
	Name           string              `json:"name"`
	Version        string              `json:"version"`
	Description    string              `json:"description"`
	Protocol       int                 `json:"protocol"`
	SDKName        string              `json:"sdkName"`
	SDKVersion     string              `json:"sdkVersion"`
	HostConstraint string              `json:"hostConstraint,omitempty"`
	Isolation      string              `json:"isolation"`
	Platforms      []string            `json:"platforms,omitempty"`
	Capabilities   []driver.Capability `json:"capabilities"`
	ConfigSchema   json.RawMessage     `json:"configSchema,omitempty"`
}

func describe(d driver.Driver, out io.Writer) int {
	h := handshake(d)
	description := Description{
		Name:           h.Info.Name,
		Version:        h.Info.Version,
		Description:    h.Info.Description,
		Protocol:       plug.ProtocolVersion,
		SDKName:        h.SDKName,
		SDKVersion:     h.SDKVersion,
		HostConstraint: h.Info.HostConstraint,
		Isolation:      h.Info.Isolation.String(),
		Platforms:      h.Info.Platforms,
		Capabilities:   h.Capabilities,
	}
	if json.Valid([]byte(h.ConfigSchema)) {
		description.ConfigSchema = json.RawMessage(h.ConfigSchema)
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	if enc.Encode(description) != nil {
		return 1
	}
	return 0
}

// introduce tells a person who ran the binary by hand what it is for.
func introduce(d driver.Driver, out io.Writer) int {
	info := d.Info()
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	text := fmt.Sprintf(`%s %s: %s
This is a driver for sero (driver protocol %d). sero starts it; there is nothing to run by hand.

`, info.Name, info.Version, info.Description, plug.ProtocolVersion)
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") { // one of several in a program that knows by its arguments which
		text += fmt.Sprintf(`  see it:       sero driver ls
  test it:      sero driver test %s
  describe it:  %s %s describe
`, info.Name, self, strings.Join(os.Args[1:], " "))
	} else {
		text += fmt.Sprintf(`  register it:  mkdir -p ~/.sero/drivers && cp %s ~/.sero/drivers/sero-driver-%s
  see it:       sero driver ls
  test it:      sero driver test %s
  describe it:  %s describe
`, self, info.Name, self, self)
	}
	_, err = io.WriteString(out, text)
	if err != nil {
		return 1
	}
	return 0
}
