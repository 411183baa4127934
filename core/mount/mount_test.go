package mount_test

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sero-labs/sero-runtime/core/mount"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

type ask struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"readOnly"`
}

type row struct {
	Name      string `json:"name"`
	Says      string `json:"says"`
	Linux     bool   `json:"linux"`
	Workspace string `json:"workspace"`
	Hostile   []ask  `json:"hostile"`
	Twin      []ask  `json:"twin"` // as near to it as can be, and allowed
}

// tree is a machine's file system in small, with all that must not be shown.
func tree(t *testing.T) (string, mount.Policy) {
	t.Helper()
	top, err := os.MkdirTemp("", "sero-m") //nolint:usetesting // short: a socket lives in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(top) })
	if top, err = filepath.EvalSymlinks(top); err != nil {
		t.Fatal(err)
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(top, name) }
	for _, dir := range []string{
		"data", "lib", "a b", "a,readonly=false", "run", "engine/volumes", "engineer", "links", "hard", "soft", "sero/state", "srv/shop",
		"home/project", "home/.ssh", "home/.config/gh", "home/.config/nvim", "ws/sub", "ws-sub", "ws2/lib",
	} {
		ok(os.MkdirAll(at(dir), 0o700))
	}
	for link, to := range map[string]string{
		"links/data": at("data"), "links/root": "/", "links/sock": at("run/docker.sock"), "links/engine": at("engine"), "links/top": top,
		"links/chain": "chain2", "links/chain2": "engine", "links/home": at("home"), "links/keys": at("home/.ssh"), "links/loop": "loop",
		"links/gone": at("gone"), "links/comma": at("a,readonly=false"), "links/through": "../ws/data", "links/through2": "../ws2/data", "ws2/data": at("data"), "ws/engine": at("engine"), "ws/data": at("data"),
	} {
		ok(os.Symlink(to, at(link)))
	}
	ok(os.WriteFile(at("file"), nil, 0o600))
	ok(syscall.Mkfifo(at("pipe"), 0o600))
	for _, socket := range []string{"run/docker.sock", "soft/own.sock"} {
		l, err := net.Listen("unix", at(socket))
		ok(err)
		t.Cleanup(func() { _ = l.Close() })
	}
	ok(os.Link(at("run/docker.sock"), at("hard/mine.sock")))
	return top, mount.Policy{
		Workspace: at("ws"), Others: []string{at("ws2"), at("no-workspace")}, Home: at("home"), Private: []string{at("sero"), at("no-run-directory")},
		Engines: []string{at("run/docker.sock"), at("engine"), at("no-such-engine")},
	}
}

func asks(top string, list []ask) []mount.Ask {
	out := make([]mount.Ask, len(list))
	for i, a := range list {
		out[i] = mount.Ask{
			Field: "mounts[" + string(rune('0'+i)) + "]", ReadOnly: a.ReadOnly,
			Source: strings.ReplaceAll(a.Source, "$T", top), Target: strings.ReplaceAll(a.Target, "$T", top),
		}
	}
	return out
}

// TestB26 refuses each hostile mount of the table, and allows its twin.
func TestB26(t *testing.T) {
	text, err := os.ReadFile("testdata/mounts.json")
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	if err := json.Unmarshal(text, &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows) < 40 {
		t.Errorf("%d rows", len(rows))
	}
	top, policy := tree(t)
	for _, r := range rows {
		t.Run(r.Name, func(t *testing.T) {
			if r.Linux && runtime.GOOS != "linux" {
				return
			}
			policy := policy
			if r.Workspace != "" {
				policy.Workspace = strings.ReplaceAll(r.Workspace, "$T", top)
			}
			mounts, _, err := policy.Plan(asks(top, r.Hostile))
			e := driver.AsError(err)
			if err == nil || e.Reason != driver.MountDenied || mounts != nil {
				t.Fatalf("it is allowed: %v %v", mounts, err)
			}
			if !strings.Contains(e.Message, r.Says) || !strings.HasPrefix(e.Field, "mounts[") || len(e.Remedies) == 0 || strings.ContainsAny(e.Message, "\n\x1b") {
				t.Errorf("%q of %s, remedies %v; it should say %q", e.Message, e.Field, e.Remedies, r.Says)
			}
			mounts, skipped, err := policy.Plan(asks(top, r.Twin))
			if err != nil || len(mounts) != len(r.Twin) || skipped != nil {
				t.Errorf("the twin: %v %v %v", mounts, skipped, err)
			}
		})
	}
}

// TestB22B23B25 shows where mounts appear, and what is left out.
func TestB22B23B25(t *testing.T) {
	top, policy := tree(t)
	mounts, skipped, err := policy.Plan(asks(top, []ask{
		{Source: "$T/data", ReadOnly: true},
		{Source: "$T/links/data", Target: "/again/"},
		{Source: "$T/gone"},
		{Source: "$T/links/gone"},
		{Source: "$T/gone/deeper", Target: "/deep"},
	}))
	if err != nil {
		t.Fatal(err)
	}
	want := []driver.Mount{
		{Source: top + "/data", Target: top + "/data", ReadOnly: true},
		{Source: top + "/data", Target: "/again"},
	}
	if diff := cmp.Diff(want, mounts); diff != "" {
		t.Error(diff)
	}
	var left []string
	for _, s := range skipped {
		left = append(left, s.String())
	}
	if diff := cmp.Diff([]string{
		`mounts[2]: "` + top + `/gone" is left out: it does not exist`,
		`mounts[3]: "` + top + `/links/gone" is left out: it does not exist`,
		`mounts[4]: "` + top + `/gone/deeper" is left out: it does not exist`,
	}, left); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Lstat(top + "/gone"); err == nil {
		t.Error("a missing directory was made")
	}
}

// FuzzPlan finds no text that passes and that an engine could read otherwise.
func FuzzPlan(f *testing.F) {
	f.Add("/data", "/d")
	f.Add("/a/../b", "/a:ro,x")
	f.Fuzz(func(t *testing.T, source, target string) {
		mounts, _, err := mount.Policy{}.Plan([]mount.Ask{{Field: "mounts[0]", Source: source, Target: target}})
		if err != nil && driver.ReasonOf(err) != driver.MountDenied {
			t.Errorf("%v", err)
		}
		for _, m := range mounts {
			if strings.ContainsAny(m.Source+m.Target, ",:=\n\x00") || !filepath.IsAbs(m.Target) || m.Target == "/" || filepath.Clean(m.Target) != m.Target {
				t.Errorf("%+v passed", m)
			}
		}
	})
}
