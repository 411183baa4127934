package workspace_test

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

// recordingEgress is an Egress that gives one variable.
type recordingEgress struct {
	mu    sync.Mutex
	calls []string
	rules config.Egress
	err   error
}

func (r *recordingEgress) note(call string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, call)
}

func (r *recordingEgress) Environment(_ context.Context, id string, s driver.Sandbox, file config.Egress) ([]driver.EnvVar, error) {
	r.note("environment " + id + " " + s.Network.String())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rules = file
	return []driver.EnvVar{{Name: "HTTP_PROXY", Value: "http://demo:secret@127.0.0.1:1", Secret: true}}, r.err
}

func (r *recordingEgress) Changed(_ string, _ driver.Sandbox, file config.Egress) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rules.Mode != file.Mode
}

func (r *recordingEgress) StopWorkspace(id string) { r.note("stop " + id) }

func (r *recordingEgress) ForgetWorkspace(id string) { r.note("forget " + id) }

// TestB28Commands: each command of a sandbox finds the proxy, the sandbox itself
// does not know its credential, and in host mode there is none.
func TestB28Commands(t *testing.T) {
	w := newWorld(t, fake.Script{})
	proxies := &recordingEgress{}
	w.SetEgress(proxies)
	dir := w.dir("shop", `{"egress": {"allow": ["good.example"]}, "env": {"MINE": "yes"}}`)
	run := func(ref workspace.Ref, wish string) string {
		var out bytes.Buffer
		_, err := w.Exec(t.Context(), workspace.ExecOptions{Ref: ref, Argv: []string{"env"}, Driver: wish}, driver.ExecIO{Stdout: &out}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if got := run(workspace.Ref{Dir: dir}, ""); !strings.Contains(got, "HTTP_PROXY=http://demo:secret@127.0.0.1:1\n") || !strings.Contains(got, "MINE=yes\n") {
		t.Errorf("the command sees %s", got)
	}
	if !slices.Equal(proxies.rules.Allow, []string{"good.example"}) {
		t.Errorf("the rules are %+v", proxies.rules)
	}
	if _, _, err := w.Stop(t.Context(), workspace.Ref{ID: "shop"}, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Remove(t.Context(), workspace.Ref{ID: "shop"}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"environment shop isolated", "stop shop", "forget shop"}; !slices.Equal(slices.Compact(proxies.calls), want) {
		t.Errorf("%v, want %v", proxies.calls, want)
	}
	if got := run(workspace.Ref{Dir: w.dir("plain", "")}, "host"); strings.Contains(got, "HTTP_PROXY=http://demo") {
		t.Errorf("the host's command sees %s", got)
	}
	proxies.err = driver.Errorf(driver.Unsupported, "no way in")
	_, err := w.Exec(t.Context(), workspace.ExecOptions{Ref: workspace.Ref{Dir: dir}, Argv: []string{"env"}}, driver.ExecIO{}, nil, nil)
	wantReason(t, err, driver.Unsupported)
}

// TestB30OnlyWayOut: with an allow list the sandbox has no network of its own,
// where the driver can do that; where it cannot it is said, or refused.
func TestB30OnlyWayOut(t *testing.T) {
	const advice = "egress rules are advice here"
	without := fake.Script{Without: []driver.Capability{driver.CapNetIsolated}}
	for name, c := range map[string]struct {
		file    string
		machine config.Egress
		script  fake.Script
		network driver.Network
		warns   string
		reason  driver.Reason
	}{
		"nothing asked":         {file: `{}`},
		"open":                  {file: `{"egress": {"mode": "open"}}`},
		"open with a deny list": {file: `{"egress": {"deny": ["*.example"]}}`, warns: advice},
		"open, enforced":        {file: `{"egress": {"mode": "open", "enforce": true}}`, network: driver.NetworkIsolated},
		"observe":               {file: `{"egress": {"mode": "observe"}}`},
		"allow list":            {file: `{"egress": {"allow": ["good.example"]}}`, network: driver.NetworkIsolated},
		"empty allow list":      {file: `{"egress": {"allow": []}}`, network: driver.NetworkIsolated},
		"allowlist":             {file: `{"egress": {"mode": "allowlist"}}`, network: driver.NetworkIsolated},
		"the machine's":         {file: `{"egress": {"mode": "open"}}`, machine: config.Egress{Mode: "allowlist"}, network: driver.NetworkIsolated},
		"a driver without":      {file: `{"egress": {"mode": "allowlist"}}`, script: without, warns: advice},
		"enforced there":        {file: `{"egress": {"enforce": true}}`, script: without, reason: driver.Unsupported},
		"by the machine":        {file: `{}`, machine: config.Egress{Enforce: true}, script: without, reason: driver.Unsupported},
		"in host mode":          {file: `{"mode": "host"}`, machine: config.Egress{Mode: "allowlist"}, warns: "no effect in host mode"},
		"enforced in host mode": {file: `{"mode": "host"}`, machine: config.Egress{Enforce: true}, reason: driver.Unsupported},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.script, machine(config.Machine{Egress: c.machine}))
			dir := w.dir("shop", c.file)
			w.trust(dir)
			got, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil)
			if c.reason != "" {
				if e := wantReason(t, err, c.reason); !strings.Contains(e.Message, string(driver.CapNetIsolated)) || len(e.Remedies) == 0 {
					t.Error(e, e.Remedies)
				}
				if w.box.Calls("CreateSandbox") != 0 {
					t.Error("a sandbox was made")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s, err := w.box.Get(t.Context(), "sero-shop"); err == nil && s.Network != c.network {
				t.Errorf("the network is %s, want %s", s.Network, c.network)
			}
			if all := strings.Join(got.Warnings, "\n"); (c.warns != "") != strings.Contains(all, "egress") || !strings.Contains(all, c.warns) {
				t.Errorf("the warnings are %q", all)
			}
		})
	}
}

// TestB19EgressDrift: a sandbox that was made with a network says that the rules
// ask for another one, and runs nothing if they must be enforced.
func TestB19EgressDrift(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir := w.dir("shop", "")
	w.upDir(dir)
	w.write(filepath.Join(dir, config.FileName), `{"egress": {"allow": []}}`)
	if got := w.inspect("shop"); parts(got.Drift) != "network" {
		t.Errorf("%+v", got.Drift)
	}
	w.SetEgress(&recordingEgress{})
	w.write(filepath.Join(dir, config.FileName), `{"egress": {"allow": [], "enforce": true}}`)
	run := workspace.ExecOptions{Ref: workspace.Ref{Dir: dir}, Argv: []string{"env"}}
	_, err := w.Exec(t.Context(), run, driver.ExecIO{}, nil, nil)
	wantReason(t, err, driver.Unsupported)
	w.recreate(workspace.RecreateOptions{Ref: workspace.Ref{ID: "shop"}})
	if _, err := w.Exec(t.Context(), run, driver.ExecIO{}, nil, nil); err != nil {
		t.Error(err)
	}
}

// TestEgressChangeIsSaid: an edit that does not hold yet is a warning.
func TestEgressChangeIsSaid(t *testing.T) {
	w := newWorld(t, fake.Script{})
	proxies := &recordingEgress{rules: config.Egress{Mode: "open"}}
	w.SetEgress(proxies)
	dir := w.dir("shop", `{"egress": {"mode": "open"}}`)
	w.upDir(dir)
	if got := w.upDir(dir); strings.Contains(strings.Join(got.Warnings, " "), "egress") {
		t.Errorf("%q", got.Warnings)
	}
	w.write(filepath.Join(dir, config.FileName), `{"egress": {"mode": "observe"}}`)
	if got := w.upDir(dir); !strings.Contains(strings.Join(got.Warnings, " "), "egress of sero.json has changed") {
		t.Errorf("%q", got.Warnings)
	}
}

// TestB43Egress: a new core gives a sandbox that still runs its proxy back.
func TestB43Egress(t *testing.T) {
	w := newWorld(t, fake.Script{})
	w.upDir(w.dir("shop", `{"egress": {"allow": []}}`))
	again := w.manager()
	proxies := &recordingEgress{}
	again.SetEgress(proxies)
	again.Rejoin(t.Context(), func(id string) {
		if err := again.ReopenEgress(t.Context(), id); err != nil {
			t.Error(err)
		}
	})
	if want := []string{"environment shop isolated"}; !slices.Equal(proxies.calls, want) {
		t.Errorf("%v, want %v", proxies.calls, want)
	}
}

// TestB30KnowsWhatRuns: a proxy is opened for the sandbox that a workspace runs
// in, and ends with it, whoever ended it.
func TestB30KnowsWhatRuns(t *testing.T) {
	w := newWorld(t, fake.Script{})
	proxies := &recordingEgress{}
	w.SetEgress(proxies)
	w.upDir(w.dir("shop", ""))
	get := func() driver.Sandbox {
		t.Helper()
		s, err := w.box.Get(t.Context(), "sero-shop")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	is := func(when string, s driver.Sandbox, current, ended bool) {
		t.Helper()
		if c, e := w.IsCurrent("shop", s), w.HasEnded(t.Context(), "shop", s); c != current || e != ended {
			t.Errorf("%s: current %t, ended %t", when, c, e)
		}
	}
	first := get()
	is("while it runs", first, true, false)
	w.stopDriver("box", true)
	is("while nobody can tell", first, true, false)
	w.stopDriver("box", false)
	other := first
	other.Instance = "another"
	is("another one", other, false, true)
	if err := w.box.Stop(t.Context(), "sero-shop", 0); err != nil {
		t.Fatal(err)
	}
	is("stopped by another", first, true, true)
	if _, err := w.box.Start(t.Context(), "sero-shop"); err != nil {
		t.Fatal(err)
	}
	is("started again by another", first, true, !get().Started.Equal(first.Started))
	if err := w.box.Remove(t.Context(), "sero-shop", true); err != nil {
		t.Fatal(err)
	}
	is("removed by another", first, true, true)
	if _, _, err := w.Stop(t.Context(), workspace.Ref{ID: "shop"}, 0); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(proxies.calls, []string{"stop shop"}) {
		t.Errorf("the proxy of a sandbox that is not there is not ended: %v", proxies.calls)
	}
	is("after a stop", first, false, true)
	is("a workspace that nobody knows", driver.Sandbox{}, false, true)
}
