package lifecycle_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
)

// docker is a Docker Engine of the test's own.
type docker struct {
	t      *testing.T
	daemon *dockertest.Daemon
	image  string
	copied string // the image under another name
	built  int
}

func newDocker(t *testing.T) Engine {
	t.Helper()
	d := &docker{t: t, image: dockertest.BaseImage(t), daemon: dockertest.Private(t), copied: "kept:1"}
	d.daemon.Docker("tag", d.image, d.copied)
	return d
}

func (d *docker) Driver() string    { return "docker" }
func (d *docker) Environ() []string { return []string{"DOCKER_HOST=" + d.daemon.Host} }
func (d *docker) Image() string     { return d.image }

func (d *docker) Instances() map[string]string {
	instances := map[string]string{}
	for line := range strings.Lines(d.daemon.Docker("ps", "--all", "--no-trunc", "--format", "{{.Names}} {{.ID}}")) {
		if name, id, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(name, "sero-") {
			instances[name] = id
		}
	}
	return instances
}

func (d *docker) Count() (made func() int) {
	now := func() string { return d.daemon.Docker("system", "info", "--format", "{{.SystemTime}}") }
	since := now()
	return func() int {
		events := d.daemon.Docker("events", "--since", since, "--until", now(), "--filter", "event=create", "--format", "{{.ID}}")
		return len(strings.Fields(events))
	}
}

func (d *docker) Running(name string) bool {
	return d.daemon.Docker("inspect", "--format", "{{.State.Status}}", name) == "running"
}

func (d *docker) Stop(name string)   { d.daemon.Docker("stop", "--time", "0", name) }
func (d *docker) Remove(name string) { d.daemon.Docker("rm", "--force", name) }

// Pause waits until no command is being started in the container: engines
// freeze its half-made process then, and answer nothing about the container any
// more.
func (d *docker) Pause(name string) {
	d.t.Helper()
	begin := time.Now()
	for before, calm := "", 0; calm < 3; time.Sleep(300 * time.Millisecond) {
		if time.Since(begin) > deadline {
			d.t.Fatalf("commands are started in %s all the time", name)
		}
		now := d.daemon.Docker("inspect", "--format", "{{.ExecIDs}}", name)
		if calm++; now != before {
			before, calm = now, 0
		}
	}
	d.daemon.Docker("pause", name)
}

// Break takes the container's files away.
func (d *docker) Break(name string) {
	d.t.Helper()
	d.Stop(name)
	upper := d.daemon.Docker("inspect", "--format", `{{index .GraphDriver.Data "UpperDir"}}{{index .GraphDriver.Data "Dir"}}`, name)
	if !filepath.IsAbs(strings.TrimSuffix(upper, "<no value>")) {
		d.t.Fatalf("where the files of %s are is not known: %q", name, upper)
	}
	if err := os.RemoveAll(filepath.Dir(strings.ReplaceAll(upper, "<no value>", ""))); err != nil {
		d.t.Fatal(err)
	}
}

func (d *docker) Stranger(name string) {
	d.daemon.Docker("run", "--detach", "--name", name, d.copied, "sleep", "3600")
}

func (d *docker) RemoveImage()  { d.daemon.Docker("rmi", "--force", d.image) }
func (d *docker) RestoreImage() { d.daemon.Docker("tag", d.copied, d.image) }

func (d *docker) RebuildImage() {
	d.t.Helper()
	d.built++
	dir := d.t.TempDir()
	text := fmt.Sprintf("FROM %s\nLABEL build=%d\n", d.copied, d.built)
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	d.daemon.Docker("build", "--tag", d.image, dir)
}

func (d *docker) Restart() { d.daemon.Restart() }
func (d *docker) Kill()    { d.daemon.Kill() }
func (d *docker) Start()   { d.daemon.Start() }
func (d *docker) Freeze()  { d.daemon.Pause() }
func (d *docker) Thaw()    { d.daemon.Resume() }

// Past is a socket: it needs the kernel alone.
func (d *docker) Past() string { return "a socket" }
