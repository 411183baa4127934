package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
)

// dockerMachine is a machine whose sero meets the real engine, with a workspace
// of a name that nobody else has.
type dockerMachine struct {
	*machine
	id   string
	host string // the engine
}

func newDockerMachine(t *testing.T) *dockerMachine {
	t.Helper()
	image, host := dockertest.BaseImage(t), dockertest.Engine(t)
	m := newMachine(t)
	m.env = append(m.env, "DOCKER_HOST="+host)
	d := &dockerMachine{machine: m, id: "in-" + strings.ToLower(rand.Text()[:10]), host: host}
	t.Cleanup(func() { dockertest.Docker(t, host, "rm", "--force", "--volumes", "sero-"+d.id) }) // if sero did not
	t.Cleanup(d.removeImages)
	t.Cleanup(func() { d.ok("rm") })
	d.file(map[string]any{"id": d.id, "image": image, "driver": "docker"})
	return d
}

// removeImages removes whatever this machine's sero built, also what has no name
// any more.
func (d *dockerMachine) removeImages() {
	d.t.Helper()
	installation, err := os.ReadFile(filepath.Join(filepath.Dir(d.dir), ".sero", "state", "installation"))
	if err != nil {
		d.t.Error(err)
		return
	}
	id, _, _ := strings.Cut(strings.TrimSpace(string(installation)), " ") // its checksum follows
	label := "label=dev.sero.installation=" + id
	for id := range strings.FieldsSeq(dockertest.Docker(d.t, d.host, "images", "--quiet", "--no-trunc", "--filter", label)) {
		dockertest.Docker(d.t, d.host, "rmi", "--force", id)
	}
}

// file writes the workspace's sero.json.
func (d *dockerMachine) file(content map[string]any) {
	d.t.Helper()
	text, err := json.Marshal(content)
	if err == nil {
		err = os.WriteFile(filepath.Join(d.dir, "sero.json"), text, 0o600)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// beside makes a directory beside the workspace's, with a file in it.
func (d *dockerMachine) beside(name string) string {
	d.t.Helper()
	dir := filepath.Join(filepath.Dir(d.dir), name)
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "kept"), []byte("as it was\n"), 0o644) //nolint:gosec // the guest reads it
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return dir
}

// TestB42SecretsOnDocker looks for three secrets wherever a machine shows what
// runs, while a command that has all of them runs.
func TestB42SecretsOnDocker(t *testing.T) {
	d := newDockerMachine(t)
	secrets := []string{"planted-" + rand.Text(), "planted-" + rand.Text(), "planted-" + rand.Text()}
	key := filepath.Join(d.beside("keys"), "key")
	if err := os.WriteFile(key, []byte(secrets[1]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.env = append(d.env, "SHOP_TOKEN="+secrets[0], "THIRD="+secrets[2])
	d.file(map[string]any{
		"id": d.id, "image": dockertest.BaseImage(t), "driver": "docker",
		"secrets": map[string]string{"TOKEN": "env:SHOP_TOKEN", "KEY": "file:" + key},
	})
	d.ok("trust", "--yes")
	cmd := d.command("sero", "exec", "-e", "THIRD", "--", "sh", "-c", `echo "$TOKEN $KEY $THIRD" > seen; mv seen all; read -r line`)
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	all := filepath.Join(d.dir, "all")
	if !awaitFile(all) {
		t.Fatal("the command does not run")
	}
	if text, err := os.ReadFile(all); err != nil || strings.TrimSpace(string(text)) != strings.Join(secrets, " ") {
		t.Errorf("the command has %q: %v", text, err)
	}
	processes, err := exec.CommandContext(t.Context(), "ps", "-ef", "-ww").Output()
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{
		"docker inspect": dockertest.Docker(t, d.host, "inspect", "sero-"+d.id),
		"docker top":     dockertest.Docker(t, d.host, "top", "sero-"+d.id, "-ef"),
		"ps -ef":         string(processes),
		"sero inspect":   d.ok("inspect", "--json"),
		"sero trust":     d.ok("trust", "--show", "--json"),
		"sero events":    d.ok("events", "--json"),
		"daemon logs":    d.ok("daemon", "logs"),
	}
	_ = in.Close()
	_ = cmd.Wait()
	// Neither does an error show one.
	_, stderr, _ := d.sero("exec", "-e", "THIRD", "--", "no-such-command")
	shown["an error"] = stderr
	_ = filepath.WalkDir(filepath.Join(filepath.Dir(d.dir), ".sero"), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			text, _ := os.ReadFile(path)
			shown[path] = string(text)
		}
		return nil
	})
	for where, text := range shown {
		for i, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows secret %d", where, i+1)
			}
		}
	}
}

