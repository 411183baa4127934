package workspace_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

func marshal(s fake.Script) ([]byte, error) { return json.Marshal(s) }

func TestB4RequestFollowsPersonFileMachine(t *testing.T) {
	require := config.Machine{Mode: config.ModeRequire}
	for name, c := range map[string]struct {
		wish, file string
		trusted    bool
		machine    config.Machine
		want       negotiate.Request
	}{
		"nothing said":                       {want: negotiate.Request{Mode: "auto"}},
		"machine":                            {machine: config.Machine{Mode: "host"}, want: negotiate.Request{Mode: "host"}},
		"machine's driver":                   {machine: config.Machine{Driver: "box"}, want: negotiate.Request{Mode: "auto", Driver: "box"}},
		"file over machine":                  {file: `{"mode": "host"}`, trusted: true, machine: config.Machine{Driver: "box"}, want: negotiate.Request{Mode: "host"}},
		"nobody trusts the file":             {file: `{"mode": "host"}`, machine: config.Machine{Driver: "box"}, want: negotiate.Request{Mode: "auto", Driver: "box"}},
		"nobody trusts its driver":           {file: `{"driver": "host"}`, want: negotiate.Request{Mode: "auto"}},
		"nobody trusts its fallback":         {file: `{"fallback": "host"}`, want: negotiate.Request{Mode: "auto"}},
		"machine's host, untrusted file":     {file: `{"mode": "host"}`, machine: config.Machine{Mode: "host"}, want: negotiate.Request{Mode: "host"}},
		"file's driver":                      {file: `{"driver": "box", "fallback": "host"}`, trusted: true, want: negotiate.Request{Mode: "auto", Driver: "box", FallbackHost: true}},
		"driver host":                        {file: `{"driver": "host"}`, trusted: true, want: negotiate.Request{Mode: "host"}},
		"needs":                              {file: `{"image": "x", "resources": {"cpus": 1}}`, want: negotiate.Request{Mode: "auto", NeedsIsolation: []string{"image", "resources"}}},
		"wish over all":                      {wish: "box", file: `{"mode": "host"}`, want: negotiate.Request{Mode: "auto", Driver: "box"}},
		"wish auto":                          {wish: "auto", file: `{"mode": "host"}`, want: negotiate.Request{Mode: "auto"}},
		"wish host":                          {wish: "host", file: `{"image": "x"}`, machine: require, want: negotiate.Request{Mode: "host", FallbackHost: true, NeedsIsolation: []string{"image"}}},
		"file never weakens the machine":     {file: `{"mode": "host"}`, trusted: true, machine: require, want: negotiate.Request{Mode: "require"}},
		"fallback never weakens the machine": {file: `{"fallback": "host"}`, trusted: true, machine: require, want: negotiate.Request{Mode: "require"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, fake.Script{Remote: []string{"x"}}, machine(c.machine))
			dir := w.dir("shop", c.file)
			if c.trusted {
				w.trust(dir)
			}
			got := w.up(workspace.UpOptions{Ref: workspace.Ref{Dir: dir}, Driver: c.wish})
			if diff := cmp.Diff(c.want, w.lastRequest()); diff != "" {
				t.Error(diff)
			}
			weakened := strings.Contains(name, "never weakens")
			if weakened != slices.ContainsFunc(got.Warnings, func(s string) bool { return strings.Contains(s, "requires isolation") }) {
				t.Error(got.Warnings)
			}
		})
	}
}

func TestWishIsKeptAndGuarded(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir := w.dir("shop", "")
	ref := workspace.Ref{Dir: dir}
	w.up(workspace.UpOptions{Ref: ref, Driver: "host"})
	if got := w.upDir(dir); !got.Choice.HostMode {
		t.Errorf("%+v", got.Choice)
	}
	_, err := w.Up(t.Context(), workspace.UpOptions{Ref: ref, Driver: "box"}, nil)
	if e := wantReason(t, err, driver.NotStopped); !strings.Contains(e.Message, "host") || len(e.Remedies) == 0 || e.Remedies[0].Command[1] != "stop" {
		t.Error(e, e.Remedies)
	}
	if _, _, err := w.Stop(t.Context(), ref, time.Second); err != nil {
		t.Fatal(err)
	}
	again := w.manager()
	got, err := again.Up(t.Context(), workspace.UpOptions{Ref: ref}, nil)
	if err != nil || !got.Choice.HostMode {
		t.Fatalf("the wish was lost: %+v %v", got.Choice, err)
	}
	if _, _, err := again.Stop(t.Context(), ref, time.Second); err != nil {
		t.Fatal(err)
	}
	if got, err = again.Up(t.Context(), workspace.UpOptions{Ref: ref, Driver: "auto"}, nil); err != nil || got.Choice.Actual != "box" {
		t.Fatalf("%+v %v", got.Choice, err)
	}
	for _, bad := range []string{"../x", "Box", "-v", strings.Repeat("a", 100)} {
		_, err := w.Up(t.Context(), workspace.UpOptions{Ref: ref, Driver: bad}, nil)
		wantReason(t, err, driver.InvalidArgument)
	}
	_, err = w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: w.dir("other", "")}, Driver: "nosuch"}, nil)
	wantReason(t, err, driver.DriverNotFound)
	if got, err := w.Get(t.Context(), workspace.Ref{ID: "other"}); err != nil || got.Choice.Desired == "nosuch" {
		t.Errorf("a wish that failed was kept: %+v %v", got.Choice, err)
	}
}

// A workspace whose sandbox is in a driver says so to the choice, also to the
// next daemon's, and one that was used on the host does not.
func TestB5TheChoiceKnowsWhereTheSandboxIs(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir := w.dir("shop", "")
	w.upDir(dir)
	if got := w.lastRequest().LivesIn; got != "" {
		t.Errorf("before there was one: %q", got)
	}
	ref := workspace.Ref{Dir: dir}
	if _, _, err := w.Stop(t.Context(), ref, time.Second); err != nil {
		t.Fatal(err)
	}
	again := w.manager()
	if _, err := again.Up(t.Context(), workspace.UpOptions{Ref: ref}, nil); err != nil || w.lastRequest().LivesIn != "box" {
		t.Errorf("%q, %v", w.lastRequest().LivesIn, err)
	}
	other := w.dir("other", `{"mode": "host"}`)
	w.trust(other)
	w.upDir(other)
	if _, _, err := w.Stop(t.Context(), workspace.Ref{Dir: other}, time.Second); err != nil {
		t.Fatal(err)
	}
	if w.upDir(other); w.lastRequest().LivesIn != "" {
		t.Errorf("on the host: %q", w.lastRequest().LivesIn)
	}
}
