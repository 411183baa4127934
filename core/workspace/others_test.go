package workspace_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/fake"
)

// TestA3FileOfOthersAbove refuses a project below a sero.json that others could
// have put there, says how to open the project itself, and lets one's own decide
// (row A3).
func TestA3FileOfOthersAbove(t *testing.T) {
	type change struct {
		path       string // below the directory above
		mode       os.FileMode
		uid, group int // -1: as it is
	}
	tried, accepted := 0, 0
	for name, c := range map[string]struct {
		refuse, root bool
		changes      []change
		git, link    bool
	}{
		"own":                              {changes: []change{{".", 0o755, -1, -1}, {"sero.json", 0o644, -1, -1}}},
		"own, of the private group":        {changes: []change{{".", 0o775, -1, os.Getuid()}, {"sero.json", 0o664, -1, os.Getuid()}}},
		"root's, read-only":                {changes: []change{{".", 0o755, 0, 0}, {"sero.json", 0o444, 0, 0}}, root: true},
		"the file everybody's":             {refuse: true, changes: []change{{"sero.json", 0o666, -1, -1}}},
		"the directory everybody's":        {refuse: true, changes: []change{{".", 0o777, -1, -1}}},
		"the directory everybody's sticky": {refuse: true, changes: []change{{".", os.ModeSticky | 0o777, -1, -1}}},
		"another's file in a sticky one":   {refuse: true, root: true, changes: []change{{"sero.json", 0o644, 12345, 12345}, {".", os.ModeSticky | 0o777, 0, 0}}},
		"another's file":                   {refuse: true, root: true, changes: []change{{"sero.json", 0o644, 12345, -1}}},
		"another's directory":              {refuse: true, root: true, changes: []change{{".", 0o755, 12345, -1}}},
		"a group's file":                   {refuse: true, root: true, changes: []change{{"sero.json", 0o664, -1, 12345}}},
		"a group's directory":              {refuse: true, root: true, changes: []change{{".", 0o2775, -1, 12345}}},
		"a link to a file of everybody's":  {refuse: true, link: true, changes: []change{{"real.json", 0o666, -1, -1}}},
		"a link to an own file":            {link: true, changes: []change{{"real.json", 0o644, -1, -1}}},
		"another's, above a repository":    {git: true, changes: []change{{"sero.json", 0o666, -1, -1}}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.root && os.Geteuid() != 0 {
				testutil.Missing(t, "root", "only root gives files away")
			}
			w := newWorld(t, fake.Script{})
			above, project := w.dir("above", "{}"), w.dir("above/deep/project", "")
			if c.git {
				w.dir("above/deep/project/.git", "")
			}
			if c.link {
				file := filepath.Join(above, "sero.json")
				if err := os.Rename(file, filepath.Join(above, "real.json")); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink("real.json", file); err != nil {
					t.Fatal(err)
				}
			}
			for _, change := range c.changes {
				path := filepath.Join(above, change.path)
				if err := os.Lchown(path, change.uid, change.group); err != nil {
					testutil.Missing(t, "root", err.Error())
				}
				if err := os.Chmod(path, change.mode); err != nil {
					t.Fatal(err)
				}
			}
			tried++
			got, err := w.Up(t.Context(), workspace.UpOptions{Ref: workspace.Ref{Dir: project}}, nil)
			switch {
			case !c.refuse && c.git && (err != nil || got.Directory != project):
				t.Fatalf("%s, %v", got.Directory, err)
			case !c.refuse && !c.git && (err != nil || got.Directory != above):
				t.Fatalf("%s, %v", got.Directory, err)
			case !c.refuse:
				accepted++
				return
			}
			e := wantReason(t, err, driver.PermissionDenied)
			if len(e.Remedies) != 2 || strings.Join(e.Remedies[0].Command, " ") != "sero up --id project "+project || e.Remedies[1].Command[2] != above {
				t.Fatal(e.Remedies)
			}
			if n := len(w.List(t.Context())); n != 0 {
				t.Errorf("%d workspaces are known", n)
			}
			if got := w.up(workspace.UpOptions{Ref: workspace.Ref{Dir: project}, NewID: "project"}); got.Directory != project {
				t.Error("the remedy opens", got.Directory)
			}
			other := w.dir("above/other", "")
			w.upDir(above)
			if got := w.upDir(other); got.Directory != above {
				t.Error("below a directory that was opened by name:", got.Directory)
			}
		})
	}
	t.Logf("%d tried, %d accepted, 5 of them should be", tried, accepted)
}

// TestD6RepositoryBelowAWorkspace makes a repository of its own, or a sero.json,
// below a workspace one of its own; what belongs to the repository of the
// workspace stays in it (row D6).
func TestD6RepositoryBelowAWorkspace(t *testing.T) {
	w := newWorld(t, fake.Script{})
	code := w.dir("code", "")
	w.upDir(code)
	w.dir("code/shop/.git", "")
	w.dir("code/shop/web/src", "")
	w.dir("code/shop/vendor/lib/.git", "")
	w.dir("code/notes/text", "")
	w.dir("code/tool", "{}")
	w.dir("code/tool/cmd", "")
	w.dir("code/tree", "")
	w.write(filepath.Join(code, "tree", ".git"), "gitdir: ../shop/.git/worktrees/tree\n")
	w.dir("alone/.git", "")
	for dir, want := range map[string]string{
		"code/shop":            "code/shop",
		"code/shop/web/src":    "code/shop",
		"code/shop/vendor/lib": "code/shop/vendor/lib",
		"code/notes/text":      "code",
		"code/tool/cmd":        "code/tool",
		"code/tree":            "code", // a worktree or a submodule
		"code/shop/.git":       "code/shop",
		"code":                 "code",
		"alone":                "alone",
	} {
		if got := w.upDir(w.dir(dir, "")); got.Directory != filepath.Join(w.root, want) {
			t.Errorf("%s is in %s", dir, got.Directory)
		}
	}
	if got := w.upDir(w.dir("code/shop/web", "")); got.Directory != filepath.Join(code, "shop") {
		t.Error("a known one:", got.Directory)
	}
}