// TestB21B22B23B25OnDocker tries as root in the sandbox to change what is read-only.
func TestB21B22B23B25OnDocker(t *testing.T) {
	d := newDockerMachine(t)
	ro, rw := d.beside("ro"), d.beside("rw")
	d.file(map[string]any{
		"id": d.id, "image": dockertest.BaseImage(t), "driver": "docker", "roots": []string{rw},
		"mounts": []map[string]any{{"source": ro, "readOnly": true}, {"source": filepath.Join(ro, "gone")}},
	})
	d.ok("trust", "--yes")
	before := treeHash(t, ro)
	if stdout, stderr, code := d.sero("exec", "--", "sh", "-c", "id -u; cat "+ro+"/kept "+rw+"/kept"); code != 0 || stdout != "0\nas it was\nas it was\n" {
		t.Fatalf("%d %s%s", code, stdout, stderr)
	}
	attempts := []string{
		"echo x > kept", "echo x >> kept", "echo x > new", "mkdir new", "rm kept", "rm -rf .", "mv kept other", "ln kept other", "ln -s kept other",
		"chmod 777 kept", "chown 1:1 kept", "touch kept", "truncate -s 0 kept", "mkfifo pipe", "mknod null c 1 3", "cp /etc/passwd .",
		"dd if=/dev/zero of=kept count=1", "python3 -c \"open('kept', 'w')\"", "python3 -c \"import os; os.open('kept', os.O_RDWR)\"",
		"python3 -c \"import os; os.utime('.')\"", "setfattr -n user.x -v 1 kept",
		"mount -o remount,rw $PWD", "mount -o remount,rw,bind $PWD", "mount --bind $PWD /mnt && echo x > /mnt/kept", "umount $PWD", "umount -l $PWD",
		"unshare -m sh -c 'mount -o remount,rw,bind $PWD'", "cd /proc/1/root$PWD && echo x > kept", "cd /proc/self/cwd && echo x > kept",
	}
	var script strings.Builder
	for i, attempt := range attempts {
		fmt.Fprintf(&script, "( cd \"$1\" || exit 0; %s ) >/dev/null 2>&1 && echo %d\n", attempt, i)
	}
	try := func(dir string) string { // the numbers of those that succeed
		stdout, stderr, code := d.sero("exec", "--", "sh", "-c", script.String()+"exit 0", "sh", dir)
		if code != 0 {
			t.Fatalf("%d %s", code, stderr)
		}
		return stdout
	}
	for number := range strings.FieldsSeq(try(ro)) {
		i := 0
		_, _ = fmt.Sscan(number, &i)
		t.Errorf("this succeeds: %s", attempts[i])
	}
	if after := treeHash(t, ro); after != before {
		t.Error("the read-only directory has changed")
	}
	// What is writable shows that the attempts are real ones.
	if n := len(strings.Fields(try(rw))); n < 10 {
		t.Errorf("only %d attempts succeed where they may", n)
	}
	if _, err := os.Stat(filepath.Join(rw, "new")); err != nil {
		t.Error("a write to a writable mount is not seen on the host:", err)
	}
	d.ok("exec", "--", "sh", "-c", "echo from inside > /workspace/written")
	if text, err := os.ReadFile(filepath.Join(d.dir, "written")); err != nil || string(text) != "from inside\n" {
		t.Errorf("B21: %q %v", text, err)
	}
	if _, err := os.Lstat(filepath.Join(ro, "gone")); err == nil {
		t.Error("B25: a missing directory was made")
	}
}

