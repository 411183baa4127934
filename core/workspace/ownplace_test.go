package workspace_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

// TestA1DirectoryOfAWorkspace refuses a workspace in a directory that no sandbox
// may show, before anything is made, and leaves no record of it (row A1).
func TestA1DirectoryOfAWorkspace(t *testing.T) {
	var private string
	w := newWorld(t, fake.Script{}, func(w *world, o *workspace.Options) {
		private = w.dir("own/sero", "")
		o.Private = []string{private}
	})
	keys := w.dir("home/me/.ssh", "")
	w.dir("home/me/.config/gh", "")
	link := filepath.Join(w.root, "link")
	if err := os.Symlink(private, link); err != nil {
		t.Fatal(err)
	}
	tried, accepted := 0, 0
	try := func(dir, wish string, refuse bool) {
		t.Helper()
		tried++
		known := len(w.List(t.Context()))
		made := w.box.Calls("Create")
		_, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: dir}, Driver: wish}, nil)
		if err == nil {
			accepted++
		}
		if !refuse {
			if err != nil {
				t.Errorf("%s in %s: %v", dir, wish, err)
			}
			return
		}
		e := driver.AsError(err)
		if driver.ReasonOf(err) != driver.MountDenied || len(e.Remedies) == 0 || e.Field != "workspace.directory" {
			t.Errorf("%s in %q: %v", dir, wish, err)
		}
		if len(w.List(t.Context())) != known || w.box.Calls("Create") != made {
			t.Errorf("%s in %q left something behind", dir, wish)
		}
	}
	for _, wish := range []string{"", "box", "host"} {
		try(private, wish, true)
		try(filepath.Dir(private), wish, true)
		try(link, wish, true)
		try("/proc", wish, true)
		try("/sys", wish, true)
		try("/dev", wish, true)
	}
	for _, dir := range []string{keys, filepath.Dir(filepath.Join(w.root, "home/me/.config/gh")), "/etc", "/run", "/var", "/usr"} {
		try(dir, "", true)
		try(dir, "box", true)
	}
	try(w.dir("home/me/.config/nvim", ""), "", false)
	try(w.dir("home/me/project", ""), "", false)
	try(w.dir("own/project", ""), "box", false)
	try(w.dir("home/me/.kube", ""), "host", false)
	t.Logf("%d tried, %d accepted, 4 of them should be", tried, accepted)
}

// TestA1DirectoryAtEachStart refuses a workspace that was opened before its
// directory held what no sandbox may show: with a sandbox that runs, one that is
// stopped, and one that another core left.
func TestA1DirectoryAtEachStart(t *testing.T) {
	var private []string
	withPrivate := func(_ *world, o *workspace.Options) { o.Private = private }
	w := newWorld(t, fake.Script{}, withPrivate)
	shop := w.dir("shop", "")
	w.upDir(shop)
	w.dir("shop/deep/sero", "")
	private = []string{filepath.Join(shop, "deep/sero")}
	refused := func(m *workspace.Manager) {
		t.Helper()
		_, err := m.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: shop}}, nil)
		e := wantReason(t, err, driver.MountDenied)
		last := e.Remedies[len(e.Remedies)-1]
		if strings.Join(last.Command, " ") != "sero rm -w shop" {
			t.Error(e.Remedies)
		}
		_, err = m.Exec(t.Context(), workspace.ExecOptions{Ref: workspace.Ref{Dir: shop}, Argv: []string{"true"}}, driver.ExecIO{}, nil, nil)
		wantReason(t, err, driver.MountDenied)
	}
	after := w.manager(withPrivate)
	after.Rejoin(t.Context(), func(id string) { t.Errorf("%s was taken up", id) })
	refused(after)
	if _, _, err := after.Stop(t.Context(), workspace.Ref{Dir: shop}, 0); err != nil {
		t.Fatal(err)
	}
	refused(after)
	if got := len(after.List(t.Context())); got != 1 {
		t.Errorf("%d workspaces are known", got)
	}
	if id, _, err := after.Remove(t.Context(), workspace.Ref{Dir: shop}); err != nil || id != "shop" {
		t.Error(id, err)
	}
}
