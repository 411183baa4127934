package workspace_test

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

func (w *world) inspect(id string) workspace.Workspace {
	w.t.Helper()
	got, err := w.Get(w.t.Context(), workspace.Ref{ID: id})
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

func (w *world) recreate(options workspace.RecreateOptions) workspace.Recreated {
	w.t.Helper()
	got, err := w.Recreate(w.t.Context(), options, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

// build makes an image anew: another Dockerfile has another digest.
func (w *world) build(tag, dockerfile string, labels map[string]string) driver.Image {
	w.t.Helper()
	dir := w.t.TempDir()
	w.write(filepath.Join(dir, "Dockerfile"), dockerfile)
	image, err := w.box.BuildImage(w.t.Context(), driver.BuildSpec{Tag: tag, ContextDir: dir, Labels: labels}, func(driver.Progress) {})
	if err != nil {
		w.t.Fatal(err)
	}
	return image
}

func parts(drift []workspace.Drift) string {
	var names []string
	for _, d := range drift {
		names = append(names, d.Part)
	}
	return strings.Join(names, " ")
}

func TestB19DriftIsNamedByPart(t *testing.T) {
	for name, test := range map[string]struct{ before, after, want, says string }{
		"nothing":       {`{"image": "sero-node:latest"}`, `{"image": "sero-node:latest"}`, "", ""},
		"the same":      {"", "{}", "", ""},
		"image":         {"", `{"image": "other:1"}`, "image", `"sero-node:latest" → "other:1"`},
		"a new name":    {`{"env": {"A": "1"}}`, `{"env": {"A": "1", "B": "2"}}`, "env", "A, B"},
		"another value": {`{"env": {"A": "1"}}`, `{"env": {"A": "2"}}`, "", ""}, // it comes with each command
		"limits":        {"", `{"resources": {"cpus": 2}}`, "resources", "2 processors"},
		"processes":     {"", `{"resources": {"processes": 500}}`, "resources", "500 processes"},
		"shm":           {"", `{"resources": {"sharedMemory": "2g"}}`, "resources", "2048 MiB of shared memory"},
		"two":           {"", `{"resources": {"memory": "1g"}, "image": "other:1"}`, "image resources", "1024 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, fake.Script{Images: []string{"sero-node:latest", "other:1"}})
			dir := w.dir("shop", test.before)
			w.upDir(dir)
			if got := w.inspect("shop"); len(got.Drift) > 0 {
				t.Fatalf("it has drifted from the start: %+v", got.Drift)
			}
			w.write(filepath.Join(dir, config.FileName), test.after)
			got := w.inspect("shop")
			if parts(got.Drift) != test.want {
				t.Errorf("%+v", got.Drift)
			}
			var said []string
			for _, d := range got.Drift {
				said = append(said, d.Message)
			}
			if !strings.Contains(strings.Join(said, "\n"), test.says) {
				t.Errorf("%q does not say %q", said, test.says)
			}
			if up := w.upDir(dir); !slices.Equal(up.Drift, got.Drift) {
				t.Errorf("up says %+v", up.Drift)
			}
		})
	}
}

func TestB19ARebuiltImageIsDriftUntilRecreated(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir := w.dir("shop", "")
	old := w.build("sero-node:latest", "FROM sero-node:latest\n# one\n", nil)
	w.upDir(dir)
	rebuilt := w.build("sero-node:latest", "FROM sero-node:latest\n# two\n", nil)
	got := w.inspect("shop")
	if parts(got.Drift) != "image" || !strings.Contains(got.Drift[0].Message, old.Digest[:19]) || !strings.Contains(got.Drift[0].Message, rebuilt.Digest[:19]) {
		t.Fatalf("%+v", got.Drift)
	}
	if stale := w.Stale(t.Context(), false); len(stale) != 1 || stale[0].ID != "shop" {
		t.Errorf("%+v", stale)
	}
	done := w.recreate(workspace.RecreateOptions{Ref: workspace.Ref{ID: "shop"}})
	if parts(done.Drift) != "image" || done.Workspace.State != workspace.StateRunning || len(done.Workspace.Drift) != 0 {
		t.Errorf("%+v", done)
	}
	if stale, all := w.Stale(t.Context(), false), w.Stale(t.Context(), true); len(stale) != 0 || len(all) != 1 {
		t.Errorf("%+v %+v", stale, all)
	}
	if got := w.inspect("shop"); len(got.Drift) != 0 {
		t.Errorf("%+v", got.Drift)
	}
}

func TestB19RecreateTouchesNothingBeforeItCan(t *testing.T) {
	for name, test := range map[string]struct {
		file   string
		reason driver.Reason
	}{
		"no image":    {`{"image": "nowhere:1"}`, driver.ImageNotFound},
		"bad file":    {`{"image": `, driver.ConfigInvalid},
		"no driver":   {`{"driver": "none"}`, driver.DriverNotFound},
		"unsupported": {`{"egress": {"enforce": true}}`, driver.Unsupported},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, fake.Script{Without: []driver.Capability{driver.CapNetIsolated}})
			dir := w.dir("shop", "")
			w.upDir(dir)
			w.write(filepath.Join(dir, config.FileName), test.file)
			_, err := w.Recreate(t.Context(), workspace.RecreateOptions{Ref: workspace.Ref{ID: "shop"}}, nil)
			wantReason(t, err, test.reason)
			if n := w.box.Calls("RemoveSandbox") + w.box.Calls("StopSandbox"); n != 0 {
				t.Errorf("%d calls took something away", n)
			}
			if s, err := w.box.Get(t.Context(), "sero-shop"); err != nil || s.State != driver.SandboxRunning {
				t.Error(s.State, err)
			}
		})
	}
}