// TestB26OnDocker asks for the engine that the sandbox runs in, and more, by
// some of its names; package mount has the whole table.
func TestB26OnDocker(t *testing.T) {
	d := newDockerMachine(t)
	socket := strings.TrimPrefix(d.host, "unix://")
	link, inside := filepath.Join(filepath.Dir(d.dir), "link"), filepath.Join(d.dir, "link")
	for _, name := range []string{link, inside} {
		if err := os.Symlink(filepath.Dir(socket), name); err != nil {
			t.Fatal(err)
		}
	}
	home := filepath.Dir(d.dir)
	for _, dir := range []string{
		socket, filepath.Dir(socket), link, inside, "/proc/self/root" + filepath.Dir(socket), "/", home, filepath.Join(home, ".sero"), d.dir,
		filepath.Join(home, ".sero", "state"), "/proc", "/dev", "/etc", "/var/lib",
	} {
		_, stderr, code := d.sero("mount", "add", "--target", "/seen", "--json", dir)
		if code != 1 || !strings.Contains(stderr, "MOUNT_DENIED") {
			t.Errorf("%s: %d %s", dir, code, stderr)
		}
	}
	if out := d.ok("mount", "add", "--target", "/seen", "--json", d.beside("fine")); !strings.Contains(out, `"target":"/seen"`) {
		t.Error(out)
	}
	if got := d.ok("exec", "--", "cat", "/seen/kept"); got != "as it was\n" {
		t.Error(got)
	}
}

