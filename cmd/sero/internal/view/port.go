package view

import (
	"strconv"
	"strings"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

type portJSON struct {
	Port       uint32   `json:"port"`
	Addresses  []string `json:"addresses"`
	PID        int64    `json:"pid,omitempty"`
	Command    string   `json:"command,omitempty"`
	Origin     string   `json:"origin"`
	DevServer  string   `json:"devServer,omitempty"`
	URL        string   `json:"url,omitempty"`
	PreviewURL string   `json:"previewUrl,omitempty"`
}

func portOf(p *apipb.Port) portJSON {
	out := portJSON{Port: p.GetPort(), Addresses: list(p.GetAddresses()), PID: p.GetPid(), Command: p.GetCommand(), Origin: p.GetOrigin()}
	if s := p.GetDevServer(); s != nil {
		out.DevServer = s.GetName()
		if s.GetPort() == p.GetPort() { // a server's other ports have no address of their own
			out.URL, out.PreviewURL = s.GetUrl(), s.GetPreviewUrl()
		}
	}
	return out
}

// Ports shows what listens in a workspace.
func (v *View) Ports(r *apipb.ListPortsResponse) error {
	if v.JSON {
		return v.Value(map[string]any{"ports": each(r.GetPorts(), portOf), "hostMode": r.GetHostMode()})
	}
	if len(r.GetPorts()) == 0 {
		v.Notice("nothing listens")
	}
	if r.GetHostMode() {
		v.Notice("host mode: only what sero started is shown, and only dev servers that it started have previews")
	}
	if len(r.GetPorts()) == 0 {
		return nil
	}
	rows := [][]string{{"PORT", "ADDRESS", "PROCESS", "ORIGIN", "SERVER", "URL", "PREVIEW"}}
	var bare []string
	for _, p := range each(r.GetPorts(), portOf) {
		if p.URL == "" {
			bare = append(bare, strconv.FormatUint(uint64(p.Port), 10))
		}
		process := p.Command
		if p.PID > 0 {
			process += " (" + strconv.FormatInt(p.PID, 10) + ")"
		}
		rows = append(rows, []string{
			strconv.FormatUint(uint64(p.Port), 10), strings.Join(p.Addresses, ","), process, p.Origin, p.DevServer, p.URL, p.PreviewURL,
		})
	}
	if len(bare) > 0 && !r.GetHostMode() {
		v.Notice("no URL: " + strings.Join(bare, ", ") + "; to have such a port on this machine: sero port forward " + bare[0])
	}
	return v.table(rows)
}

type forwardJSON struct {
	Port      uint32 `json:"port"`
	LocalPort uint32 `json:"localPort"`
}

// Forwards shows which ports of this machine lead into a workspace.
func (v *View) Forwards(open *apipb.ForwardedPorts) error {
	if v.JSON {
		return v.Value(map[string]any{"workspaceId": open.GetWorkspaceId(), "forwards": each(open.GetForwards(), func(f *apipb.PortForward) forwardJSON {
			return forwardJSON{Port: f.GetPort(), LocalPort: f.GetLocalPort()}
		})})
	}
	for _, f := range open.GetForwards() {
		port, local := strconv.FormatUint(uint64(f.GetPort()), 10), strconv.FormatUint(uint64(f.GetLocalPort()), 10)
		if err := v.Text("localhost:" + local + " leads to port " + port + " of " + clean(open.GetWorkspaceId())); err != nil {
			return err
		}
	}
	return nil
}

// DevServerURL shows where a dev server can be reached.
func (v *View) DevServerURL(s *apipb.DevServer, url string) error {
	if v.JSON {
		return v.Value(devServerOf(s))
	}
	return v.Text(clean(url))
}

// Status is a dev server's status as a word.
func (v *View) Status(s *apipb.DevServer) string { return statusWord(s.GetStatus()) }
