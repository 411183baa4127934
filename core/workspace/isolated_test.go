package workspace_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

// policy chooses as the registry does, among offers of a test.
type policy []negotiate.Offer

func (p *policy) Choose(_ context.Context, r negotiate.Request) (negotiate.Choice, error) {
	return negotiate.Choose(r, *p)
}

func (p *policy) set(offers ...negotiate.Offer) { *p = offers }

var (
	hostOffer = negotiate.Offer{Name: "host", Info: driver.Info{Name: "host", Isolation: driver.IsolationNone}, Health: driver.Health{State: driver.HealthReady}}
	boxOffer  = negotiate.Offer{Name: "box", Info: driver.Info{Name: "box", Isolation: driver.IsolationSharedKernel}, Health: driver.Health{State: driver.HealthReady}}
)

func refused(reason driver.Reason) negotiate.Offer {
	return negotiate.Offer{Name: "box", Info: driver.Info{Name: "box"}, Problem: driver.Errorf(reason, "it does not work")}
}

// A2: commands, dev servers' commands and up alike go nowhere else, after a
// restart of the daemon and after a use of the host that a person asked for once.
func TestA2AWorkspaceThatWasIsolatedStaysSo(t *testing.T) {
	p := &policy{}
	w := newWorld(t, fake.Script{}, func(_ *world, o *workspace.Options) { o.Chooser = p })
	again := func(m config.Machine) *workspace.Manager {
		return w.manager(func(_ *world, o *workspace.Options) { o.Chooser, o.Machine = p, m })
	}
	tried, onHost := 0, 0
	try := func(what string, m *workspace.Manager, dir string) {
		t.Helper()
		for _, verb := range []string{"exec", "up"} {
			tried++
			ref := workspace.Ref{Dir: dir}
			var err error
			if verb == "up" {
				_, err = m.Up(t.Context(), workspace.UpOptions{Ref: ref}, nil)
			} else {
				_, err = m.Exec(t.Context(), workspace.ExecOptions{Ref: ref, Argv: []string{"true"}}, driver.ExecIO{}, nil, nil)
			}
			if err == nil {
				onHost++
				t.Errorf("%s: %s ran on the host", what, verb)
			}
		}
	}
	for i, file := range []string{"", `{"fallback": "host"}`, `{"mode": "host"}`, `{"driver": "host"}`} {
		p.set(hostOffer, boxOffer)
		dir := w.dir(fmt.Sprintf("shop%d", i), "")
		ref := workspace.Ref{Dir: dir}
		w.upDir(dir)
		if _, _, err := w.Stop(t.Context(), ref, time.Second); err != nil {
			t.Fatal(err)
		}
		if file != "" {
			w.write(dir+"/"+config.FileName, file)
			w.trust(dir)
		}
		for _, reason := range []driver.Reason{driver.PermissionDenied, driver.Internal, driver.OutOfDisk, driver.EngineNotInstalled, driver.DriverUntrusted, "X_ANY"} {
			p.set(hostOffer, refused(reason))
			try(file+" "+string(reason), again(config.Machine{}), dir)
		}
		p.set(hostOffer)
		try(file+" the driver is gone", again(config.Machine{}), dir)
		try(file+" the machine says host", again(config.Machine{Mode: config.ModeHost}), dir)

		m := again(config.Machine{}) // a person's word for one command holds for that command
		if _, err := m.Exec(t.Context(), workspace.ExecOptions{Ref: ref, Argv: []string{"true"}, Driver: "host"}, driver.ExecIO{}, nil, nil); driver.ReasonOf(err) == driver.IsolationRequired || err != nil && !strings.Contains(err.Error(), "no such") {
			t.Errorf("with --driver host: %v", err)
		}
		try(file+" while the host is in use", m, dir)
		if _, _, err := m.Stop(t.Context(), ref, time.Second); err != nil {
			t.Fatal(err)
		}
		try(file+" after the host was used once", again(config.Machine{}), dir)

		m = again(config.Machine{}) // with up it holds from then on
		if _, err := m.Up(t.Context(), workspace.UpOptions{Ref: ref, Driver: "host"}, nil); err != nil {
			t.Errorf("up --driver host: %v", err)
		}
		if got, err := again(config.Machine{}).Up(t.Context(), workspace.UpOptions{Ref: ref}, nil); err != nil || !got.Choice.HostMode {
			t.Errorf("after up --driver host: %+v %v", got.Choice, err)
		}
	}
	t.Logf("%d tried, %d on the host", tried, onHost)
}