// TestB27B29OnDocker shows what commands and login shells find in a sandbox.
func TestB27B29OnDocker(t *testing.T) {
	d := newDockerMachine(t)
	home := filepath.Dir(d.dir)
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte("[user]\n\tname = Ada \"L\" O'X\n\temail = ada@example.org\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.env = append(d.env, "TZ=Asia/Tokyo", "XDG_CONFIG_HOME=")
	d.file(map[string]any{"id": d.id, "image": dockertest.BaseImage(t), "driver": "docker", "env": map[string]string{"VITE_HOST": "mine"}})
	const print = `echo $TERM $HOST $HOSTNAME $VITE_HOST $LANG $TZ`
	if got := d.ok("exec", "--", "sh", "-c", print); got != "xterm-256color 0.0.0.0 0.0.0.0 mine C.UTF-8 Asia/Tokyo\n" {
		t.Errorf("a command has %q", got)
	}
	if got := d.ok("exec", "-e", "HOST=given", "--", "bash", "-lc", print); got != "xterm-256color given 0.0.0.0 mine C.UTF-8 Asia/Tokyo\n" {
		t.Errorf("a login shell has %q", got)
	}
	// One that sero did not start, with nothing of its environment.
	if got := dockertest.Docker(t, d.host, "exec", "sero-"+d.id, "env", "-i", "bash", "-lc", print); got != "xterm-256color 0.0.0.0 0.0.0.0 0.0.0.0 C.UTF-8 Asia/Tokyo" {
		t.Errorf("another's login shell has %q", got)
	}
	if got := d.ok("exec", "--", "cat", "/etc/gitconfig"); !strings.Contains(got, `name = "Ada L O'X"`) || !strings.Contains(got, `email = "ada@example.org"`) {
		t.Errorf("%s", got)
	}
	if got := d.ok("exec", "--", "cat", "/etc/resolv.conf"); !strings.Contains(got, "nameserver") {
		t.Errorf("%s", got)
	}
	// A guest without a nameserver gets one at its next start.
	d.ok("exec", "--", "sh", "-c", "echo '# none' > /etc/resolv.conf; echo '[user] name = Workspace' > /etc/gitconfig")
	dockertest.Docker(t, d.host, "restart", "--time", "1", "sero-"+d.id)
	d.ok("stop")
	if got := d.ok("exec", "--", "cat", "/etc/resolv.conf", "/etc/gitconfig"); !strings.Contains(got, "nameserver") || !strings.Contains(got, "Workspace") || strings.Contains(got, "Ada") {
		t.Errorf("%s", got)
	}
}

// TestB19DockerfileEditOnDocker edits a Dockerfile, builds it, and makes the
// sandbox anew.
func TestB19DockerfileEditOnDocker(t *testing.T) {
	d := newDockerMachine(t)
	image := "sero-test-" + d.id + ":latest"
	dockerfile := filepath.Join(d.dir, "Dockerfile")
	build := func(version string) {
		t.Helper()
		text := "FROM " + dockertest.BaseImage(t) + "\nENV VERSION=" + version + "\n"
		if err := os.WriteFile(dockerfile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := d.ok("image", "build", "--tag", image, d.dir); !strings.Contains(out, "built by sero") {
			t.Error(out)
		}
	}
	build("1")
	d.file(map[string]any{"id": d.id, "image": image, "driver": "docker"})
	if got := d.ok("exec", "--", "sh", "-c", "echo $VERSION; head -c 100000 /dev/urandom > blob"); got != "1\n" {
		t.Fatal(got)
	}
	if out := d.ok("inspect", "--json"); strings.Contains(out, `"part":"image"`) {
		t.Error(out)
	}
	build("2")
	before := treeHash(t, d.dir)
	if out := d.ok("inspect", "--json"); !strings.Contains(out, `"part":"image"`) {
		t.Error(out)
	}
	d.ok("recreate")
	if out := d.ok("inspect", "--json"); strings.Contains(out, `"part":"image"`) {
		t.Error(out)
	}
	if got := d.ok("exec", "--", "sh", "-c", "echo $VERSION"); got != "2\n" {
		t.Error(got)
	}
	if treeHash(t, d.dir) != before {
		t.Error("files in the workspace have changed")
	}
	d.ok("rm")
	if out := d.ok("image", "ls"); !strings.Contains(out, image) {
		t.Error(out)
	}
	d.ok("image", "rm", image)
	if _, stderr, _ := d.sero("image", "rm", dockertest.BaseImage(t)); !strings.Contains(stderr, "was not built by this sero") {
		t.Error(stderr)
	}
}

// TestB13SeroNodeOnDocker builds sero's own image and looks at what is in it.
func TestB13SeroNodeOnDocker(t *testing.T) {
	if testing.Short() {
		t.Skip("it may take minutes")
	}
	d := newDockerMachine(t)
	image := "sero-test-" + d.id + ":latest"
	stdout, stderr, code := d.outcome(d.command("sero", "image", "build", "--tag", image, "--progress", "plain"))
	if code != 0 || !strings.Contains(stdout, "built by sero") || strings.Count(stderr, "\n") < 5 {
		t.Fatalf("%d %s%s", code, stdout, stderr)
	}
	d.file(map[string]any{"id": d.id, "image": image, "driver": "docker"})
	const look = `set -e
for tool in node npm npx pnpm corepack git ssh curl rg python3 g++ make ps ss setsid tini; do command -v $tool >/dev/null || echo "no $tool"; done
node -e 'console.log(process.release.lts || process.version)' >/dev/null; npm --version >/dev/null; pnpm --version >/dev/null
echo 'int main() { return 0; }' > /tmp/a.cc && g++ -o /tmp/a /tmp/a.cc && /tmp/a
mkdir /tmp/native && cd /tmp/native
echo '{"name": "native", "version": "1.0.0", "scripts": {"install": "node-gyp rebuild", "quiet": "true"}}' > package.json
echo '{"targets": [{"target_name": "m", "sources": ["m.cc"]}]}' > binding.gyp
printf '#include <node_api.h>\nNAPI_MODULE_INIT() { return exports; }\n' > m.cc
for manager in npm pnpm; do
  $manager run install > log 2>&1 && node -e 'require("./build/Release/m.node")' || echo "no native module with $manager: $(cat log)"
  ! grep 'http GET' log || echo "no headers for $manager"
  rm -rf build
done
! npm run quiet 2>&1 | grep -i warn || echo "no quiet npm"
git init -q /tmp/repo && git -C /tmp/repo status >/dev/null
cat /proc/1/comm; echo done`
	if got := d.ok("exec", "--", "sh", "-c", look); !strings.HasSuffix(got, "done\n") || strings.Contains(got, "no ") {
		t.Errorf("%s", got)
	}
}

// treeHash is a hash of all that is in a directory: names, modes, contents.
func treeHash(t *testing.T, dir string) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintln(sum, path, info.Mode())
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			_, _ = fmt.Fprintln(sum, info.Size(), info.ModTime().UnixNano())
			sum.Write(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// awaitFile waits, at most half a minute, until a file is there.
func awaitFile(path string) bool {
	for range 300 {
		if _, err := os.Stat(path); err == nil {
			return true
		}
		time.Sleep(100 * time.Millisecond)
	}
	return false
}
