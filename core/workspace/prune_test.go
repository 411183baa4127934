package workspace_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

// lasting makes the Manager ask the box for what it has.
func lasting(w *world, o *workspace.Options) {
	o.Lasting = func() []string { return []string{"box"} }
}

// lose drops what the Manager's state directory knows of workspaces.
func (w *world) lose() {
	w.t.Helper()
	for _, name := range []string{"workspaces", "workspaces.copy"} {
		if err := os.RemoveAll(filepath.Join(w.state, name)); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestB18LostRecordsAreFoundByLabel(t *testing.T) {
	w := newWorld(t, fake.Script{}, lasting)
	shop, other := w.dir("shop", ""), w.dir("elsewhere", "")
	w.upDir(shop)
	w.up(workspace.UpOptions{Ref: workspace.Ref{Dir: other}, NewID: "named"})
	sub := w.dir("elsewhere/sub", "")
	if _, _, err := w.Stop(t.Context(), workspace.Ref{ID: "named"}, time.Second); err != nil {
		t.Fatal(err)
	}
	create := func(id, name, installation, dir string) {
		t.Helper()
		_, err := w.box.Create(t.Context(), driver.SandboxSpec{ID: name, WorkspaceDir: shop, Image: "sero-node:latest", Labels: map[string]string{
			driver.LabelManaged: "true", driver.LabelWorkspaceID: id, driver.LabelInstallation: installation, driver.LabelWorkspacePath: dir,
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	create("theirs", "sero-theirs", "there", shop)    // of another installation
	create("twin", "sero-twin", "here", shop)         // a directory has one workspace
	create("Bad Id", "sero-bad", "here", other)       // labels that make no sense
	create("relative", "sero-relative", "here", "..") // and others
	create("root", "sero-root", "here", "/")
	w.lose()

	for name, look := range map[string]func(m *workspace.Manager) string{
		"ls": func(m *workspace.Manager) string { return states(m.List(t.Context())) },
		"by id": func(m *workspace.Manager) string {
			got, err := m.Get(t.Context(), workspace.Ref{ID: "named"})
			if err != nil || got.State != workspace.StateStopped || got.Directory != other {
				t.Errorf("%+v %v", got, err)
			}
			return states(m.List(t.Context()))
		},
		"up in its directory": func(m *workspace.Manager) string {
			got, err := m.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: sub}}, nil)
			if err != nil || got.ID != "named" {
				t.Errorf("%s %v", got.ID, err)
			}
			_, _, err = m.Stop(t.Context(), workspace.Ref{ID: "named"}, time.Second)
			if err != nil {
				t.Error(err)
			}
			return states(m.List(t.Context()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w.lose()
			creates := w.box.Calls("CreateSandbox")
			got := look(w.manager(lasting))
			if got != "named:stopped shop:running" {
				t.Error(got)
			}
			if w.box.Calls("CreateSandbox") != creates {
				t.Error("a sandbox was made")
			}
			again := w.manager() // the records are back
			if len(again.List(t.Context())) != 2 {
				t.Error("they were not kept")
			}
		})
	}
}

func TestB18LookingForLostRecordsKeepsNobody(t *testing.T) {
	w := newWorld(t, fake.Script{}, lasting)
	w.upDir(w.dir("shop", ""))
	w.script(fake.Script{Rules: []fake.Rule{{Call: "ListSandboxes", Times: 2, Hang: true}}})
	w.lose()
	m := w.manager(lasting)
	if got := states(m.List(t.Context())); got != "" {
		t.Error(got)
	}
	if _, err := m.Get(t.Context(), workspace.Ref{ID: "shop"}); driver.ReasonOf(err) != driver.NotFound {
		t.Error(err)
	}
}

func kinds(items []workspace.PruneItem) string {
	var out []string
	for _, i := range items {
		word := i.Kind + ":" + i.Name
		if i.Kind == workspace.PruneImage {
			word = i.Kind
		}
		if i.Removed {
			word += "!"
		}
		if i.Err != nil {
			word += "?" + string(driver.ReasonOf(i.Err))
		}
		out = append(out, word)
	}
	return strings.Join(out, " ")
}

// TestB20PruneTakesWhatNobodyNeeds has one of everything: what is needed, what
// is not, and what is another's.
func TestB20PruneTakesWhatNobodyNeeds(t *testing.T) {
	w := newWorld(t, fake.Script{}, lasting)
	ctx := t.Context()
	ours := map[string]string{driver.LabelManaged: "true", driver.LabelInstallation: "here"}
	theirs := map[string]string{driver.LabelManaged: "true", driver.LabelInstallation: "there"}
	w.build("tool:1", "FROM sero-node:latest\n# theirs, old\n", theirs)
	w.build("tool:1", "FROM sero-node:latest\n# theirs\n", theirs)
	w.build("sero-node:latest", "FROM sero-node:latest\n# oldest\n", ours) // nobody uses it
	w.build("sero-node:latest", "FROM sero-node:latest\n# old\n", ours)    // shop does
	w.upDir(w.dir("shop", ""))
	w.build("sero-node:latest", "FROM sero-node:latest\n# new\n", ours)
	w.upDir(w.dir("gone", ""))
	w.upDir(w.dir("idle", ""))
	if _, _, err := w.Stop(ctx, workspace.Ref{ID: "idle"}, time.Second); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(w.root, "gone")); err != nil {
		t.Fatal(err)
	}
	for name, installation := range map[string]string{"orphan": "here", "theirs": "there"} {
		if _, err := w.box.Create(ctx, driver.SandboxSpec{ID: "sero-" + name, WorkspaceDir: w.root, Image: "sero-node:latest", Labels: map[string]string{
			driver.LabelManaged: "true", driver.LabelWorkspaceID: name, driver.LabelInstallation: installation,
		}}); err != nil {
			t.Fatal(err)
		}
	}

	planned, warnings := w.Prune(ctx, workspace.PruneOptions{DryRun: true})
	if got := kinds(planned); got != "workspace:gone sandbox:sero-orphan image" || len(warnings) != 0 {
		t.Fatalf("%s %q", got, warnings)
	}
	for _, i := range planned {
		if i.Reason == "" || i.Key() == "" {
			t.Errorf("%+v", i)
		}
	}
	if n := w.box.Calls("RemoveSandbox") + w.box.Calls("RemoveImage") + w.box.Calls("StopSandbox"); n != 1 {
		t.Errorf("a dry run made %d calls", n-1)
	}
	if old, _ := w.Prune(ctx, workspace.PruneOptions{DryRun: true, Unused: time.Nanosecond}); kinds(old) != "workspace:gone sandbox:sero-idle sandbox:sero-orphan image" {
		t.Error(kinds(old))
	}
	if old, _ := w.Prune(ctx, workspace.PruneOptions{DryRun: true, Unused: time.Hour}); kinds(old) != kinds(planned) {
		t.Error(kinds(old))
	}

	// What was not shown is not taken.
	only, _ := w.Prune(ctx, workspace.PruneOptions{Only: []string{planned[1].Key()}})
	if got := kinds(only); got != "sandbox:sero-orphan!" {
		t.Error(got)
	}
	if done, _ := w.Prune(ctx, workspace.PruneOptions{}); kinds(done) != "workspace:gone! image!" {
		t.Error(kinds(done))
	}
	if again, _ := w.Prune(ctx, workspace.PruneOptions{}); len(again) != 0 {
		t.Error(kinds(again))
	}
	if got := states(w.List(ctx)); got != "idle:stopped shop:running" {
		t.Error(got)
	}
	if _, err := w.box.Get(ctx, "sero-theirs"); err != nil {
		t.Error("another's sandbox:", err)
	}
	images, err := w.box.ListImages(ctx, theirs)
	if err != nil || len(images) != 2 {
		t.Error("another's images:", images, err)
	}
	usage, _ := w.DiskUsage(ctx)
	var lines []string
	for _, i := range usage {
		lines = append(lines, i.Kind+" "+strings.Join(i.Workspaces, ","))
		if i.Kind == "image" && i.Bytes == 0 {
			t.Errorf("%+v", i)
		}
	}
	if got := strings.Join(lines, "; "); got != "sandbox idle; sandbox shop; image idle; image shop" && got != "sandbox idle; sandbox shop; image shop; image idle" {
		t.Error(got)
	}
}

// TestB20PruneKnowsWhatADriverTellsLate: a driver that is slow to tell of the
// sandboxes of workspaces whose records are lost does not make them nobody's.
func TestB20PruneKnowsWhatADriverTellsLate(t *testing.T) {
	w := newWorld(t, fake.Script{}, lasting)
	w.upDir(w.dir("shop", ""))
	w.script(fake.Script{Rules: []fake.Rule{{Call: "ListSandboxes", Times: 1, Delay: fake.Duration(600 * time.Millisecond)}}})
	w.lose()
	items, warnings := w.manager(lasting).Prune(t.Context(), workspace.PruneOptions{})
	if len(items) != 0 || len(warnings) != 0 {
		t.Error(kinds(items), warnings)
	}
	if s, err := w.box.Get(t.Context(), "sero-shop"); err != nil || s.State != driver.SandboxRunning {
		t.Errorf("it was taken away: %+v %v", s, err)
	}
}

// TestB20AnEngineThatNobodyUses is not worth a word when it does not run.
func TestB20AnEngineThatNobodyUses(t *testing.T) {
	stopped := fake.Rule{Call: "ListSandboxes", Error: &fake.Failure{Reason: driver.EngineNotRunning, Message: "it is stopped"}}
	w := newWorld(t, fake.Script{Rules: []fake.Rule{stopped}}, lasting)
	w.up(workspace.UpOptions{Ref: workspace.Ref{Dir: w.dir("shop", "")}, Driver: "host"})
	if items, warnings := w.Prune(t.Context(), workspace.PruneOptions{}); len(items) != 0 || len(warnings) != 0 {
		t.Error(kinds(items), warnings)
	}
	if items, warnings := w.DiskUsage(t.Context()); len(items) != 0 || len(warnings) != 0 {
		t.Error(items, warnings)
	}
}

// TestB20PruneLooksAgain shows that what has changed since it was found is left.
func TestB20PruneLooksAgain(t *testing.T) {
	stopped := int(driver.SandboxStopped)
	w := newWorld(t, fake.Script{}, lasting)
	dir := w.dir("shop", "")
	w.upDir(dir)
	w.script(fake.Script{Rules: []fake.Rule{{Call: "ListSandboxes", State: &stopped}}}) // it was started since
	done, _ := w.Prune(t.Context(), workspace.PruneOptions{Unused: time.Nanosecond})
	if got := kinds(done); got != "sandbox:sero-shop?NOT_STOPPED" {
		t.Error(got)
	}
	w.script(fake.Script{})
	if got := states(w.List(t.Context())); got != "shop:running" {
		t.Error(got)
	}
	w.script(fake.Script{Rules: []fake.Rule{{Call: "ListSandboxes", Error: &fake.Failure{Reason: driver.EngineNotRunning, Message: "it is stopped"}}}})
	if items, warnings := w.Prune(t.Context(), workspace.PruneOptions{}); len(items) != 0 || len(warnings) != 1 || !strings.Contains(warnings[0], "it is stopped") {
		t.Error(items, warnings)
	}
}

// anyLister is a driver that lists whatever it has, whatever it is asked for.
type anyLister struct{ *fake.Driver }

func (l anyLister) List(ctx context.Context, _ map[string]string) ([]driver.Sandbox, error) {
	return l.Driver.List(ctx, nil)
}

// TestB18AListIsNotBelieved shows that what a driver lists is ours only by its
// own labels.
func TestB18AListIsNotBelieved(t *testing.T) {
	w := newWorld(t, fake.Script{}, func(_ *world, o *workspace.Options) { o.Lasting = func() []string { return []string{"host"} } })
	w.replaceHost(anyLister{w.box})
	for id, labels := range map[string]map[string]string{
		"sero-theirs": {driver.LabelManaged: "true", driver.LabelWorkspaceID: "theirs", driver.LabelInstallation: "there", driver.LabelWorkspacePath: w.dir("theirs", "")},
		"sero-plain":  {},
	} {
		if _, err := w.box.Create(t.Context(), driver.SandboxSpec{ID: id, WorkspaceDir: w.root, Image: "sero-node:latest", Labels: labels}); err != nil {
			t.Fatal(err)
		}
	}
	if got := states(w.List(t.Context())); got != "" {
		t.Errorf("taken for ours: %s", got)
	}
	if items, _ := w.Prune(t.Context(), workspace.PruneOptions{Unused: time.Nanosecond}); len(items) != 0 {
		t.Errorf("taken for ours: %+v", items)
	}
	if usage, _ := w.DiskUsage(t.Context()); len(usage) != 0 {
		t.Errorf("taken for ours: %+v", usage)
	}
}
