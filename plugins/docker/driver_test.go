package docker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
	"github.com/sero-labs/sero-runtime/plugins/docker"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// patience bounds what has no deadline of its own.
const patience = time.Minute

// box is a driver on an engine, and a sandbox that is not made yet.
type box struct {
	*docker.Driver
	t    testing.TB
	host string
	spec driver.SandboxSpec
}

// on makes a driver for an engine.
func on(t testing.TB, host string) *docker.Driver {
	t.Helper()
	d := docker.New()
	settings, err := json.Marshal(map[string]string{"host": host})
	if err == nil {
		err = d.Configure(t.Context(), settings, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeoutCause(context.Background(), patience, errors.New("shutdown hangs"))
		defer cancel()
		if err := d.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return d
}

func newBox(t testing.TB, host string) *box {
	t.Helper()
	id := "sero-test-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	b := &box{Driver: on(t, host), t: t, host: host}
	b.spec = driver.SandboxSpec{
		ID: id, WorkspaceDir: t.TempDir(), Image: dockertest.BaseImage(t),
		Labels: map[string]string{driver.LabelManaged: "true", driver.LabelDriver: "docker", driver.LabelWorkspaceID: id[len("sero-"):]},
	}
	t.Cleanup(func() {
		if err := b.Remove(context.Background(), id, true); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *box) start() driver.Sandbox {
	b.t.Helper()
	_, err := b.Create(b.t.Context(), b.spec)
	if err != nil {
		b.t.Fatal(err)
	}
	sb, err := b.Start(b.t.Context(), b.spec.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	return sb
}

// sh runs a script and gives its output and its shell's exit code.
func (b *box) sh(script string, env ...driver.EnvVar) (string, int) {
	b.t.Helper()
	var out bytes.Buffer
	spec := driver.ExecSpec{SandboxID: b.spec.ID, ExecID: "test", Argv: []string{"sh", "-c", script}, Env: env}
	status, err := b.Exec(b.t.Context(), spec, driver.ExecIO{Stdout: &out, Stderr: &out})
	if err != nil {
		b.t.Fatalf("%s: %v", script, err)
	}
	return out.String(), status.ShellCode()
}

func (b *box) docker(args ...string) string {
	b.t.Helper()
	return dockertest.Docker(b.t, b.host, args...)
}

func wantReason(t *testing.T, what string, err error, want driver.Reason) {
	t.Helper()
	if got := driver.ReasonOf(err); got != want {
		t.Errorf("%s: reason %q, want %q: %v", what, got, want, err)
	}
}

func TestB18ForeignContainer(t *testing.T) {
	b := newBox(t, dockertest.Engine(t))
	id, ctx := b.spec.ID, t.Context()
	b.docker("run", "-d", "--init", "--name", id, b.spec.Image, "sleep", "1000")
	t.Cleanup(func() { b.docker("rm", "-f", id) }) // before the box's own, which may not touch it
	describe := func() string { return b.docker("inspect", "-f", "{{.Id}} {{.State.StartedAt}} {{.State.Status}}", id) }
	was := describe()

	_, err := b.Create(ctx, b.spec)
	wantReason(t, "Create", err, driver.ForeignResource)
	_, err = b.Start(ctx, id)
	wantReason(t, "Start", err, driver.ForeignResource)
	wantReason(t, "Stop", b.Stop(ctx, id, time.Second), driver.ForeignResource)
	wantReason(t, "Remove", b.Remove(ctx, id, true), driver.ForeignResource)
	_, err = b.Exec(ctx, driver.ExecSpec{SandboxID: id, Argv: []string{"true"}}, driver.ExecIO{})
	wantReason(t, "Exec", err, driver.ForeignResource)
	wantReason(t, "CopyOut", b.CopyOut(ctx, id, "/etc", io.Discard), driver.ForeignResource)
	wantReason(t, "CopyIn", b.CopyIn(ctx, id, "/etc", strings.NewReader("")), driver.ForeignResource)
	wantReason(t, "Logs", b.Logs(ctx, id, false, 0, io.Discard), driver.ForeignResource)
	wantReason(t, "Stats", b.Stats(ctx, id, 0, nil), driver.ForeignResource)
	if sb, err := b.Get(ctx, id); err != nil || sb.Labels[driver.LabelManaged] != "" {
		t.Errorf("Get: %+v, %v", sb, err)
	}
	if got := describe(); got != was {
		t.Errorf("it was %s and is %s", was, got)
	}
}

// TestB22ReadOnly tries as root of the sandbox what root can.
func TestB22ReadOnly(t *testing.T) {
	b := newBox(t, dockertest.Engine(t))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("host"), 0o666); err != nil { //nolint:gosec // the permission must not be what refuses
		t.Fatal(err)
	}
	below := filepath.Join(dir, "below")
	if err := os.Mkdir(below, 0o777); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
	mounted := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "tmpfs", below).Run() == nil
	if mounted {
		t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "umount", below).Run() })
	}
	b.spec.Mounts = []driver.Mount{{Source: dir, Target: dir, ReadOnly: true}}
	b.start()
	if out, _ := b.sh("id -u; cat " + dir + "/file"); out != "0\nhost" {
		t.Errorf("it says %q", out)
	}
	for _, script := range []string{
		"echo x >>file", "echo x >new", "mkdir new", "mv file other", "rm file", "chmod 600 file", "chown 1 file", "touch file",
		"ln file link", "ln -s file link", "mount -o remount,rw $PWD && touch new", "mount -o remount,bind,rw $PWD && touch new",
		"umount $PWD && touch $PWD/file && false", "echo x >below/new", "truncate -s 0 file",
	} {
		if out, code := b.sh("cd " + dir + " && " + script); code == 0 {
			t.Errorf("%s succeeded: %s", script, out)
		}
	}
	entries, err := os.ReadDir(dir)
	if text, rerr := os.ReadFile(filepath.Join(dir, "file")); string(text) != "host" || len(entries) != 2 || err != nil || rerr != nil {
		t.Errorf("on the host there is %v, and the file holds %q", entries, text)
	}
	if left, err := os.ReadDir(below); len(left) > 0 || err != nil {
		t.Errorf("below a mount of the host (made: %t) there is %v", mounted, left)
	}
}

