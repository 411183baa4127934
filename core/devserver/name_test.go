package devserver_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/devserver"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// C4: a guessed name, as a given one, goes to a new server when the old one does
// not run, however that came to be; one that runs, or starts, keeps it.
func TestC4NameOfOneThatDoesNotRunIsTakenOver(t *testing.T) {
	for name, c := range map[string]struct {
		first string
		stop  bool
		want  string
	}{
		"failed":         {"dev; exit 1", false, "dev"},
		"a job":          {"dev; exit 0", false, "dev"},
		"stopped":        {"dev; listen 3000", true, "dev"},
		"ended":          {"dev; sh -c 'listen 3000' & sleep 10; kill $!; exit 4", false, "dev"},
		"runs":           {"dev; listen 3000", false, "dev-2"},
		"is starting":    {"dev; sleep 600", false, "dev-2"},
		"not there, yet": {"", false, "dev"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, host, func(w *world) {
				if c.first != "" {
					w.start(w.spec(c.first))
					time.Sleep(time.Minute)
				}
				if c.stop {
					if _, err := w.Stop(w.t.Context(), devserver.Ref{Key: "dev"}); err != nil {
						w.t.Fatal(err)
					}
				}
				got := w.start(w.spec("dev; listen 4000"))
				if got.Name != c.want {
					w.t.Errorf("%s, want %s", got.Name, c.want)
				}
				if n := strings.Count(c.want, "-") + 1; len(w.List("shop")) != n {
					w.t.Errorf("%+v", w.List("shop"))
				}
			})
		})
	}
}

// C4: Stop ends the record of a server that failed, and of no other; Remove ends
// that of any, with the server.
func TestC4StopForgetsAFailedOneAndRemoveAny(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		remove bool
		gone   bool
	}{
		"stop, failed":     {"exit 1", false, true},
		"stop, a job":      {"exit 0", false, false},
		"stop, runs":       {"listen 3000", false, false},
		"remove, failed":   {"exit 1", true, true},
		"remove, a job":    {"exit 0", true, true},
		"remove, runs":     {"listen 3000", true, true},
		"remove, starting": {"sleep 600", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, host, func(w *world) {
				spec := w.spec(c.script)
				spec.Name = "web"
				w.start(spec)
				end := w.Stop
				if c.remove {
					end = w.Remove
				}
				got, err := end(w.t.Context(), devserver.Ref{Key: "web"})
				if err != nil || got.Forgotten != c.gone || w.Running() != 0 {
					w.t.Errorf("%+v %v", got, err)
				}
				_, err = w.Get(devserver.Ref{Key: "web"})
				if gone := driver.ReasonOf(err) == driver.NotFound; gone != c.gone {
					w.t.Errorf("gone %v: %v", gone, err)
				}
				if _, err := end(w.t.Context(), devserver.Ref{Key: "web"}); (err != nil) != c.gone {
					w.t.Error(err)
				}
			})
		})
	}
}

// C4: a server runs in the directory that its workspace is named by, as a command
// of Exec does, unless its spec or sero.json says where.
func TestC4RunsInTheDirectoryThatIsNamed(t *testing.T) {
	inBubble(t, host, func(w *world) {
		sub := w.dir("shop/a/b")
		w.start(w.spec("listen 3000")) // it is a workspace now
		entries := `{"devServers": {"plain": {"command": ["listen", "3001"]}, "placed": {"command": ["listen", "3002"], "dir": "a"}}}`
		if err := os.WriteFile(filepath.Join(w.root, "shop", "sero.json"), []byte(entries), 0o600); err != nil {
			w.t.Fatal(err)
		}
		link := filepath.Join(w.root, "link")
		if err := os.Symlink(sub, link); err != nil {
			w.t.Fatal(err)
		}
		for name, c := range map[string]struct {
			spec devserver.Spec
			want string
		}{
			"below":            {devserver.Spec{Workspace: workspace.Ref{Dir: sub}, Command: []string{"listen", "4000"}}, "a/b"},
			"through a link":   {devserver.Spec{Workspace: workspace.Ref{Dir: link}, Command: []string{"listen", "4001"}}, "a/b"},
			"by id and below":  {devserver.Spec{Workspace: workspace.Ref{ID: "shop", Dir: sub}, Command: []string{"listen", "4002"}}, "a/b"},
			"by id":            {devserver.Spec{Workspace: workspace.Ref{ID: "shop"}, Command: []string{"listen", "4003"}}, ""},
			"a directory":      {devserver.Spec{Workspace: workspace.Ref{Dir: sub}, Dir: "a", Command: []string{"listen", "4004"}}, "a"},
			"the root":         {devserver.Spec{Workspace: workspace.Ref{Dir: sub}, Dir: ".", Command: []string{"listen", "4005"}}, ""},
			"an entry":         {devserver.Spec{Workspace: workspace.Ref{Dir: sub}, ByName: true, Command: []string{"plain"}}, ""},
			"a placed entry":   {devserver.Spec{Workspace: workspace.Ref{Dir: sub}, ByName: true, Command: []string{"placed"}}, "a"},
			"a word, no entry": {devserver.Spec{Workspace: workspace.Ref{Dir: sub}, ByName: true, Command: []string{"sleep"}}, "a/b"},
		} {
			result, err := w.Start(w.t.Context(), c.spec, time.Second, nil)
			if err != nil || result.Server.Dir != c.want {
				w.t.Errorf("%s: %q, want %q: %v", name, result.Server.Dir, c.want, err)
			}
		}
	})
}
