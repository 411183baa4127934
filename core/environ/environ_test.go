package environ_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sero-labs/sero-runtime/core/environ"
	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// TestB42Secrets looks secrets up, and never repeats one where it cannot be had.
func TestB42Secrets(t *testing.T) {
	home := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("token", "hunter2\r\n")
	write("lines", "a\nb\n\n")
	write("nul", "hunter2\x00")
	write("large", strings.Repeat("hunter2", 10_000))
	if err := syscall.Mkfifo(filepath.Join(home, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := environ.Secrets{Home: home, Lookup: func(name string) (string, bool) { return "of " + name, name != "UNSET" }}
	env, problems := s.Resolve(map[string]string{
		"A": "env:TOKEN", "B": "env:UNSET", "C": "file:~/token", "D": "file:" + filepath.Join(home, "lines"), "E": "file:~/none",
		"F": "file:~/nul", "G": "file:~/large", "H": "file:~/pipe", "I": "file:~/", "J": "hunter2",
	})
	want := []driver.EnvVar{
		{Name: "A", Value: "of TOKEN", Secret: true}, {Name: "C", Value: "hunter2", Secret: true}, {Name: "D", Value: "a\nb\n", Secret: true},
	}
	if diff := cmp.Diff(want, env); diff != "" {
		t.Error(diff)
	}
	if len(problems) != 7 || strings.Contains(strings.Join(problems, "\n"), "hunter2") {
		t.Errorf("%q", problems)
	}
	for i, name := range []string{"B", "E", "F", "G", "H", "I", "J"} {
		if !strings.HasPrefix(problems[i], "secrets."+name+": ") {
			t.Errorf("%q", problems[i])
		}
	}
}

func TestMerge(t *testing.T) {
	got := environ.Merge(environ.Of(map[string]string{"B": "1", "A": "1"}), []driver.EnvVar{{Name: "B", Value: "2"}})
	if diff := cmp.Diff([]driver.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestTimeZone(t *testing.T) {
	dir := t.TempDir()
	zone := filepath.Join(dir, "zoneinfo", "Europe", "Berlin")
	link, chain := filepath.Join(dir, "localtime"), filepath.Join(dir, "chain")
	for _, err := range []error{
		os.MkdirAll(filepath.Dir(zone), 0o700), os.WriteFile(zone, nil, 0o600), os.Symlink(zone, link), os.Symlink("localtime", chain),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range [][3]string{
		{"Asia/Tokyo", link, "Asia/Tokyo"},
		{"", link, "Europe/Berlin"},
		{":/etc/x", chain, "Europe/Berlin"},
		{"", "/nowhere", ""},
		{"a'b", "/nowhere", ""},
		{"../../etc", link, "Europe/Berlin"},
	} {
		if got := environ.TimeZone(c[0], c[1]); got != c[2] {
			t.Errorf("%q: %q", c, got)
		}
	}
}

var identities = map[string]environ.GitIdentity{
	"":                                {},
	"[user]\nname = A B\nemail=a@b":   {Name: "A B", Email: "a@b"},
	"[User]\n\tNAME = \"A # B\" ; x":  {Name: "A # B"},
	"[user] name = A\n[core]\nname=x": {Name: "A"},
	"[user \"x\"]\nname = A":          {},
	"[user]\nname = A \\\n  B":        {Name: "A   B"},
	"[user]\nname = A\\nB":            {},
	"[user]\nname = \"A \\\"B\\\"\"":  {Name: `A "B"`},
	"[user]\nname = A\nname = C # D":  {Name: "C"},
	"[user]\r\nname = A\r\n":          {Name: "A"},
	"[user]\nname":                    {},
	"name = A":                        {},
	"[user]\nname = A\x1b[2J":         {},
	"[user]\nname = J\u00fcrgen":      {Name: "J\u00fcrgen"},
}

func TestParseGitIdentity(t *testing.T) {
	for text, want := range identities {
		if got := environ.ParseGitIdentity(text); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}

// TestGitAgrees asks git itself about the same texts.
func TestGitAgrees(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		testutil.Missing(t, "git", err.Error())
	}
	for text, want := range identities {
		file := filepath.Join(t.TempDir(), "config")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), git, "config", "--file", file, "user.name").Output()
		if err != nil || strings.ContainsAny(strings.TrimSuffix(string(out), "\n"), "\n\x1b") {
			continue // git refuses the text, or takes what we leave out on purpose
		}
		if got := strings.TrimSuffix(string(out), "\n"); got != want.Name {
			t.Errorf("%q: git says %q, we %q", text, got, want.Name)
		}
	}
}

func TestGitIdentityOf(t *testing.T) {
	home := t.TempDir()
	if id := environ.GitIdentityOf(home, ""); id != (environ.GitIdentity{}) {
		t.Error(id)
	}
	if err := os.MkdirAll(filepath.Join(home, ".config", "git"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{".config/git/config": "[user]\nname=X\nemail=x@x", ".gitconfig": "[user]\nname=Y"} {
		if err := os.WriteFile(filepath.Join(home, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if id := environ.GitIdentityOf(home, ""); id != (environ.GitIdentity{Name: "Y", Email: "x@x"}) {
		t.Error(id)
	}
}

// profileOf is a file with the profile that a setup script writes.
func profileOf(t *testing.T, script string) string {
	t.Helper()
	_, profile, _ := strings.Cut(script, "<<'sero-end' || fail 'the profile cannot be written'\n")
	profile, _, _ = strings.Cut(profile, "sero-end\n")
	file := filepath.Join(t.TempDir(), "sero.sh")
	if err := os.WriteFile(file, []byte(profile), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestB27Profile runs the profile that a sandbox gets in a shell.
func TestB27Profile(t *testing.T) {
	script := environ.Setup{
		Env: []driver.EnvVar{{Name: "HOST", Value: "0.0.0.0"}, {Name: "HOSTNAME", Value: "0.0.0.0"}, {Name: "Q", Value: "it's $HOME `x`"}},
	}.Script()
	file := profileOf(t, script)
	for _, shell := range []string{"sh", "bash"} {
		for given, want := range map[string]string{"": "0.0.0.0|0.0.0.0|it's $HOME `x`\n", "HOST=mine": "mine|0.0.0.0|it's $HOME `x`\n"} {
			cmd := exec.CommandContext(t.Context(), shell, "-c", `set -eu; . "$1"; sh -c 'echo "$HOST|$HOSTNAME|$Q"'`, "sh", file)
			cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, strings.Fields(given)...)
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != want {
				t.Errorf("%s with %q: %v %q", shell, given, err, out)
			}
		}
	}
}