func TestB42Secrets(t *testing.T) {
	b := newBox(t, dockertest.Engine(t))
	const inSandbox, inExec = "planted-secret-one", "planted-secret-two"
	b.spec.Env = []driver.EnvVar{{Name: "OPEN", Value: "shown"}, {Name: "ONE", Value: inSandbox, Secret: true}}
	b.start()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	r, w := io.Pipe()
	go func() {
		spec := driver.ExecSpec{SandboxID: b.spec.ID, Argv: []string{"sh", "-c", "echo $OPEN $ONE $TWO; sleep 100"}, Env: []driver.EnvVar{{Name: "TWO", Value: inExec, Secret: true}}}
		_, err := b.Exec(ctx, spec, driver.ExecIO{Stdout: w})
		_ = w.CloseWithError(err)
	}()
	want := "shown " + inSandbox + " " + inExec + "\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
		t.Fatalf("the command sees %q, %v", got, err)
	}
	processes, err := exec.CommandContext(t.Context(), "ps", "-ef").Output()
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"docker inspect": b.docker("inspect", b.spec.ID), "ps -ef": string(processes), "docker top": b.docker("top", b.spec.ID),
	} {
		if strings.Contains(text, inSandbox) || strings.Contains(text, inExec) {
			t.Errorf("%s shows a secret", what)
		}
	}
	cancel(errors.New("seen"))
	_, _ = io.Copy(io.Discard, r)
}

