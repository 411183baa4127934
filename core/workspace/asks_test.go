package workspace_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

// trust allows what the file in a directory asks for.
func (w *world) trust(dir string) {
	w.t.Helper()
	asked, err := w.Asked(workspace.Ref{Dir: dir})
	if err == nil {
		_, err = w.Trust(workspace.Ref{Dir: dir}, asked.Hash, true)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// mounts are what the runtime says that a sandbox has.
func (w *world) mounts(id string) []driver.Mount {
	w.t.Helper()
	s, err := w.box.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Mounts
}

// TestB22B23B25MountsOfAFile gives a sandbox what its file asks for, once it is
// trusted, and says what is left out.
func TestB22B23B25MountsOfAFile(t *testing.T) {
	w := newWorld(t, fake.Script{})
	data, lib := w.dir("data", ""), w.dir("lib", "")
	dir := w.dir("shop", fmt.Sprintf(`{"mounts": [{"source": %q, "readOnly": true}, {"source": "/no/such/place"}], "roots": [%q]}`, data, lib))
	got := w.upDir(dir)
	if mounts := w.mounts("sero-shop"); len(mounts) > 0 || len(got.Warnings) != 3 || !strings.Contains(got.Warnings[2], "roots[0] of sero.json is left out") {
		t.Errorf("before it is trusted: %v %q", mounts, got.Warnings)
	}
	w.trust(dir)
	if seen := w.inspect("shop"); slices.ContainsFunc(seen.Warnings, func(s string) bool { return strings.Contains(s, "left out until") }) {
		t.Errorf("what is trusted is said to be left out: %q", seen.Warnings)
	}
	got = w.upDir(dir)
	if len(got.Drift) != 1 || got.Drift[0].Part != "mounts" {
		t.Errorf("B24: a running sandbox does not say that it needs recreation: %+v", got.Drift)
	}
	w.recreate(workspace.RecreateOptions{Ref: workspace.Ref{ID: "shop"}})
	want := []driver.Mount{{Source: data, Target: data, ReadOnly: true}, {Source: lib, Target: lib}}
	if diff := cmp.Diff(want, w.mounts("sero-shop")); diff != "" {
		t.Error(diff)
	}
	got = w.upDir(dir)
	if len(got.Drift) > 0 || !slices.ContainsFunc(got.Warnings, func(s string) bool { return strings.Contains(s, `mounts[1]: "/no/such/place" is left out`) }) {
		t.Errorf("%+v %q", got.Drift, got.Warnings)
	}
	if _, err := os.Lstat("/no/such/place"); err == nil {
		t.Error("a missing directory was made")
	}
}

// TestB26IsAnErrorOfUp refuses a mount before anything is made.
func TestB26IsAnErrorOfUp(t *testing.T) {
	w := newWorld(t, fake.Script{})
	data := w.dir("data", "")
	dir := w.dir("shop", fmt.Sprintf(`{"mounts": [{"source": %q, "target": "/etc"}]}`, data))
	w.trust(dir)
	_, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil)
	if e := wantReason(t, err, driver.MountDenied); e.Field != "mounts[0]" || len(e.Remedies) == 0 || w.box.Calls("CreateSandbox") > 0 {
		t.Errorf("%+v", e)
	}
	// sero's own directories are not for sandboxes.
	w.write(filepath.Join(dir, "sero.json"), fmt.Sprintf(`{"mounts": [{"source": %q, "target": "/state"}]}`, resolved(t, w.state)))
	private := w.manager(func(_ *world, o *workspace.Options) { o.Private = []string{w.state} })
	asked, err := private.Asked(workspace.Ref{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := private.Trust(workspace.Ref{Dir: dir}, asked.Hash, true); err != nil {
		t.Fatal(err)
	}
	_, err = private.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}}, nil)
	wantReason(t, err, driver.MountDenied)
}

