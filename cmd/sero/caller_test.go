package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestD3CallerEnvironment has a daemon of one environment and callers of others: in
// host mode PATH, the time zone and the locale are the caller's, and what a caller
// lacks is not the daemon's. The workspace's env and --env win.
func TestD3CallerEnvironment(t *testing.T) {
	m := newMachine(t)
	path := ""
	clean := func(env []string) (kept []string) {
		for _, v := range env {
			name, value, _ := strings.Cut(v, "=")
			switch {
			case name == "PATH":
				path = value
			case name != "TZ" && name != "LANG" && !strings.HasPrefix(name, "LC_"):
				kept = append(kept, v)
			}
		}
		return kept
	}
	bare := clean(m.env)
	m.env = append(slices.Clip(bare), "PATH=/daemon:"+path, "TZ=Asia/Tokyo", "LANG=C", "LC_TIME=C", "LC_NUMERIC=C")
	m.ok("up", "--driver", "host")
	seen := func(args ...string) map[string]string {
		t.Helper()
		got := map[string]string{}
		for name, value := range variables(m.ok(args...)) {
			if name == "PATH" || name == "TZ" || name == "LANG" || strings.HasPrefix(name, "LC_") {
				got[name] = value
			}
		}
		return got
	}
	m.env = append(slices.Clip(bare), "PATH=/my dir:"+path, "TZ=UTC", "LC_ALL=C.UTF-8", "LC_TOKEN=secret")
	want := map[string]string{"PATH": "/my dir:" + path, "TZ": "UTC", "LC_ALL": "C.UTF-8"}
	if diff := cmp.Diff(want, seen("exec", "--", "env", "-0")); diff != "" {
		t.Errorf("the caller's: %s", diff)
	}
	want["TZ"], want["LANG"] = "Etc/GMT+1", "C"
	if diff := cmp.Diff(want, seen("exec", "-e", "TZ=Etc/GMT+1", "-e", "LANG=C", "--", "env", "-0")); diff != "" {
		t.Errorf("with --env: %s", diff)
	}
	m.env = append(slices.Clip(bare), "PATH="+path)
	if diff := cmp.Diff(map[string]string{"PATH": path}, seen("exec", "--", "env", "-0")); diff != "" {
		t.Errorf("of a caller without: %s", diff)
	}
}
