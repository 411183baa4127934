package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
)

// A person whom neither this machine nor an image knows.
const (
	personUID = 48211
	personGID = 48212
)

var personID = fmt.Sprintf("%d:%d", personUID, personGID)

// newPersonsMachine is a machine whose sero is a person's, who is not root and
// may use the engine, with a sandbox to be of the given image.
func newPersonsMachine(t *testing.T, image string) *dockerMachine {
	t.Helper()
	host := dockertest.Engine(t)
	socket, err := os.Stat(strings.TrimPrefix(host, "unix://"))
	if err != nil {
		testutil.Missing(t, "docker", "the engine has no socket here")
	}
	if os.Geteuid() != 0 {
		testutil.Missing(t, "root", "only root can run sero as somebody else")
	}
	home, err := os.MkdirTemp("/tmp", "sero-p") //nolint:usetesting // others than root get into it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(home); err != nil {
			t.Error(err)
		}
	})
	program := buildWithHelper(t)
	for dir := program; filepath.Dir(dir) != dir && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the person starts it
			t.Fatal(err)
		}
	}
	group := socket.Sys().(*syscall.Stat_t).Gid
	m := newMachineOf(t, home, &syscall.Credential{Uid: personUID, Gid: personGID, Groups: []uint32{group}})
	m.program = filepath.Join(program, "sero")
	m.env = append(m.env, "DOCKER_HOST="+host, "XDG_CONFIG_HOME=", "XDG_RUNTIME_DIR=")
	d := &dockerMachine{machine: m, id: "own-" + strings.ToLower(rand.Text()[:10]), host: host}
	t.Cleanup(func() { dockertest.Docker(t, host, "rm", "--force", "--volumes", "sero-"+d.id) }) // if sero did not
	t.Cleanup(func() { d.ok("rm") })
	d.file(map[string]any{"id": d.id, "image": image, "driver": "docker"})
	if err := os.Chmod(filepath.Join(d.dir, "sero.json"), 0o644); err != nil { //nolint:gosec // the person reads it
		t.Fatal(err)
	}
	return d
}

