package mount_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/core/mount"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// own is a directory that a workspace is opened in.
type own struct {
	name, dir string
	says      string // why a sandbox must not show it; empty: it may
	host      bool   // refused in host mode, too
}

// TestA1WorkspaceDirectory holds a workspace's own directory to the policy of
// mounts (row A1).
func TestA1WorkspaceDirectory(t *testing.T) {
	top, policy := tree(t)
	for _, dir := range []string{"home2/.ssh", "home2/project", "home/.config/gh/deep", "etc", "machine/sero-runtime"} {
		if err := os.MkdirAll(filepath.Join(top, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	policy.Homes = []string{top + "/home2"}
	checkOwn(t, policy, []own{
		{"sero's own", top + "/sero", "sero's own", true},
		{"in sero's own", top + "/sero/state", "sero's own", true},
		{"holds sero's own", top, "", true},
		{"sero's own, by a link above", top + "/links/top/sero/state", "sero's own", true},
		{"the root", "/", "", true},
		{"/proc", "/proc", "the kernel's", true},
		{"in /proc", "/proc/self", "the kernel's", true},
		{"the kernel's by /proc", "/proc/self/root/sys", "the kernel's", true},
		{"/sys", "/sys", "the kernel's", true},
		{"/dev", "/dev", "the kernel's", true},
		{"in /dev", "/dev/../dev/.", "the kernel's", true},
		{"/etc", "/etc", "the machine's configuration", false},
		{"in /etc", "/etc/ssl", "the machine's configuration", false},
		{"/run", "/run", "", false},
		{"/var/run", "/var/run", "", false},
		{"/var", "/var", "", false},
		{"/usr", "/usr", "the system's", false},
		{"an engine's data", top + "/engine", "owns the machine", false},
		{"in an engine's data", top + "/engine/volumes", "owns the machine", false},
		{"an engine's data, by a chain of links", top + "/links/chain", "owns the machine", false},
		{"holds an engine's socket", top + "/run", "owns the machine", false},
		{"another name of an engine's socket", top + "/hard", "another name", false},
		{"a home", top + "/home", "your home directory", false},
		{"a home by a link", top + "/links/home", "your home directory", false},
		{"somebody's home", top + "/home2", "somebody's home", false},
		{"keys", top + "/home/.ssh", "keys", false},
		{"keys by a link", top + "/links/keys", "keys", false},
		{"in keys", top + "/home/.config/gh/deep", "keys", false},
		{"holds keys", top + "/home/.config", "keys", false},
		{"somebody's keys", top + "/home2/.ssh", "keys", false},
	})
	checkOwn(t, policy, []own{
		{name: "a project", dir: top + "/data"},
		{name: "a project in a home", dir: top + "/home/project"},
		{name: "a project in somebody's home", dir: top + "/home2/project"},
		{name: "configuration without keys", dir: top + "/home/.config/nvim"},
		{name: "a project by a link", dir: top + "/links/data"},
		{name: "beside an engine's data", dir: top + "/engineer"},
		{name: "with a socket of its own", dir: top + "/soft"},
		{name: "named as the machine's configuration", dir: top + "/etc"},
		{name: "named as sero's", dir: top + "/machine/sero-runtime"},
		{name: "links in it that lead to keys and engines", dir: top + "/ws"},
	})
}

// checkOwn checks each, and counts.
func checkOwn(t *testing.T, policy mount.Policy, list []own) {
	t.Helper()
	refused, allowed := 0, 0
	for _, c := range list {
		policy.Workspace = c.dir
		for _, hostMode := range []bool{false, true} {
			err := policy.CheckWorkspace(hostMode)
			wanted := c.says != "" || c.host || strings.HasPrefix(c.dir, "/run") || strings.HasPrefix(c.dir, "/var")
			if hostMode {
				wanted = c.host
			}
			if err == nil {
				allowed++
			} else {
				refused++
			}
			e := driver.AsError(err)
			switch {
			case !wanted && err != nil:
				t.Errorf("%s, host mode %v: %v", c.name, hostMode, err)
			case wanted && driver.ReasonOf(err) != driver.MountDenied:
				t.Errorf("%s, host mode %v: it is allowed: %v", c.name, hostMode, err)
			case wanted && (!strings.Contains(e.Message, c.says) || len(e.Remedies) == 0 || e.Field != "workspace.directory" || strings.Contains(e.Message, "\n")):
				t.Errorf("%s, host mode %v: %q, remedies %v, of %s", c.name, hostMode, e.Message, e.Remedies, e.Field)
			}
		}
	}
	t.Logf("%d tried, %d refused, %d allowed", 2*len(list), refused, allowed)
}

// inNamespace is set where the test runs in a mount namespace of its own.
const inNamespace = "SERO_TEST_MOUNT_NAMESPACE"

// TestA1BindMounts shows that another name for a part of a tree, given by a bind
// mount, is that part: of a workspace's own directory, of what is mounted in it,
// and of mounts.
func TestA1BindMounts(t *testing.T) {
	if os.Getenv(inNamespace) == "" {
		runInNamespace(t)
		return
	}
	top, policy := tree(t)
	bind := func(from, to string) {
		t.Helper()
		if err := os.MkdirAll(to, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := mountBind(from, to); err != nil {
			t.Fatal(err)
		}
	}
	bind(top+"/home/.ssh", top+"/b/keys")
	bind(top+"/home", top+"/b/home")
	bind(top+"/engine/volumes", top+"/b/volumes") // a part of the engine's data
	bind(top+"/sero/state", top+"/b/state")
	bind("/proc/sys", top+"/b/kernel")
	bind(top, top+"/b/top")
	bind(top+"/data", top+"/b/data")
	bind(top+"/sero/state", top+"/p-sero/deep/state")
	bind(top+"/home/.ssh", top+"/p-keys/deep/keys")
	bind(top+"/lib", top+"/p-lib/deep/lib")
	bind("/proc/sys", top+"/p-kernel/chroot/sys")
	checkOwn(t, policy, []own{
		{"keys", top + "/b/keys", "keys", false},
		{"home", top + "/b/home", "home directory", false},
		{"keys below a home", top + "/b/home/.ssh", "keys", false},
		{"a part of the engine's data", top + "/b/volumes", "owns the machine", false},
		{"a part of sero's own", top + "/b/state", "sero's own", true},
		{"a part of the kernel's", top + "/b/kernel", "the kernel's", true},
		{"all", top + "/b/top", "", true},
		{"below all", top + "/b/top/sero/state", "sero's own", true},
		{"a project with sero's own in it", top + "/p-sero", "sero's own", false},
		{"a project with keys in it", top + "/p-keys", "keys", false},
		{"a project with the kernel's in it", top + "/p-kernel", "the kernel's", false},
	})
	checkOwn(t, policy, []own{
		{name: "a project", dir: top + "/b/data"},
		{name: "a project below a home", dir: top + "/b/home/project"},
		{name: "a project with a library in it", dir: top + "/p-lib"},
	})
	for _, source := range []string{"/b/keys", "/b/volumes", "/b/state", "/b/kernel", "/p-keys", "/p-sero"} {
		if mounts, _, err := policy.Plan([]mount.Ask{{Field: "mounts[0]", Source: top + source, Target: "/d"}}); driver.ReasonOf(err) != driver.MountDenied {
			t.Errorf("a mount of %s: %v %v", source, mounts, err)
		}
	}
	if mounts, _, err := policy.Plan([]mount.Ask{{Field: "mounts[0]", Source: top + "/b/data", Target: "/d"}, {Field: "mounts[1]", Source: top + "/p-lib", Target: "/l"}}); len(mounts) != 2 {
		t.Error(mounts, err)
	}
}

// runInNamespace runs the calling test in a mount namespace of its own.
func runInNamespace(t *testing.T) {
	t.Helper()
	attr := ownNamespace(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
