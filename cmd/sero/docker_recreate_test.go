package main

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
)

// badImages makes images that Docker makes containers of, and does not start: the
// last one if a directory is to be at /srv/file.
func (d *dockerMachine) badImages(base string) (noPrograms, noUser, withFile string) {
	d.t.Helper()
	empty := filepath.Join(d.t.TempDir(), "empty.tar")
	if err := os.WriteFile(empty, make([]byte, 1024), 0o600); err != nil {
		d.t.Fatal(err)
	}
	noPrograms, noUser, withFile = d.id+":empty", d.id+":user", d.id+":file"
	d.t.Cleanup(func() { dockertest.Docker(d.t, d.host, "rmi", "--force", noPrograms, noUser, withFile) })
	dockertest.Docker(d.t, d.host, "import", empty, noPrograms)
	from := dockertest.Docker(d.t, d.host, "create", base, "true")
	dockertest.Docker(d.t, d.host, "commit", "--change", "USER nosuchuser", from, noUser)
	dockertest.Docker(d.t, d.host, "cp", empty, from+":/srv/file")
	dockertest.Docker(d.t, d.host, "commit", from, withFile)
	dockertest.Docker(d.t, d.host, "rm", from)
	return noPrograms, noUser, withFile
}

// containers are those that the engine has for the workspace, by name.
func (d *dockerMachine) containers() string {
	d.t.Helper()
	return dockertest.Docker(d.t, d.host, "ps", "--all", "--no-trunc", "--filter", "label=dev.sero.workspace-id="+d.id, "--format", "{{.Names}} {{.ID}} {{.State}}")
}

// trialName is the name of the container in which the workspace's next sandbox is
// tried out.
func (d *dockerMachine) trialName() string {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(d.dir), ".sero", "state", "installation"))
	if err != nil {
		d.t.Fatal(err)
	}
	installation, _, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	sum := sha256.Sum256([]byte(installation + "\n" + d.id))
	return "sero--trial-" + hex.EncodeToString(sum[:8])
}

// A10: recreate fails for whatever reason Docker has, and the sandbox, what was
// written in it and its dev server are there as before.
func TestA10ARecreateThatFailsKeepsTheContainer(t *testing.T) {
	d := newDockerMachine(t)
	base := dockertest.BaseImage(t)
	noPrograms, noUser, withFile := d.badImages(base)
	file := func(change map[string]any) {
		content := map[string]any{"id": d.id, "image": base, "driver": "docker"}
		maps.Copy(content, change)
		d.file(content)
		d.ok("trust", "--yes")
	}
	d.ok("up")
	d.ok("exec", "--", "sh", "-c", "echo kept > /var/kept")
	d.ok("run", "--name", "web", "--port", "8000", "--wait", "30s", "--", "sh", "-c", `echo started >> /var/starts
exec python3 -c 'import socket
s = socket.create_server(("0.0.0.0", 8000))
while True: s.accept()'`)
	before := d.containers()
	onFile := []map[string]any{{"source": t.TempDir(), "target": "/srv/file"}}
	tried := 0
	for what, change := range map[string]map[string]any{
		"a reference that is none":        {"image": "a/../../containers/x"},
		"an image that is nowhere":        {"image": "127.0.0.1:1/none:1"},
		"an image without programs":       {"image": noPrograms},
		"an image whose user is unknown":  {"image": noUser},
		"a mount where a file is":         {"image": withFile, "mounts": onFile},
		"less memory than an engine lets": {"resources": map[string]any{"memory": "5MiB"}},
		"more processors than there are":  {"resources": map[string]any{"cpus": 1000}},
		"the name is another's":           {},
	} {
		if what == "a reference that is none" {
			d.file(map[string]any{"id": d.id, "driver": "docker", "image": change["image"]})
		} else {
			file(change)
		}
		if len(change) == 0 {
			dockertest.Docker(t, d.host, "create", "--name", d.trialName(), base, "true")
		}
		stdout, stderr, code := d.sero("recreate", "--force")
		tried++
		if len(change) == 0 {
			dockertest.Docker(t, d.host, "rm", d.trialName())
		}
		if code == 0 {
			t.Errorf("%s: it was recreated: %s%s", what, stdout, stderr)
			break
		}
		t.Logf("%s: %s", what, strings.TrimSpace(stderr))
		if now := d.containers(); now != before {
			t.Fatalf("%s: %s\nbecame %s", what, before, now)
		}
	}
	file(nil)
	if got := d.ok("exec", "--", "sh", "-c", "cat /var/kept /var/starts"); got != "kept\nstarted\n" {
		t.Errorf("what is in the sandbox is not as it was: %q", got)
	}
	if got := d.ok("dev", "ls"); !strings.Contains(got, "running") {
		t.Errorf("the dev server: %s", got)
	}
	if out := d.ok("recreate"); !strings.Contains(out, "dev server web") {
		t.Errorf("recreate: %s", out)
	}
	if now := d.containers(); now == before || strings.Count(now, "\n") != 0 {
		t.Errorf("%s\nbecame %s", before, now)
	}
	t.Logf("%d tried", tried)
}