// owners are the uids and gids of all that is in the workspace but its sero.json.
func (d *dockerMachine) owners() map[string]string {
	d.t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(d.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if name, _ := filepath.Rel(d.dir, path); name != "sero.json" {
			stat := info.Sys().(*syscall.Stat_t)
			found[name] = fmt.Sprintf("%d:%d", stat.Uid, stat.Gid)
		}
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return found
}

// wantOwner fails the test unless the files, and whatever else there is, belong
// to the person.
func (d *dockerMachine) wantOwner(files ...string) {
	d.t.Helper()
	owners := d.owners()
	for _, file := range files {
		if owners[file] == "" {
			d.t.Errorf("there is no %s: %v", file, owners)
		}
	}
	for file, owner := range owners {
		if owner != personID {
			d.t.Errorf("%s belongs to %s, not to %s", file, owner, personID)
		}
	}
}

// want runs a shell script in the sandbox, whose output must be this.
func (d *dockerMachine) want(what, script, output string, flags ...string) {
	d.t.Helper()
	args := append(append([]string{"exec"}, flags...), "--", "sh", "-c", script)
	if stdout, stderr, code := d.sero(args...); code != 0 || stdout != output {
		d.t.Errorf("%s: exit code %d, %q, not %q: %s", what, code, stdout, output, stderr)
	}
}

func (d *dockerMachine) shownUser() string {
	d.t.Helper()
	var w struct{ User, Guest string }
	if err := json.Unmarshal([]byte(d.ok("inspect", "--json")), &w); err != nil {
		d.t.Fatal(err)
	}
	return w.User
}

const server = `import os, socket
open("by-server", "w").write("x")
s = socket.socket(); s.bind(("127.0.0.1", 0)); s.listen()
while True: s.accept()[0].close()
`

// TestFilesBelongToWhoeverRunsSero makes files in a sandbox in every way that
// there is, with the guest helper and without it.
func TestFilesBelongToWhoeverRunsSero(t *testing.T) {
	for _, way := range []string{"helper", "plain"} {
		t.Run(way, func(t *testing.T) {
			d := newPersonsMachine(t, dockertest.BaseImage(t))
			if way == "plain" { // no place for the helper
				home := filepath.Join(filepath.Dir(d.dir), ".sero")
				if err := d.command("mkdir", "-p", home).Run(); err != nil {
					t.Fatal(err)
				}
				if err := d.command("touch", filepath.Join(home, "guest")).Run(); err != nil {
					t.Fatal(err)
				}
			}
			d.want("who it is", `id -u; id -g; whoami; id -gn; echo $HOME $USER $LOGNAME; ls -nd $HOME/. | cut -d' ' -f3,4`,
				fmt.Sprintf("%d\n%d\nsero\nsero\n/home/sero sero sero\n%d %d\n", personUID, personGID, personUID, personGID))
			d.want("what programs find", `python3 -c 'import os, pwd; p = pwd.getpwuid(os.getuid()); print(p.pw_name, p.pw_dir)'`, "sero /home/sero\n")
			d.want("files", `mkdir -p deep/er && echo x > deep/er/file && echo x > ~/kept && echo said > /dev/stderr`, "")
			d.want("a login shell", `bash -lc 'cd; pwd; id -un'`, "/home/sero\nsero\n")
			d.wantOwner("deep/er/file")
			if shown := d.shownUser(); shown != personID {
				t.Errorf("inspect shows the user %q", shown)
			}
			if out := d.ok("inspect"); strings.Contains(out, "commands   helper") != (way == "helper") || !strings.Contains(out, "user       "+personID) {
				t.Errorf("inspect: %s", out)
			}
			d.want("root", `id -u; echo $HOME`, "0\n/root\n", "--user", "root")
			d.want("somebody else", `id -un`, "nobody\n", "--user", "nobody")

			d.devServer()
			d.terminal()

			d.want("before the sandbox is made anew", `touch before`, "")
			if err := d.command("kill", "-KILL", d.pid()).Run(); err != nil {
				t.Fatal(err)
			}
			d.want("a new daemon", `id -u; touch after-daemon`, fmt.Sprintf("%d\n", personUID))
			dockertest.Docker(t, d.host, "restart", "--time", "1", "sero-"+d.id)
			d.want("a restart behind sero's back", `id -u; touch after-restart`, fmt.Sprintf("%d\n", personUID))
			dockertest.Docker(t, d.host, "rm", "--force", "sero-"+d.id)
			d.want("a new sandbox", `id -u; touch after-removal`, fmt.Sprintf("%d\n", personUID))
			d.wantOwner("after-daemon", "after-restart", "after-removal")
		})
	}
}

// devServer runs one and stops it: it must be found although it is not root's.
func (d *dockerMachine) devServer() {
	d.t.Helper()
	d.ok("run", "--name", "web", "--wait", "30s", "--", "python3", "-c", server)
	var ls struct {
		Ports []struct {
			PID    int
			Origin string
		}
	}
	if err := json.Unmarshal([]byte(d.ok("port", "ls", "--json")), &ls); err != nil {
		d.t.Fatal(err)
	}
	if len(ls.Ports) != 1 || ls.Ports[0].PID == 0 || ls.Ports[0].Origin != "started" {
		d.t.Errorf("what listens: %+v", ls)
	}
	d.ok("dev", "stop", "web")
	d.want("a server that was stopped", `ps -e -o args= | grep -c '[b]y-server' || true`, "0\n")
	d.wantOwner("by-server")
}

func (d *dockerMachine) terminal() {
	d.t.Helper()
	v := d.view(d.t, "shell")
	v.write("touch by-terminal; id -u > $(tty); echo made $((40 + 2))\n")
	v.await("made 42")
	v.write("exit\n")
	v.end()
	if !strings.Contains(v.text(), fmt.Sprint(personUID)) {
		d.t.Errorf("the terminal shows %s", v.text())
	}
	d.wantOwner("by-terminal")
}

// TestUserOfSeroJSON asks for root in the file, whose wish wins, and counts for
// nothing in what the sandbox is made from.
func TestUserOfSeroJSON(t *testing.T) {
	image := dockertest.BaseImage(t)
	d := newPersonsMachine(t, image)
	d.want("without a wish", `id -u`, fmt.Sprintf("%d\n", personUID))
	for user, want := range map[string]string{"root": "0:0 /root\n", "nobody": "65534:65534 /nonexistent\n", "7:8": "7:8 /var/spool/lpd\n"} {
		d.file(map[string]any{"id": d.id, "image": image, "driver": "docker", "user": user})
		if err := os.Chown(filepath.Join(d.dir, "sero.json"), personUID, personGID); err != nil {
			t.Fatal(err)
		}
		d.want(user+", which waits for trust", `id -u`, fmt.Sprintf("%d\n", personUID))
		d.ok("trust", "--yes")
		d.want(user, `echo $(id -u):$(id -g) $HOME`, want)
		if shown := d.shownUser(); shown != user {
			t.Errorf("inspect shows %q, not %q", shown, user)
		}
	}
	if out := d.ok("inspect", "--json"); strings.Contains(out, `"part"`) {
		t.Error(out)
	}
}

// TestNobodyElsesFiles has a directory that is another's inside, as with an
// engine that maps users: nothing changes there, nor for root on the host.
func TestNobodyElsesFiles(t *testing.T) {
	t.Run("another owner", func(t *testing.T) {
		d := newPersonsMachine(t, dockertest.BaseImage(t))
		err := os.Chown(d.dir, personUID+5, personGID)
		if err == nil {
			err = os.Chmod(d.dir, 0o777) //nolint:gosec // the person uses it
		}
		if err != nil {
			t.Fatal(err)
		}
		d.want("who it is", `id -u; echo $HOME; grep -c :48211: /etc/passwd || true`, "0\n/root\n0\n")
		if shown := d.shownUser(); shown != "" {
			t.Errorf("inspect shows %q", shown)
		}
	})
	t.Run("root", func(t *testing.T) {
		d := newDockerMachine(t)
		if err := os.Chown(d.dir, personUID, personGID); err != nil {
			t.Fatal(err)
		}
		d.want("who it is", `id -u; echo $HOME; touch made`, "0\n/root\n")
		if owner := d.owners()["made"]; owner != "0:0" {
			t.Errorf("the file is %s's", owner)
		}
		if shown := d.shownUser(); shown != "" {
			t.Errorf("inspect shows %q", shown)
		}
	})
}

// TestGitAndNodeAsWhoeverRunsSero uses one repository inside and on the host.
func TestGitAndNodeAsWhoeverRunsSero(t *testing.T) {
	const image = "sero-node:latest"
	if dockertest.Docker(t, dockertest.Engine(t), "images", "--quiet", image) == "" {
		testutil.Missing(t, "sero-node", "the engine does not have it; make it: sero image build")
	}
	d := newPersonsMachine(t, image)
	config := "[user]\n\tname = Ada\n\temail = ada@example.org\n"
	if err := os.WriteFile(filepath.Join(filepath.Dir(d.dir), ".gitconfig"), []byte(config), 0o644); err != nil { //nolint:gosec // the person reads it
		t.Fatal(err)
	}
	host := func(script string) {
		t.Helper()
		if out, err := d.command("sh", "-ec", script).CombinedOutput(); err != nil {
			t.Errorf("on the host: %v: %s", err, out)
		}
	}
	d.want("node", `node -e 'const u = os.userInfo(); console.log(u.username, u.homedir)'`, "sero /home/sero\n")
	d.want("npm", `npm config get cache; npm init -y >/dev/null && npm pkg set scripts.a='echo ran' && npm run --silent a 2>&1`, "/home/sero/.npm\nran\n")
	d.want("a repository", `git init -q . && git add package.json && git commit -qm inside && git log --format=%an`, "Ada\n")
	host("echo host > host && git add host && git commit -qm host && rm -rf package.json")
	d.want("after the host", `echo again > again && git add again && git commit -qam again && git log --format=%s`, "again\nhost\ninside\n")
	host("git fsck && git gc --quiet && rm -rf again .git")
	d.wantOwner("host")
}
