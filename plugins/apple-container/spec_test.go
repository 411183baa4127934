package applecontainer

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func engineFor(t *testing.T, version string) engine {
	t.Helper()
	e, err := engineOf(release(version))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestB26Mounts: what the CLI's two syntaxes can carry is carried, the rest is
// refused before anything is made.
func TestB26Mounts(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := func(name string) string {
		path := filepath.Join(base, name)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain, spaced, colon, comma, both := dir("plain"), dir("a b"), dir("a:b"), dir("a,b=c"), dir("a:b,c")
	link, file, socket := filepath.Join(base, "link"), filepath.Join(base, "file"), filepath.Join(base, "socket")
	if err := os.Symlink(plain, link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ro := func(source, target string) driver.Mount {
		return driver.Mount{Source: source, Target: target, ReadOnly: true}
	}
	for name, tt := range map[string]struct {
		version string
		mounts  []driver.Mount
		want    string // empty: refused
	}{
		"plain":                      {current, []driver.Mount{{Source: plain, Target: "/w"}}, "--volume " + plain + ":/w"},
		"read-only":                  {current, []driver.Mount{ro(plain, "/w")}, "--volume " + plain + ":/w:ro"},
		"spaces":                     {current, []driver.Mount{ro(spaced, "/w")}, "--volume " + spaced + ":/w:ro"},
		"a colon":                    {current, []driver.Mount{ro(colon, "/w")}, "--mount type=bind,source=" + colon + ",target=/w,readonly"},
		"a comma":                    {current, []driver.Mount{{Source: comma, Target: "/w"}}, "--volume " + comma + ":/w"},
		"a link is followed":         {current, []driver.Mount{{Source: link, Target: "/w"}}, "--volume " + plain + ":/w"},
		"a file":                     {current, []driver.Mount{{Source: file, Target: "/f"}}, "--volume " + file + ":/f"},
		"twice, one mode":            {"0.10.0", []driver.Mount{{Source: plain, Target: "/w"}, {Source: link, Target: "/v"}}, "--volume " + plain + ":/w --volume " + plain + ":/v"},
		"twice, before 0.10":         {"0.9.0", []driver.Mount{{Source: plain, Target: "/w"}, {Source: link, Target: "/v"}}, ""},
		"twice, read-only and not":   {current, []driver.Mount{{Source: plain, Target: "/w"}, ro(link, "/v")}, ""},
		"one target twice":           {current, []driver.Mount{{Source: plain, Target: "/w"}, {Source: spaced, Target: "/w/"}}, ""},
		"a colon and a comma":        {current, []driver.Mount{{Source: both, Target: "/w"}}, ""},
		"a colon in the target":      {current, []driver.Mount{{Source: comma, Target: "/w:x"}}, ""},
		"a relative path":            {current, []driver.Mount{{Source: "plain", Target: "/w"}}, ""},
		"over everything":            {current, []driver.Mount{{Source: plain, Target: "/"}}, ""},
		"a missing directory":        {current, []driver.Mount{{Source: base + "/none", Target: "/w"}}, ""},
		"a socket":                   {current, []driver.Mount{{Source: socket, Target: "/s"}}, ""},
		"a line break in the target": {current, []driver.Mount{{Source: plain, Target: "/w\nx"}}, ""},
	} {
		args, err := mountOptions(engineFor(t, tt.version), driver.SandboxSpec{Mounts: tt.mounts})
		switch got := strings.Join(args, " "); {
		case tt.want == "" && (driver.ReasonOf(err) != driver.MountDenied || driver.AsError(err).Field == ""):
			t.Errorf("%s: %q, %v", name, got, err)
		case tt.want != "" && (got != tt.want || err != nil):
			t.Errorf("%s: %q, want %q, %v", name, got, tt.want, err)
		}
	}
	if _, err := os.Stat(base + "/none"); err == nil {
		t.Error("a missing directory was made")
	}
}

// TestB42SecretsAreOnNoCommandLine, and what no file can carry is refused.
func TestB42SecretsAreOnNoCommandLine(t *testing.T) {
	spec := driver.SandboxSpec{
		ID: "sero-x", Image: "app:1", WorkspaceDir: t.TempDir(),
		Env: []driver.EnvVar{{Name: "OPEN", Value: "a b"}, {Name: "TOKEN", Value: " s3cret #=", Secret: true}},
	}
	p, err := newPlan(engineFor(t, current), spec, []string{"1.1.1.1"})
	if err != nil {
		t.Fatal(err)
	}
	args := p.command("/file", spec.Image)
	if strings.Contains(strings.Join(args, " "), "s3cret") || !slices.Equal(p.secrets, []string{"TOKEN= s3cret #="}) || !slices.Contains(args, "OPEN=a b") {
		t.Errorf("%q, %q", args, p.secrets)
	}
	spec.Env[1].Value = "s3cret\nmore"
	if _, err = newPlan(engineFor(t, current), spec, nil); driver.ReasonOf(err) != driver.InvalidArgument || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%v", err)
	}
}

// TestB21Workspace: the workspace's directory is mounted, asked for or not.
func TestB21Workspace(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, mounts := range [][]driver.Mount{nil, {{Source: dir, Target: "/workspace"}}} {
		args, err := mountOptions(engineFor(t, current), driver.SandboxSpec{WorkspaceDir: dir, Mounts: mounts})
		if want := []string{"--volume", dir + ":/workspace"}; !slices.Equal(args, want) || err != nil {
			t.Errorf("%q, %v", args, err)
		}
	}
}

func TestSpecRefused(t *testing.T) {
	dir := t.TempDir()
	good := driver.SandboxSpec{ID: "sero-x", Image: "app:1", WorkspaceDir: dir}
	for name, tt := range map[string]struct {
		change func(*driver.SandboxSpec)
		reason driver.Reason
	}{
		"upper case":        {func(s *driver.SandboxSpec) { s.ID = "sero-X" }, driver.NameInvalid},
		"an option":         {func(s *driver.SandboxSpec) { s.ID = "--all" }, driver.NameInvalid},
		"64 characters":     {func(s *driver.SandboxSpec) { s.ID = strings.Repeat("x", 64) }, driver.NameInvalid},
		"no image":          {func(s *driver.SandboxSpec) { s.Image = "" }, driver.InvalidArgument},
		"an option's image": {func(s *driver.SandboxSpec) { s.Image = "--rm" }, driver.InvalidArgument},
		"little memory":     {func(s *driver.SandboxSpec) { s.Resources.MemoryBytes = 100 << 20 }, driver.InvalidArgument},
		"negative shm":      {func(s *driver.SandboxSpec) { s.Resources.SharedMemoryBytes = -1 }, driver.InvalidArgument},
		"half a name":       {func(s *driver.SandboxSpec) { s.Env = []driver.EnvVar{{Name: "A=B"}} }, driver.InvalidArgument},
		"a NUL byte":        {func(s *driver.SandboxSpec) { s.Env = []driver.EnvVar{{Name: "A", Value: "\x00"}} }, driver.InvalidArgument},
		"our own label":     {func(s *driver.SandboxSpec) { s.Labels = map[string]string{labelInstance: "x"} }, driver.InvalidArgument},
		"no workspace":      {func(s *driver.SandboxSpec) { s.WorkspaceDir = dir + "/none" }, driver.MountDenied},
		"another network":   {func(s *driver.SandboxSpec) { s.Network = 7 }, driver.InvalidArgument},
	} {
		spec := good
		tt.change(&spec)
		if _, err := newPlan(engineFor(t, current), spec, nil); driver.ReasonOf(err) != tt.reason {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newPlan(engineFor(t, current), good, nil); err != nil {
		t.Error(err)
	}
}

// TestD9SharedMemory: the size of /dev/shm is the default's or the spec's where the
// CLI takes one, and refused where it does not.
func TestD9SharedMemory(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		version string
		asked   int64
		want    string // empty: none is given
		reason  driver.Reason
	}{
		{"0.9.0", 0, "", ""},
		{"0.12.3", 0, "", ""},
		{"0.9.0", 1 << 20, "", driver.Unsupported},
		{"0.12.3", 1 << 31, "", driver.Unsupported},
		{"1.0.0", 0, "1073741824", ""},
		{"1.0.0", 1 << 31, "2147483648", ""},
		{"1.2.2", 0, "1073741824", ""},
		{"1.2.2", 4096, "4096", ""},
		{"9.0.0", 1 << 20, "1048576", ""},
	} {
		spec := driver.SandboxSpec{ID: "sero-x", Image: "app:1", WorkspaceDir: dir, Resources: driver.Resources{SharedMemoryBytes: tt.asked}}
		p, err := newPlan(engineFor(t, tt.version), spec, nil)
		if driver.ReasonOf(err) != tt.reason || err != nil && len(driver.AsError(err).Remedies) == 0 {
			t.Errorf("%s, %d: %v", tt.version, tt.asked, err)
			continue
		}
		got := ""
		if i := slices.Index(p.args, "--shm-size"); i >= 0 {
			got = p.args[i+1]
		}
		if got != tt.want {
			t.Errorf("%s, %d: --shm-size %q, want %q", tt.version, tt.asked, got, tt.want)
		}
	}
}