func TestB19RecreateEndsWhenTheEngineNeverStarts(t *testing.T) {
	w := newWorld(t, fake.Script{})
	w.upDir(w.dir("shop", ""))
	w.script(fake.Script{Rules: []fake.Rule{{Call: "StartSystem", Hang: true}}})
	w.willStart = true
	m := w.manager(func(_ *world, o *workspace.Options) { o.EnsureTimeout = 50 * time.Millisecond })
	_, err := m.Recreate(t.Context(), workspace.RecreateOptions{Ref: workspace.Ref{ID: "shop"}}, nil)
	if e := wantReason(t, err, driver.Timeout); !e.Retryable || len(e.Remedies) == 0 {
		t.Errorf("%+v", e)
	}
	if n := w.box.Calls("RemoveSandbox") + w.box.Calls("StopSandbox"); n != 0 {
		t.Errorf("%d calls took something away", n)
	}
}

func TestB19RecreateSparesRunningCommands(t *testing.T) {
	w := newWorld(t, fake.Script{})
	servers := &recordingServers{}
	w.SetDevServers(servers)
	w.upDir(w.dir("shop", ""))
	run := func(id string) (ended chan struct{}) {
		running, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			options := workspace.ExecOptions{Ref: workspace.Ref{ID: "shop"}, Argv: []string{"sleep", "600"}, ExecID: id}
			_, _ = w.Exec(context.WithoutCancel(t.Context()), options, driver.ExecIO{}, func(workspace.Workspace, string, int64) { close(running) }, nil)
		}()
		<-running
		return ended
	}
	server, command := run("dev-1"), run("mine")
	_, err := w.Recreate(t.Context(), workspace.RecreateOptions{Ref: workspace.Ref{ID: "shop"}}, nil)
	if e := wantReason(t, err, driver.NotStopped); !strings.Contains(e.Message, "1 command") || len(e.Remedies) == 0 || !slices.Contains(e.Remedies[1].Command, "--force") {
		t.Error(e, e.Remedies)
	}
	select {
	case <-command:
		t.Error("the command was ended all the same")
	default:
	}
	done := w.recreate(workspace.RecreateOptions{Ref: workspace.Ref{ID: "shop"}, Force: true})
	<-command
	<-server
	if !slices.Equal(done.Ended, []string{"dev server web", "sandbox sero-shop in driver box"}) || !slices.Equal(done.Restarted, []string{"dev server web"}) {
		t.Errorf("%+v", done)
	}
}

func (r *recordingServers) SuspendWorkspace(ctx context.Context, id string) ([]string, func(context.Context) ([]string, error), error) {
	ended, err := r.StopWorkspace(ctx, id)
	return ended, func(context.Context) ([]string, error) { return ended, nil }, err
}

func (r *recordingServers) Commands(string) []string { return []string{"dev-1"} }

func TestB18RecreateLeavesAnothersSandboxAlone(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir := w.dir("shop", "")
	w.upDir(dir)
	if err := w.box.Remove(t.Context(), "sero-shop", true); err != nil {
		t.Fatal(err)
	}
	theirs, err := w.box.Create(t.Context(), driver.SandboxSpec{ID: "sero-shop", WorkspaceDir: dir, Image: "sero-node:latest"})
	if err != nil {
		t.Fatal(err)
	}
	removals := w.box.Calls("RemoveSandbox")
	if _, err := w.Recreate(t.Context(), workspace.RecreateOptions{Ref: workspace.Ref{ID: "shop"}}, nil); driver.ReasonOf(err) != driver.ForeignResource {
		t.Error(err)
	}
	left, err := w.box.Get(t.Context(), "sero-shop")
	if err != nil || left.Instance != theirs.Instance || w.box.Calls("RemoveSandbox") != removals {
		t.Error(left, err)
	}
}

