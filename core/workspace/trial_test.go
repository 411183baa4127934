package workspace_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

// instances are the sandboxes of the box: which ones they are, by their ids.
func (w *world) instances() map[string]string {
	w.t.Helper()
	list, err := w.box.List(w.t.Context(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	found := map[string]string{}
	for _, s := range list {
		found[s.ID] = s.Instance
	}
	return found
}

// failures are reasons for which a driver may not make or start a sandbox.
var failures = []driver.Reason{
	driver.Internal, driver.InvalidArgument, driver.PermissionDenied, driver.OutOfDisk, driver.OutOfMemory, driver.MountDenied, driver.PortInUse,
	driver.ImageNotFound, driver.AlreadyExists, driver.ForeignResource, driver.NameInvalid, driver.Unsupported, driver.Timeout, driver.Canceled,
	driver.EngineWedged, driver.EngineNotRunning, driver.NotFound, driver.NotRunning, driver.NotStopped, driver.Corrupt, "X_QUOTA", "SOMETHING_NEW",
}

// A10: where the new sandbox can be neither made nor started, whatever the reason
// is, recreate has stopped and removed nothing.
func TestA10ARecreateThatFailsKeepsTheSandbox(t *testing.T) {
	tried, lost := 0, 0
	stopped := int(driver.SandboxStopped)
	sum := sha256.Sum256([]byte("here\nshop"))
	trial := "sero--trial-" + hex.EncodeToString(sum[:8])
	rules := map[string][]fake.Rule{
		"it ends at once": {{Call: "StartSandbox", State: &stopped}},
		"it ends a moment later": {
			{Call: "Exec", Sandbox: trial, Error: &fake.Failure{Reason: driver.NotRunning}}, {Call: "GetSandbox", Sandbox: trial, State: &stopped},
		},
	}
	for _, call := range []string{"CreateSandbox", "StartSandbox"} {
		for _, reason := range failures {
			rules[fmt.Sprintf("%s %s", call, reason)] = []fake.Rule{{Call: call, Error: &fake.Failure{Reason: reason, Message: "no"}}}
		}
	}
	for _, call := range []string{"CreateSandbox", "StartSandbox"} {
		rules[call+" says another"] = []fake.Rule{{Call: call, ID: "sero-other"}}
	}
	for what, rules := range rules {
		w := newWorld(t, fake.Script{})
		servers := &recordingServers{}
		w.SetDevServers(servers)
		dir := w.dir("shop", "")
		w.upDir(dir)
		before := w.instances()
		w.script(fake.Script{Rules: rules})
		_, err := w.Recreate(t.Context(), workspace.RecreateOptions{Ref: workspace.Ref{ID: "shop"}, Force: true}, nil)
		tried++
		if err == nil || len(rules) == 1 && rules[0].Error != nil && driver.ReasonOf(err) != rules[0].Error.Reason {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if e := driver.AsError(err); !strings.Contains(e.Message, "nothing was stopped or removed") || strings.Contains(fmt.Sprint(e.Remedies), "trial") {
			t.Errorf("%s: %v %v", what, e, e.Remedies)
		}
		w.script(fake.Script{})
		s, err := w.box.Get(t.Context(), "sero-shop")
		if err != nil || s.State != driver.SandboxRunning || !maps.Equal(w.instances(), before) || servers.stops() != 0 {
			lost++
			t.Errorf("%s: %v %v, now %v, %d stops of dev servers", what, s.State, err, w.instances(), servers.stops())
		}
		w.upDir(dir)
	}
	t.Logf("%d tried, %d lost the sandbox", tried, lost)
}

// A10: the same holds where sero itself sees that a sandbox has to be recreated.
func TestA10AnAutomaticRecreateThatFailsKeepsTheSandbox(t *testing.T) {
	corrupt := int(driver.SandboxCorrupt)
	tried, lost := 0, 0
	for what, test := range map[string]struct {
		moved bool        // the sandbox was made for a directory that is gone
		rule  *fake.Rule  // why it is recreated
		fail  []fake.Rule // that keep the new one from being made
	}{
		"made for another directory": {moved: true},
		"broken":                     {rule: &fake.Rule{Call: "GetSandbox", Times: 2, State: &corrupt}},
		"not inspectable":            {rule: &fake.Rule{Call: "GetSandbox", Times: 2, Error: &fake.Failure{Reason: driver.Corrupt}}},
		"not startable":              {rule: &fake.Rule{Call: "StartSandbox", Times: 1, Error: &fake.Failure{Reason: driver.Corrupt}}},
	} {
		for _, reason := range failures {
			w := newWorld(t, fake.Script{})
			dir := w.dir("shop", "")
			if test.moved {
				_, err := w.box.Create(t.Context(), driver.SandboxSpec{ID: "sero-shop", WorkspaceDir: dir, Image: "sero-node:latest", Labels: map[string]string{
					driver.LabelManaged: "true", driver.LabelWorkspaceID: "shop", driver.LabelInstallation: "here", driver.LabelWorkspacePath: filepath.Join(w.root, "gone"),
				}})
				if err != nil {
					t.Fatal(err)
				}
			} else {
				w.upDir(dir)
				if _, _, err := w.Stop(t.Context(), workspace.Ref{ID: "shop"}, time.Second); err != nil {
					t.Fatal(err)
				}
			}
			before := w.instances()
			rules := []fake.Rule{{Call: "CreateSandbox", Error: &fake.Failure{Reason: reason, Message: "no"}}}
			if test.rule != nil {
				rules = append(rules, *test.rule)
			}
			w.script(fake.Script{Rules: rules})
			_, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil)
			tried++
			if driver.ReasonOf(err) != reason && (reason != driver.EngineNotRunning || err != nil) { // after that it is started, and all is well
				t.Errorf("%s, %s: %v", what, reason, err)
			}
			if now := w.instances(); !maps.Equal(now, before) {
				lost++
				t.Errorf("%s, %s: %v became %v", what, reason, before, now)
			}
			w.script(fake.Script{})
			w.upDir(dir)
		}
	}
	t.Logf("%d tried, %d lost the sandbox", tried, lost)
}

// A10: a trial that a crash leaves is no workspace's. Prune takes it away, and so
// does the next trial.
func TestA10ATrialThatIsLeft(t *testing.T) {
	for _, how := range []string{"pruned", "found by the next trial", "and of another spec"} {
		w := newWorld(t, fake.Script{Images: []string{"sero-node:latest", "other:1"}}, lasting)
		dir := w.dir("shop", "")
		w.upDir(dir)
		before := w.instances()
		w.script(fake.Script{Rules: []fake.Rule{{Call: "RemoveSandbox", Error: &fake.Failure{Reason: driver.EngineWedged, Message: "no"}}}})
		ref := workspace.Ref{ID: "shop"}
		if _, err := w.Recreate(t.Context(), workspace.RecreateOptions{Ref: ref}, nil); driver.ReasonOf(err) != driver.EngineWedged {
			t.Fatal(err)
		}
		w.script(fake.Script{})
		left := w.instances()
		if len(left) != 2 || left["sero-shop"] != before["sero-shop"] {
			t.Fatalf("%v became %v", before, left)
		}
		w.lose()
		m := w.manager(lasting)
		if got := states(m.List(t.Context())); got != "shop:running" {
			t.Errorf("%s: adopted: %s", how, got)
		}
		if got, err := m.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil); err != nil || got.ID != "shop" || !maps.Equal(w.instances(), left) {
			t.Errorf("%s: %s %v", how, got.ID, err)
		}
		switch how {
		case "pruned":
			items, warnings := m.Prune(t.Context(), workspace.PruneOptions{})
			if len(items) != 1 || !items[0].Removed || items[0].Name == "sero-shop" || !strings.Contains(items[0].Reason, "try out") || len(warnings) > 0 {
				t.Errorf("%+v %v", items, warnings)
			}
			if now := w.instances(); !maps.Equal(now, before) {
				t.Errorf("%s: %v", how, now)
			}
			continue
		case "and of another spec":
			w.write(filepath.Join(dir, "sero.json"), `{"image": "other:1"}`)
		}
		if _, err := m.Recreate(t.Context(), workspace.RecreateOptions{Ref: ref}, nil); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		if now := w.instances(); len(now) != 1 || now["sero-shop"] == before["sero-shop"] {
			t.Errorf("%s: %v", how, now)
		}
	}
}

// A10: what has the name of a trial and is not ours is left alone, and so is the
// sandbox then.
func TestA10ATrialSparesWhatHasItsName(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir := w.dir("shop", "")
	w.upDir(dir)
	shop := w.instances()["sero-shop"]
	w.script(fake.Script{Rules: []fake.Rule{{Call: "RemoveSandbox", Error: &fake.Failure{Reason: driver.EngineWedged}}}})
	ref := workspace.Ref{ID: "shop"}
	if _, err := w.Recreate(t.Context(), workspace.RecreateOptions{Ref: ref}, nil); err == nil {
		t.Fatal("it was recreated")
	}
	w.script(fake.Script{})
	name := slices.DeleteFunc(slices.Collect(maps.Keys(w.instances())), func(id string) bool { return id == "sero-shop" })[0]
	for what, labels := range map[string]map[string]string{
		"no labels":            nil,
		"another installation": {driver.LabelManaged: "true", driver.LabelInstallation: "there", "dev.sero.trial": "true"},
		"no trial":             {driver.LabelManaged: "true", driver.LabelInstallation: "here", driver.LabelWorkspaceID: "other"},
	} {
		if err := w.box.Remove(t.Context(), name, true); err != nil {
			t.Fatal(err)
		}
		theirs, err := w.box.Create(t.Context(), driver.SandboxSpec{ID: name, WorkspaceDir: dir, Image: "sero-node:latest", Labels: labels})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Recreate(t.Context(), workspace.RecreateOptions{Ref: ref}, nil)
		if e := wantReason(t, err, driver.ForeignResource); len(e.Remedies) == 0 {
			t.Errorf("%s: %v", what, e)
		}
		if now := w.instances(); now[name] != theirs.Instance || now["sero-shop"] != shop {
			t.Errorf("%s: %v", what, now)
		}
	}
}
