package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/egress/policy"
	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const full = `// how the shop runs
{
  "$schema": "https://example.com/sero.schema.json",
  "id": "shop", /* ours */
  "driver": "docker", "mode": "auto", "fallback": "host",
  "image": "ghcr.io/acme/node:22@sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",
  "env": {"DATABASE_URL": "file:./dev.db", "EMPTY": ""},
  "secrets": {"TOKEN": "env:SHOP_TOKEN", "KEY": "file:~/shop.key"},
  "user": "1000:dev",
  "mounts": [{"source": "/srv/data", "target": "/data", "readOnly": true}, {"source": "/srv/x"}],
  "roots": ["/home/me/lib"],
  "resources": {"cpus": 1.5, "memory": "2GiB", "processes": 500, "sharedMemory": "2g"},
  "devServers": {"web": {"command": ["npm", "run", "dev"], "dir": "web", "port": 3000, "env": {"A": "b"}}},
  "egress": {"allow": ["*.npmjs.org", "10.0.0.0/8", "::1"], "deny": ["example.com"]},
}
`

func TestWorkspaceFull(t *testing.T) {
	got, warnings, err := config.ParseWorkspace("sero.json", []byte("\xef\xbb\xbf"+full))
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	want := config.Workspace{
		Schema: "https://example.com/sero.schema.json", ID: "shop", Driver: "docker", Mode: "auto", Fallback: "host",
		Image:     "ghcr.io/acme/node:22@sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",
		Env:       map[string]string{"DATABASE_URL": "file:./dev.db", "EMPTY": ""},
		User:      "1000:dev",
		Secrets:   map[string]string{"TOKEN": "env:SHOP_TOKEN", "KEY": "file:~/shop.key"},
		Mounts:    []config.Mount{{Source: "/srv/data", Target: "/data", ReadOnly: true}, {Source: "/srv/x"}},
		Roots:     []string{"/home/me/lib"},
		Resources: config.Resources{CPUs: 1.5, Memory: "2GiB", Processes: 500, SharedMemory: "2g"},
		DevServers: map[string]config.DevServer{
			"web": {Command: []string{"npm", "run", "dev"}, Dir: "web", Port: 3000, Env: map[string]string{"A": "b"}},
		},
		Egress: config.Egress{Allow: []string{"*.npmjs.org", "10.0.0.0/8", "::1"}, Deny: []string{"example.com"}},
	}
	if len(got.Hash) != 64 {
		t.Error(got.Hash)
	}
	got.Hash = ""
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.Resources.MemoryBytes() != 2<<30 || got.Resources.SharedMemoryBytes() != 2<<30 {
		t.Error(got.Resources.MemoryBytes(), got.Resources.SharedMemoryBytes())
	}
	if diff := cmp.Diff([]string{"egress", "image", "resources"}, got.NeedsIsolation()); diff != "" {
		t.Error(diff)
	}
	if needs := (config.Workspace{}).NeedsIsolation(); needs != nil {
		t.Error(needs)
	}
}