// A2: what is known of a sandbox is kept before it is made, so that a start that
// fails, or a crash, does not make the workspace one that was never isolated.
func TestA2ASandboxThatNeverStartedCounts(t *testing.T) {
	p := &policy{}
	p.set(hostOffer, boxOffer)
	w := newWorld(t, fake.Script{Rules: []fake.Rule{{Call: "StartSandbox", Error: &fake.Failure{Reason: "X_ANY"}}}}, func(_ *world, o *workspace.Options) { o.Chooser = p })
	ref := workspace.Ref{Dir: w.dir("shop", "")}
	if _, err := w.Up(t.Context(), workspace.UpOptions{Ref: ref}, nil); err == nil {
		t.Fatal("it started")
	}
	p.set(hostOffer)
	m := w.manager(func(_ *world, o *workspace.Options) { o.Chooser = p })
	if got, err := m.Up(t.Context(), workspace.UpOptions{Ref: ref}, nil); err == nil {
		t.Errorf("runs in %s", got.Choice.Actual)
	}
}

// A2: neverHost refuses a person, too.
func TestA2NeverHost(t *testing.T) {
	p := &policy{}
	p.set(hostOffer)
	w := newWorld(t, fake.Script{}, func(_ *world, o *workspace.Options) {
		o.Chooser, o.Machine = p, config.Machine{NeverHost: true}
	})
	for i, wish := range []string{"", "auto", "host"} {
		ref := workspace.Ref{Dir: w.dir(fmt.Sprintf("new%d", i), "")}
		_, err := w.Up(t.Context(), workspace.UpOptions{Ref: ref, Driver: wish}, nil)
		if e := wantReason(t, err, driver.IsolationRequired); !strings.Contains(e.Message, "neverHost") || len(e.Remedies) == 0 {
			t.Errorf("%+v", e)
		}
	}
	p.set(hostOffer, boxOffer)
	if got := w.upDir(w.dir("new3", "")); got.Choice.Actual != "box" {
		t.Errorf("%+v", got.Choice)
	}
}

// A2: the first answer about a new workspace on the host says so, and no later one.
func TestA2TheFirstCommandOnTheHostSaysSo(t *testing.T) {
	p := &policy{}
	p.set(hostOffer)
	w := newWorld(t, fake.Script{}, func(_ *world, o *workspace.Options) { o.Chooser = p })
	dir := w.dir("shop", "")
	for i, want := range []bool{true, false, false} {
		got := false
		_, _ = w.Exec(t.Context(), workspace.ExecOptions{Ref: workspace.Ref{Dir: dir}, Argv: []string{"true"}}, driver.ExecIO{},
			func(w workspace.Workspace, _ string, _ int64) { got = w.FirstOnHost }, nil)
		if got != want {
			t.Errorf("command %d: %v", i, got)
		}
	}
	if choice := w.Choice("shop"); !choice.HostMode {
		t.Errorf("%+v", choice)
	}
}

// A10: a file does not name the driver for tests; a person may, and a test that
// asks for it.
func TestA10AFileDoesNotNameTheFake(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir := w.dir("shop", `{"driver": "fake"}`)
	try := func(wish string) bool {
		_, _ = w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}, Driver: wish}, nil)
		return w.lastRequest().HideFake
	}
	t.Setenv(negotiate.FakeVariable, "")
	if !try("") || try("fake") {
		t.Error("a file may name it, or a person may not")
	}
	t.Setenv(negotiate.FakeVariable, "1")
	if try("") {
		t.Error("a test may not name it")
	}
}
