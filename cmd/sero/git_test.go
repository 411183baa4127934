package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
)

// newGitMachine is a machine with a container engine, whose sandboxes have git.
func newGitMachine(t *testing.T) *dockerMachine {
	t.Helper()
	const image = "sero-node:latest"
	if dockertest.Docker(t, dockertest.Engine(t), "images", "--quiet", image) == "" {
		testutil.Missing(t, "sero-node", "the engine does not have it; make it: sero image build")
	}
	if _, err := exec.LookPath("git"); err != nil {
		testutil.Missing(t, "git", err.Error())
	}
	d := newDockerMachine(t)
	d.file(map[string]any{"id": d.id, "image": image, "driver": "docker"})
	return d
}

// TestD5NestedRepositoriesOfOthers has repositories of other owners in a workspace,
// at several depths, and in a mount; git in the sandbox works in each (row D5).
func TestD5NestedRepositoriesOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		testutil.Missing(t, "root", "only root gives files away")
	}
	d := newGitMachine(t)
	data := d.beside("data")
	repositories := []string{d.dir, d.dir + "/a", d.dir + "/a/b/c", d.dir + "/it's $odd", data, data + "/deep/repo"}
	for i, dir := range repositories {
		cmd := d.command("git", "init", "-q", dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			if err == nil {
				err = os.Lchown(path, personUID+i, personGID+i)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	d.ok("mount", "add", "--target", "/mnt/data", data)
	script := `set -e; git config --system --list | grep -c '^safe.directory=\*$'`
	for _, dir := range []string{"/workspace", "/workspace/a", "/workspace/a/b/c", "/workspace/it's $odd", "/mnt/data", "/mnt/data/deep/repo"} {
		script += "\ncd \"" + strings.ReplaceAll(dir, "$", `\$`) + "\" && git status --short >/dev/null && git rev-parse --show-toplevel"
	}
	d.want("status in each", script, "1\n/workspace\n/workspace/a\n/workspace/a/b/c\n/workspace/it's $odd\n/mnt/data\n/mnt/data/deep/repo\n")
}

// TestD5OwnPath has the workspace at /workspace and at its own path, which is the
// same directory; commands run in the first (row D5).
func TestD5OwnPath(t *testing.T) {
	d := newDockerMachine(t)
	dir, err := filepath.EvalSymlinks(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	d.want("both", "set -e; pwd; echo x > "+dir+"/made; cat made; cd "+dir+"; pwd -P; stat -c %i . > /tmp/a; stat -c %i /workspace | cmp - /tmp/a && cat made",
		"/workspace\nx\n"+dir+"\nx\n")
	var w struct {
		SandboxDirectory string
		Drift            []any
	}
	if err := json.Unmarshal([]byte(d.ok("inspect", "--json")), &w); err != nil {
		t.Fatal(err)
	}
	if w.SandboxDirectory != "/workspace" || len(w.Drift) > 0 {
		t.Errorf("%+v", w)
	}
}