func TestUnknownKeysAreWarnings(t *testing.T) {
	text := "{\n  \"drvier\": \"docker\",\n  \"Env\": {},\n\t\"zzzzzzzz\": [1, null],\n  \"mounts\": [{\"source\": \"/a\",\n    \"readonly\": true}],\n" +
		"  \"devServers\": {\"w\": {\"command\": [\"x\"], \"prot\": 1}}, \"\u0430\\u0001\": 1\n}"
	_, warnings, err := config.ParseWorkspace("d/sero.json", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range warnings {
		got = append(got, w.String())
	}
	want := []string{
		`d/sero.json:2:3: unknown key "drvier" is ignored, did you mean "driver"?`,
		`d/sero.json:3:3: unknown key "Env" is ignored, did you mean "env"?`,
		`d/sero.json:4:2: unknown key "zzzzzzzz" is ignored`,
		`d/sero.json:6:5: unknown key "readonly" in mounts[0] is ignored, did you mean "readOnly"?`,
		`d/sero.json:7:42: unknown key "prot" in devServers.w is ignored, did you mean "port"?`,
		`d/sero.json:7:55: unknown key "\u0430\x01" is ignored`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReferencesInEnvAreWarnings(t *testing.T) {
	text := `{"env": {"A": "env:TOKEN", "B": "file:/key", "C": "file:~/key", "D": "env: x", "E": "file:///a", "F": "file:a", "G": "environment"},
"devServers": {"w": {"command": ["x"], "env": {"A": "env:A"}}}, "secrets": {"S": "env:S"}}`
	_, warnings, err := config.ParseWorkspace("sero.json", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	const says = ` is given to commands as it is written; if it is a reference to a secret, put it under "secrets"`
	want := []string{
		"sero.json:2:53: devServers.w.env.A" + says, "sero.json:1:15: env.A" + says, "sero.json:1:33: env.B" + says, "sero.json:1:51: env.C" + says,
	}
	var got []string
	for _, w := range warnings {
		got = append(got, w.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBrokenWorkspaceFiles(t *testing.T) {
	for name, c := range map[string]struct{ text, place, says string }{
		"conflict":       {"{\n<<<<<<< HEAD\n\"id\": \"a\"\n=======\n\"id\": \"b\"\n>>>>>>> other\n}", ":2:1:", "merge-conflict"},
		"broken":         {"{\n  \"id\": \"a\"\n  \"env\": {}\n}", ":3:3:", "invalid character"},
		"cut off":        {"{\n  \"id\": \"a", ":2:11:", "ends too early"},
		"empty":          {"", ":1:1:", "ends too early"},
		"null":           {"null", ":1:1:", "must be an object, not null"},
		"array":          {"[]", ":1:1:", "must be an object, not an array"},
		"NUL":            {"{\n\x00}", ":2:1:", "NUL"},
		"escaped NUL":    {`{"env": {"A": "a\u0000"}}`, ":1:15:", "NUL"},
		"not UTF-8":      {"{\"id\": \"\xff\"}", ":1:9:", "UTF-8"},
		"too large":      {"{" + strings.Repeat(" ", config.MaxSize) + "}", "", "larger than"},
		"deep":           {strings.Repeat("[", 100_000), ":1:501:", "nest deeper"},
		"twice":          {"{\"id\": \"a\",\n \"id\": \"b\"}", ":2:2:", "given twice"},
		"twice, escaped": {`{"id": "a", "\u0069d": "b"}`, ":1:13:", "given twice"},
		"wrong type":     {"{\n \"id\": 7}", ":2:8:", "id must be a string, not the number 7"},
		"null value":     {`{"env": null}`, ":1:9:", "env must be an object, not null"},
		"env object":     {`{"env": {"A": {"env": "B"}}}`, ":1:15:", "env.A must be a string, not an object"},
		"env name":       {`{"env": {"A-B": ""}}`, ":1:17:", "not a variable's name"},
		"secret":         {`{"secrets": {"A": "hunter2"}}`, ":1:19:", "not a reference"},
		"secret file":    {`{"secrets": {"A": "file:key"}}`, ":1:19:", "not a reference"},
		"user":           {`{"user": "a b"}`, ":1:10:", "such as \"root\""},
		"user option":    {`{"user": "-r"}`, ":1:10:", "is not allowed"},
		"no user":        {`{"user": ""}`, ":1:10:", "is not allowed"},
		"user twice":     {`{"user": "1:2:3"}`, ":1:10:", "is not allowed"},
		"secret name":    {`{"secrets": {"A-B": "env:A"}}`, ":1:21:", "not a variable's name"},
		"secret and env": {`{"env": {"A": ""}, "secrets": {"A": "env:A"}}`, ":1:37:", "env has"},
		"bool":           {`{"mounts": [{"source": "/a", "readOnly": "yes"}]}`, ":1:42:", "true or false"},
		"port":           {`{"devServers": {"w": {"command": ["x"], "port": 70000}}}`, ":1:49:", "65535"},
		"fraction port":  {`{"devServers": {"w": {"command": ["x"], "port": 1.5}}}`, ":1:49:", "whole number"},
		"id":             {`{"id": "../x"}`, ":1:8:", "not allowed"},
		"empty id":       {`{"id": ""}`, ":1:8:", "not allowed"},
		"long id":        {`{"id": "` + strings.Repeat("a", 10_000) + `"}`, ":1:8:", "not allowed"},
		"homoglyph":      {`{"id": "sh` + "\u043e" + `p"}`, ":1:8:", `\u043e`},
		"mode":           {`{"mode": "Host"}`, ":1:10:", "auto, require, host"},
		"fallback":       {`{"fallback": "docker"}`, ":1:14:", "is not one of: host"},
		"contradiction":  {`{"mode": "host", "driver": "docker"}`, ":1:28:", "the mode is host"},
		"image":          {`{"image": "-v"}`, ":1:11:", "not allowed"},
		"mount source":   {`{"mounts": [{"source": "data"}]}`, ":1:13:", "not an absolute path"},
		"mount target":   {`{"mounts": [{"source": "/d", "target": "/"}]}`, ":1:13:", "below /"},
		"root":           {`{"roots": ["../lib"]}`, ":1:12:", "not an absolute"},
		"cpus":           {`{"resources": {"cpus": 0}}`, ":1:24:", "above 0"},
		"memory":         {`{"resources": {"memory": "lots"}}`, ":1:26:", "amount of memory"},
		"huge memory":    {`{"resources": {"memory": "999999999999T"}}`, ":1:26:", "amount of memory"},
		"shm":            {`{"resources": {"sharedMemory": "all"}}`, ":1:32:", "amount of memory"},
		"no shm":         {`{"resources": {"sharedMemory": "0"}}`, ":1:32:", "amount of memory"},
		"number of shm":  {`{"resources": {"sharedMemory": 64}}`, ":1:32:", "a string"},
		"no processes":   {`{"resources": {"processes": 0}}`, ":1:29:", "from 1 to 4194304"},
		"any processes":  {`{"resources": {"processes": -1}}`, ":1:29:", "from 1 to 4194304"},
		"many processes": {`{"resources": {"processes": 4194305}}`, ":1:29:", "from 1 to 4194304"},
		"huge processes": {`{"resources": {"processes": 99999999999999999999}}`, ":1:29:", "whole number"},
		"half a process": {`{"resources": {"processes": 1.5}}`, ":1:29:", "whole number"},
		"process text":   {`{"resources": {"processes": "64"}}`, ":1:29:", "whole number"},
		"no command":     {`{"devServers": {"web": {}}}`, ":1:24:", "no command"},
		"server name":    {`{"devServers": {"a:b": {"command": ["x"]}}}`, ":1:24:", "not allowed as a name"},
		"server dir":     {`{"devServers": {"web": {"command": ["x"], "dir": "../y"}}}`, ":1:50:", "below the workspace"},
		"egress":         {`{"egress": {"allow": ["https://x"]}}`, ":1:23:", "not a host"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := config.ParseWorkspace("sero.json", []byte(c.text))
			e, ok := errors.AsType[*driver.Error](err)
			if !ok || e.Reason != driver.ConfigInvalid {
				t.Fatalf("%v", err)
			}
			if c.place != "" && !strings.HasPrefix(e.Message, "sero.json"+c.place) || !strings.Contains(e.Message, c.says) {
				t.Errorf("%s: want %s and %q", e.Message, c.place, c.says)
			}
			if strings.Contains(e.Message, "hunter2") {
				t.Errorf("the secret is repeated: %s", e.Message)
			}
			if len(e.Remedies) == 0 || len(e.Message) > 300 || strings.ContainsAny(e.Message, "\x00\n") {
				t.Errorf("remedies %v, message of %d bytes", e.Remedies, len(e.Message))
			}
		})
	}
}

func TestLoadWorkspace(t *testing.T) {
	write := func(t *testing.T, dir, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, config.FileName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(t *testing.T, dir, says string) {
		t.Helper()
		if _, _, err := config.LoadWorkspace(dir); driver.ReasonOf(err) != driver.ConfigInvalid || !strings.Contains(err.Error(), says) {
			t.Errorf("%v", err)
		}
	}
	t.Run("none", func(t *testing.T) {
		got, warnings, err := config.LoadWorkspace(t.TempDir())
		if err != nil || warnings != nil || !cmp.Equal(got, config.Workspace{}) {
			t.Error(got, warnings, err)
		}
	})
	t.Run("file", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, `{"id": "a"}`)
		if got, _, err := config.LoadWorkspace(dir); err != nil || got.ID != "a" {
			t.Error(got, err)
		}
	})
	t.Run("symlink inside", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "other.json"), []byte(`{"id": "b"}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("other.json", filepath.Join(dir, config.FileName)); err != nil {
			t.Fatal(err)
		}
		if got, _, err := config.LoadWorkspace(dir); err != nil || got.ID != "b" {
			t.Error(got, err)
		}
	})
	t.Run("symlink out", func(t *testing.T) {
		dir, out := t.TempDir(), t.TempDir()
		write(t, out, `{"id": "secret"}`)
		if err := os.Symlink(filepath.Join(out, config.FileName), filepath.Join(dir, config.FileName)); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, "escapes")
	})
	t.Run("dangling symlink", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Symlink("gone", filepath.Join(dir, config.FileName)); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, "cannot be read")
	})
	t.Run("directory", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, config.FileName), 0o700); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, "not a regular file")
	})
	t.Run("pipe", func(t *testing.T) {
		dir := t.TempDir()
		if err := syscall.Mkfifo(filepath.Join(dir, config.FileName), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, "not a regular file")
	})
	t.Run("a file that fails", func(t *testing.T) {
		broken := "/proc/self/mem" // a file, of which nobody can read the beginning
		if _, err := os.Stat(broken); err != nil {
			testutil.Missing(t, "procfs", err.Error())
		}
		_, _, err := config.LoadMachine(broken)
		if driver.ReasonOf(err) != driver.ConfigInvalid || !strings.Contains(err.Error(), "cannot be read") {
			t.Error(err)
		}
	})
	t.Run("unreadable", func(t *testing.T) {
		if os.Getuid() == 0 {
			testutil.Missing(t, "user", "root reads everything")
		}
		dir := t.TempDir()
		write(t, dir, `{}`)
		if err := os.Chmod(filepath.Join(dir, config.FileName), 0); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, "cannot be read")
	})
}

func TestMachine(t *testing.T) {
	pin := strings.Repeat("0f", 32)
	file := filepath.Join(t.TempDir(), "config.json")
	if m, _, err := config.LoadMachine(file); err != nil || m.IdleExitAfter(time.Hour) != time.Hour {
		t.Fatal(m, err)
	}
	text := `{"mode": "require", "driver": "docker", "idleExit": "30m", "idelExit": 1,
	  "drivers": {"docker": {"settings": {"host": "unix:///x", /* c */ "n": [1,],}, "sha256": "` + pin + `", "constraint": ">= 1.2, < 2"}}}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m, warnings, err := config.LoadMachine(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0].Message, `"idleExit"?`) {
		t.Error(warnings)
	}
	d := m.Drivers["docker"]
	if m.Mode != config.ModeRequire || m.Driver != "docker" || m.IdleExitAfter(0) != 30*time.Minute ||
		string(d.Settings) != `{"host":"unix:///x","n":[1]}` || d.SHA256 != pin || d.Constraint != ">= 1.2, < 2" {
		t.Errorf("%+v %s", m, d.Settings)
	}
	if m, _, err := config.ParseMachine("c", []byte(`{"idleExit": "never"}`)); err != nil || m.IdleExitAfter(time.Hour) != 0 {
		t.Error(m, err)
	}
	for name, text := range map[string]string{
		"idle":       `{"idleExit": "soon"}`,
		"negative":   `{"idleExit": "-1m"}`,
		"settings":   `{"drivers": {"docker": {"settings": 3}}}`,
		"pin":        `{"drivers": {"docker": {"sha256": "abc"}}}`,
		"constraint": `{"drivers": {"docker": {"constraint": "newest"}}}`,
		"name":       `{"drivers": {"../x": {}}}`,
		"mode":       `{"mode": "fast"}`,
	} {
		if _, _, err := config.ParseMachine("config.json", []byte(text)); driver.ReasonOf(err) != driver.ConfigInvalid ||
			!strings.HasPrefix(err.Error(), "config.json:1:") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseWorkspace(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(`{"id": 1, "id": 2, "env": {"": null}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _, err := config.ParseWorkspace("sero.json", text)
		if err != nil && driver.ReasonOf(err) != driver.ConfigInvalid {
			t.Errorf("%v", err)
		}
	})
}

// TestB30EgressMode: who writes an allow list and no mode means that list, an
// empty one too.
func TestB30EgressMode(t *testing.T) {
	for text, want := range map[string]policy.Mode{
		`{}`:                                policy.Open,
		`{"egress": {}}`:                    policy.Open,
		`{"egress": {"deny": ["a.b"]}}`:     policy.Open,
		`{"egress": {"allow": []}}`:         policy.Allowlist,
		`{"egress": {"allow": ["a.b:22"]}}`: policy.Allowlist,
		`{"egress": {"mode": "observe", "allow": ["*.a.b", "10.0.0.0/8", "2600::1", "A.b."]}}`: policy.Observe,
	} {
		w, _, err := config.ParseWorkspace("sero.json", []byte(text))
		if err != nil || w.Egress.Chosen() != want || w.Egress.Strict() != (want == policy.Allowlist) {
			t.Errorf("%s: %s, %v, want %s", text, w.Egress.Chosen(), err, want)
		}
		if m, _, err := config.ParseMachine("config.json", []byte(text)); err != nil || m.Egress.Chosen() != want {
			t.Errorf("config.json %s: %s, %v, want %s", text, m.Egress.Chosen(), err, want)
		}
		if asked := strings.Contains(text, "[") || strings.Contains(text, "mode"); w.Egress.Asked() != asked {
			t.Errorf("%s: asked is %t", text, w.Egress.Asked())
		}
	}
	for _, bad := range []string{`{"egress": {"mode": "closed"}}`, `{"egress": {"deny": ["127.1"]}}`, `{"egress": {"allow": ["a.b:0"]}}`} {
		for _, parse := range []func() error{
			func() error { _, _, err := config.ParseWorkspace("f", []byte(bad)); return err },
			func() error { _, _, err := config.ParseMachine("f", []byte(bad)); return err },
		} {
			if err := parse(); driver.ReasonOf(err) != driver.ConfigInvalid {
				t.Errorf("%s: %v", bad, err)
			}
		}
	}
}