// TestB24AttachedRoots adds directories to a sandbox that runs.
func TestB24AttachedRoots(t *testing.T) {
	w := newWorld(t, fake.Script{})
	dir, lib := w.dir("shop", ""), w.dir("lib", "")
	ref := workspace.Ref{Dir: dir}
	w.upDir(dir)
	if err := w.Attach(ref, lib, "", false); err != nil {
		t.Fatal(err)
	}
	states := func() string {
		t.Helper()
		var out []string
		list, err := w.Mounts(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			out = append(out, filepath.Base(m.Target)+" "+m.State+" "+m.Why)
		}
		return strings.Join(out, ", ")
	}
	if got := states(); got != "lib waiting the sandbox needs recreation" {
		t.Error(got)
	}
	if got := w.upDir(dir); len(got.Drift) != 1 || got.Drift[0].Part != "mounts" {
		t.Errorf("%+v", got.Drift)
	}
	w.recreate(workspace.RecreateOptions{Ref: ref})
	if got := states(); got != "lib shown " {
		t.Error(got)
	}
	// It lasts, and the choice of a driver that is kept with it does not lose it.
	w.up(workspace.UpOptions{Ref: ref, Driver: "box"})
	again := w.manager()
	if list, err := again.Mounts(t.Context(), ref); err != nil || len(list) != 1 || !list[0].Attached {
		t.Error(list, err)
	}
	for _, c := range []struct {
		source, target string
		reason         driver.Reason
	}{
		{w.root + "/gone", "", driver.NotFound},
		{"lib", "", driver.MountDenied},
		{lib, "/workspace", driver.MountDenied},
		{lib, lib + "/deeper", driver.MountDenied},
		{"/", "/host", driver.MountDenied},
	} {
		if err := w.Attach(ref, c.source, c.target, true); driver.ReasonOf(err) != c.reason || len(driver.AsError(err).Remedies) == 0 {
			t.Errorf("%s at %s: %v", c.source, c.target, err)
		}
	}
	if err := w.Detach(ref, lib); err != nil {
		t.Fatal(err)
	}
	if err := w.Detach(ref, lib); driver.ReasonOf(err) != driver.NotFound {
		t.Error(err)
	}
	if got := w.upDir(dir); len(got.Drift) != 1 || got.Drift[0].Part != "mounts" {
		t.Errorf("%+v", got.Drift)
	}
}

// TestB42SecretsAreNoPartOfASandbox gives secrets to commands only.
func TestB42SecretsAreNoPartOfASandbox(t *testing.T) {
	w := newWorld(t, fake.Script{})
	key := filepath.Join(w.root, "key")
	w.write(key, "hunter2\n")
	t.Setenv("SHOP_TOKEN", "hunter3")
	dir := w.dir("shop", fmt.Sprintf(`{"env": {"PLAIN": "1"}, "secrets": {"KEY": "file:%s", "TOKEN": "env:SHOP_TOKEN"}}`, key))
	ref := workspace.Ref{Dir: dir}
	echo := "echo $PLAIN-$KEY-$TOKEN"
	if out := w.sh(workspace.ExecOptions{Ref: ref}, echo); out != "1--" {
		t.Errorf("before it is trusted: %q", out)
	}
	w.trust(dir)
	if out := w.sh(workspace.ExecOptions{Ref: ref}, echo); out != "1-hunter2-hunter3" {
		t.Errorf("%q", out)
	}
	if got := w.upDir(dir); len(got.Drift) > 0 || len(got.Warnings) > 0 {
		t.Errorf("%+v %q", got.Drift, got.Warnings)
	}
	var out bytes.Buffer // what the sandbox itself was made with
	_, err := w.box.Exec(t.Context(), driver.ExecSpec{SandboxID: "sero-shop", ExecID: "x", Argv: []string{"sh", "-c", echo}}, driver.ExecIO{Stdout: &out})
	if err != nil || out.String() != "1--\n" {
		t.Errorf("%q %v", out.String(), err)
	}
	// A file that was exchanged meanwhile is not what was looked at.
	asked, err := w.Asked(ref)
	if err != nil {
		t.Fatal(err)
	}
	w.write(filepath.Join(dir, "sero.json"), `{"secrets": {"A": "env:HOME"}}`)
	if _, err := w.Trust(ref, asked.Hash, true); driver.ReasonOf(err) != driver.ConfigInvalid {
		t.Error(err)
	}
	if out := w.sh(workspace.ExecOptions{Ref: ref}, "echo [$A]"); out != "[]" {
		t.Errorf("%q", out)
	}
}
