package negotiate_test

import (
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func toy(change func(*negotiate.Handshake)) negotiate.Handshake {
	h := negotiate.Handshake{
		Info:    driver.Info{Name: "toy", Version: "1.2.3", Isolation: driver.IsolationVM},
		SDKName: "sero-go", SDKVersion: "0.1.0",
		Capabilities: []driver.Capability{driver.CapExec, "x-grease.sero.dev/7@1"},
	}
	if change != nil {
		change(&h)
	}
	return h
}

func TestB2CheckVersions(t *testing.T) {
	type change = func(*negotiate.Handshake)
	host := negotiate.Host{
		Version: "0.1.0-dev", Platform: "linux/amd64",
		SDKs: map[string]string{"sero-go": ">= 0.1, < 2"}, Drivers: map[string]string{"pinned": "~> 2.0", "broken": "two"},
	}
	tests := map[string]struct {
		change change
		want   []string // parts of the one line; none: accepted
	}{
		"agreed":                   {nil, nil},
		"any host":                 {func(h *negotiate.Handshake) { h.Info.HostConstraint = " " }, nil},
		"development build":        {func(h *negotiate.Handshake) { h.Info.HostConstraint = ">= 0.1, < 2" }, nil},
		"its own pre-release":      {func(h *negotiate.Handshake) { h.Info.HostConstraint = ">= 0.1.0-alpha" }, nil},
		"another's pre-release":    {func(h *negotiate.Handshake) { h.Info.HostConstraint = ">= 0.0.9-rc1" }, nil},
		"newer pre-release":        {func(h *negotiate.Handshake) { h.Info.HostConstraint = ">= 0.1.0-rc1" }, []string{"needs sero >= 0.1.0-rc1"}},
		"wants a newer core":       {func(h *negotiate.Handshake) { h.Info.HostConstraint = ">= 99" }, []string{"toy:", "1.2.3", "needs sero >= 99", "this is sero 0.1.0-dev"}},
		"wants an older core":      {func(h *negotiate.Handshake) { h.Info.HostConstraint = "< 0.1" }, []string{"needs sero < 0.1"}},
		"malformed demand":         {func(h *negotiate.Handshake) { h.Info.HostConstraint = "newest\x1b[2J" }, []string{"toy:", `not a version constraint: "newest?[2J"`}},
		"endless demand":           {func(h *negotiate.Handshake) { h.Info.HostConstraint = strings.Repeat(">= 1,", 1e6) }, []string{"not a version constraint"}},
		"malformed version":        {func(h *negotiate.Handshake) { h.Info.Version = "one" }, []string{"toy:", `"one" is not a semantic version`}},
		"no version":               {func(h *negotiate.Handshake) { h.Info.Version = "" }, []string{"not a semantic version"}},
		"old SDK":                  {func(h *negotiate.Handshake) { h.SDKVersion = "0.0.9" }, []string{"SDK sero-go 0.0.9", "needs >= 0.1"}},
		"malformed SDK":            {func(h *negotiate.Handshake) { h.SDKVersion = "?" }, []string{"SDK sero-go", "not a semantic version"}},
		"another SDK":              {func(h *negotiate.Handshake) { h.SDKName, h.SDKVersion = "sero-ts", "?" }, nil},
		"no SDK":                   {func(h *negotiate.Handshake) { h.SDKName, h.SDKVersion = "", "" }, nil},
		"configured version":       {func(h *negotiate.Handshake) { h.Info.Name = "pinned" }, []string{"pinned:", "version 1.2.3", "needs ~> 2.0"}},
		"malformed configuration":  {func(h *negotiate.Handshake) { h.Info.Name = "broken" }, []string{`"two"`}},
		"this platform":            {func(h *negotiate.Handshake) { h.Info.Platforms = []string{"linux/arm64", "linux/amd64"} }, nil},
		"other platform":           {func(h *negotiate.Handshake) { h.Info.Platforms = []string{"darwin/arm64"} }, []string{"works on darwin/arm64", "this machine is linux/amd64"}},
		"no exec":                  {func(h *negotiate.Handshake) { h.Capabilities = []driver.Capability{"exec@2"} }, []string{"does not have the capability exec@1"}},
		"a core without a version": {func(h *negotiate.Handshake) { h.Info.HostConstraint = ">= 0.1" }, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := negotiate.CheckVersions(host, toy(test.change))
			if len(test.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			e := driver.AsError(err)
			if e == nil || e.Reason != driver.DriverIncompatible || e.Driver == "" || len(e.Remedies) == 0 {
				t.Fatalf("got %#v", e)
			}
			for _, part := range test.want {
				if !strings.Contains(e.Error(), part) {
					t.Errorf("%q does not say %q", e, part)
				}
			}
			if strings.ContainsAny(e.Error(), "\n\r\x1b") || len(e.Error()) > 500 {
				t.Errorf("not one line: %q", e)
			}
		})
	}
	host.Version = "unknown"
	err := negotiate.CheckVersions(host, toy(func(h *negotiate.Handshake) { h.Info.HostConstraint = ">= 0.1" }))
	if err == nil || !strings.Contains(err.Error(), `this sero has no semantic version: "unknown"`) {
		t.Errorf("a core without a version: %v", err)
	}
}

func FuzzCheckVersions(f *testing.F) {
	f.Add("1.2.3", ">= 0.1, < 2", "0.1.0", "0.1.0-dev")
	f.Add("", "~>", "v", "1.0.0-rc1+meta")
	f.Fuzz(func(t *testing.T, version, demand, sdk, core string) {
		h := toy(func(h *negotiate.Handshake) {
			h.Info.Version, h.Info.HostConstraint, h.SDKVersion = version, demand, sdk
		})
		err := negotiate.CheckVersions(negotiate.Host{Version: core, SDKs: negotiate.SDKs}, h)
		if err != nil && (driver.ReasonOf(err) != driver.DriverIncompatible || strings.ContainsAny(err.Error(), "\n\x1b")) {
			t.Errorf("%q", err)
		}
	})
}