// TestLabelsOfTheImage: an engine gives a container the labels of its image too.
func TestLabelsOfTheImage(t *testing.T) {
	b := newBox(t, dockertest.Engine(t))
	dir := t.TempDir()
	for name, text := range map[string]string{
		"Dockerfile.test": "FROM " + b.spec.Image + "\nARG WHO=nobody\nLABEL of.image=$WHO\nCOPY . /seen\nRUN ls /seen >/list && test -L /seen/link\nENTRYPOINT [\"false\"]\nUSER 1000\n",
		".dockerignore":   "secret*\n!secret-but-shown\nignored\n", "secret": "x", "secret-but-shown": "x", "ignored/file": "x", "kept": "x",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("kept", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	tag := "sero-test-labels:" + b.spec.Labels[driver.LabelWorkspaceID]
	var steps int64
	made, err := b.BuildImage(t.Context(), driver.BuildSpec{
		Tag: tag, ContextDir: dir, Dockerfile: "Dockerfile.test", Args: map[string]string{"WHO": "me"}, Labels: map[string]string{"of.build": "1"},
	}, func(p driver.Progress) { steps = max(steps, p.Total) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.RemoveImage(context.Background(), tag, true) })
	if made.Labels["of.image"] != "me" || made.Labels["of.build"] != "1" || steps < 6 || !strings.HasPrefix(made.Digest, "sha256:") {
		t.Errorf("made %+v in %d steps", made, steps)
	}
	b.spec.Image = tag
	sb := b.start() // whatever its entrypoint is
	if !maps.Equal(sb.Labels, b.spec.Labels) || sb.ImageDigest != made.Digest {
		t.Errorf("the sandbox's labels are %v, its image %s", sb.Labels, sb.ImageDigest)
	}
	if out, _ := b.sh("cat /list; id -u"); out != "Dockerfile.test\nkept\nlink\nsecret-but-shown\n1000\n" {
		t.Errorf("the build saw %q", out)
	}
	if err := b.Remove(t.Context(), b.spec.ID, true); err != nil {
		t.Error(err)
	}
}

// TestB17Health follows an engine through its troubles.
func TestB17Health(t *testing.T) {
	engine := dockertest.Private(t)
	b := newBox(t, engine.Host)
	b.start()
	ctx, cancel := context.WithCancelCause(t.Context())
	states := make(chan driver.Health, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- b.Health(ctx, func(h driver.Health) error {
			states <- h
			return nil
		})
	}()
	wait := func(want driver.HealthState) driver.Health {
		t.Helper()
		for {
			select {
			case h := <-states:
				if h.State == want {
					return h
				}
			case <-time.After(patience):
				t.Fatalf("the state is never %v", want)
			}
		}
	}
	get := func() error {
		_, err := b.Get(t.Context(), b.spec.ID)
		return err
	}
	if h := wait(driver.HealthReady); h.Attributes["engine.name"] != "Docker Engine" || h.Attributes["engine.version"] == "" || h.Attributes["engine.host"] != engine.Host {
		t.Errorf("%+v", h)
	}
	engine.Pause()
	if h := wait(driver.HealthWedged); h.Reason != driver.EngineWedged || len(h.Remedies) == 0 {
		t.Errorf("%+v", h)
	}
	wantReason(t, "Get of a wedged engine", get(), driver.EngineWedged)
	engine.Resume()
	wait(driver.HealthReady)
	wantReason(t, "Get", get(), "")
	engine.Stop()
	if h := wait(driver.HealthStopped); h.Reason != driver.EngineNotRunning || len(h.Remedies) == 0 {
		t.Errorf("%+v", h)
	}
	wantReason(t, "Get of a stopped engine", get(), driver.EngineNotRunning)
	engine.Start()
	wait(driver.HealthReady)
	if sb, err := b.Get(t.Context(), b.spec.ID); err != nil || sb.State != driver.SandboxStopped {
		t.Errorf("after a restart of the engine: %+v, %v", sb, err)
	}
	if _, err := b.Start(t.Context(), b.spec.ID); err != nil {
		t.Error(err)
	}
	cancel(errors.New("enough"))
	wantReason(t, "Health", <-ended, driver.Canceled)
}

// TestB41AnotherUsersOrphan ends a command that left a process behind, whose
// environment the container's root may not read.
func TestB41AnotherUsersOrphan(t *testing.T) {
	b := newBox(t, dockertest.Engine(t))
	b.start()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	spec := driver.ExecSpec{
		SandboxID: b.spec.ID, ExecID: "orphan", User: "7001:7002", KillGrace: 100 * time.Millisecond,
		Argv: []string{"sh", "-c", "(setsid sleep 5003 &); until pgrep -f '^sleep 5003' >/dev/null; do sleep 0.1; done; echo left; sleep 5004"},
	}
	out := writerFunc(func(p []byte) (int, error) { cancel(nil); return len(p), nil })
	if _, err := b.Exec(ctx, spec, driver.ExecIO{Stdout: out}); driver.ReasonOf(err) != driver.Canceled {
		t.Errorf("the end was %v", err)
	}
	if out, _ := b.sh("pgrep -a sleep"); strings.Contains(out, "500") {
		t.Errorf("left: %s", out)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
