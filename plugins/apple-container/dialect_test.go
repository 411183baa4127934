package applecontainer

import (
	"testing"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func TestDialects(t *testing.T) {
	for _, tt := range []struct {
		line  string // of container --version
		since string // empty: refused
		newer bool
	}{
		{"container CLI version 0.6.0 (build: release, commit: abcdefg)", "", false},
		{"container CLI version 0.8.0 (build: release, commit: abcdefg)", "", false},
		{"container CLI version 0.9.0 (build: release, commit: abcdefg)", "0.9.0", false},
		{"container CLI version 0.10.0 (build: release, commit: abcdefg)", "0.10.0", false},
		{"container CLI version 0.11.0 (build: release, commit: abcdefg)", "0.10.0", false},
		{"container CLI version 0.12.3 (build: release, commit: f989901)", "0.12.0", false},
		{"container CLI version 1.0.0 (build: release, commit: 1234567)", "1.0.0", false},
		{"container CLI version 1.1.0-17-gabcdef0 (build: debug, commit: abcdef0)", "1.0.0", false},
		{"container CLI version 1.2.2 (build: release, commit: 1234567)", "1.2.0", false},
		{"container CLI version 1.4.1 (build: release, commit: 1234567)", "1.2.0", true},
		{"container CLI version 2.0.0 (build: release, commit: 1234567)", "1.2.0", true},
	} {
		v, err := parseVersion(tt.line)
		if err != nil {
			t.Fatal(err)
		}
		e, err := engineOf(v)
		if tt.since == "" {
			wantReason(t, err, driver.EngineTooOld)
			continue
		}
		if err != nil || e.since.String() != tt.since || e.newer != tt.newer {
			t.Errorf("%s: %v, newer %t, %v", tt.line, e.since, e.newer, err)
		}
	}
	for _, line := range []string{"", "docker 20.10", "container CLI version", "GNU coreutils"} {
		if v, err := parseVersion(line); err == nil {
			t.Errorf("%q is %s", line, v)
		}
	}
}

func TestLabelsSurviveTheCLI(t *testing.T) {
	for _, s := range []string{"", "=", "a=b=c", "100%", "%3D", "/a b/ü,\"x\"", "tail=", "line\nbreak", "%zz"} {
		if got := unescape(escape(s)); got != s {
			t.Errorf("%q comes back as %q", s, got)
		}
	}
	labels, instance, _ := splitLabels(map[string]string{"foreign": "50%25", "k": "v"})
	if labels["foreign"] != "50%25" || instance != "" {
		t.Errorf("another's labels were changed: %v", labels)
	}
}