// TestB17RacesWhileMaking shows what ensure makes of what others do between two
// of its calls.
func TestB17RacesWhileMaking(t *testing.T) {
	get := func(reason driver.Reason, times int) fake.Rule {
		return fake.Rule{Call: "GetSandbox", Times: times, Error: &fake.Failure{Reason: reason}}
	}
	for name, test := range map[string]struct {
		labels map[string]string // of what has the name already; nil: nothing has
		rules  []fake.Rule
		want   driver.Reason
		calls  map[string]int
	}{
		"another makes its own first": {
			labels: map[string]string{}, rules: []fake.Rule{get(driver.NotFound, 1)},
			want: driver.ForeignResource, calls: map[string]int{"RemoveSandbox": 0, "StartSandbox": 0},
		},
		"whose it is cannot be told": {
			labels: map[string]string{}, rules: []fake.Rule{get(driver.NotFound, 1), {Call: "GetSandbox", Nth: 2, Error: &fake.Failure{Reason: driver.Timeout}}},
			want: driver.Timeout, calls: map[string]int{"RemoveSandbox": 0, "StartSandbox": 0},
		},
		"the image is removed": {
			rules: []fake.Rule{{Call: "CreateSandbox", Times: 1, Error: &fake.Failure{Reason: driver.ImageNotFound}}},
			calls: map[string]int{"EnsureImage": 2, "CreateSandbox": 2},
		},
		"the engine ends meanwhile": {
			rules: []fake.Rule{
				{Call: "CreateSandbox", Times: 1, Error: &fake.Failure{Reason: driver.Internal}},
				{Call: "CreateSandbox", Nth: 2, Error: &fake.Failure{Reason: driver.EngineWedged, Retryable: true}},
			},
			want: driver.EngineWedged, calls: map[string]int{"CreateSandbox": 2},
		},
		"it fails for no known reason": {
			rules: []fake.Rule{{Call: "CreateSandbox", Error: &fake.Failure{Reason: driver.Internal}}},
			want:  driver.Internal, calls: map[string]int{"CreateSandbox": 2, "RemoveSandbox": 0},
		},
		"the image goes again and again": {
			rules: []fake.Rule{{Call: "CreateSandbox", Error: &fake.Failure{Reason: driver.ImageNotFound}}},
			want:  driver.ImageNotFound, calls: map[string]int{"CreateSandbox": 2},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, fake.Script{})
			dir := w.dir("shop", "")
			if test.labels != nil {
				if _, err := w.box.Create(t.Context(), driver.SandboxSpec{ID: "sero-shop", WorkspaceDir: dir, Image: "sero-node:latest", Labels: test.labels}); err != nil {
					t.Fatal(err)
				}
			}
			w.script(fake.Script{Rules: test.rules})
			if _, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil); driver.ReasonOf(err) != cmp.Or(test.want, "") {
				t.Error(err)
			}
			for call, want := range test.calls {
				if n := w.box.Calls(call); n != want {
					t.Errorf("%d × %s, want %d", n, call, want)
				}
			}
		})
	}
}

func TestB15APausedSandboxGoesOn(t *testing.T) {
	paused := int(driver.SandboxPaused)
	w := newWorld(t, fake.Script{})
	dir := w.dir("shop", "")
	w.upDir(dir)
	w.script(fake.Script{Rules: []fake.Rule{{Call: "ListSandboxes", Times: 1, State: &paused}, {Call: "GetSandbox", Times: 2, State: &paused}}})
	if list := w.List(t.Context()); states(list) != "shop:paused" || !strings.Contains(list[0].StateMessage, "suspended") {
		t.Errorf("%+v", list)
	}
	starts := w.box.Calls("StartSandbox")
	if got := w.upDir(dir); got.State != workspace.StateRunning {
		t.Error(got.State)
	}
	if w.box.Calls("StartSandbox") != starts+1 || w.box.Calls("CreateSandbox") != 1 || w.box.Calls("RemoveSandbox") != 0 {
		t.Error("it was not simply started")
	}
	w.script(fake.Script{Rules: []fake.Rule{{Call: "GetSandbox", Times: 1, State: &paused}}})
	if _, lines, err := w.Stop(t.Context(), workspace.Ref{ID: "shop"}, time.Second); err != nil || len(lines) != 1 {
		t.Error("a paused one is stopped:", lines, err)
	}
}
