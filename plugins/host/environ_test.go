package host

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func TestInherit(t *testing.T) {
	for name, want := range map[string]bool{
		"HOME": true, "USER": true, "LOGNAME": true, "TERM": true, "SHELL": true,
		"TMPDIR": true, "TMP": true, "TEMP": true, "NVM_DIR": true, "FNM_DIR": true, "VOLTA_HOME": true, "PNPM_HOME": true,
		"NODE_OPTIONS": true, "NODE_EXTRA_CA_CERTS": true, "SSL_CERT_FILE": true, "SSL_CERT_DIR": true,
		"GIT_TERMINAL_PROMPT": true, "npm_config_cache": true, "NPM_CONFIG_PREFIX": true, "npm_config_user_agent": true,
		"GIT_AUTHOR_NAME": true, "GIT_AUTHOR_EMAIL": true, "GIT_AUTHOR_DATE": true,
		"GIT_COMMITTER_NAME": true, "GIT_COMMITTER_EMAIL": true, "GIT_COMMITTER_DATE": true,
		"HTTP_PROXY": true, "https_proxy": true, "NO_PROXY": true, "all_proxy": true,
		"PATH": false, "TZ": false, "LANG": false, "LC_ALL": false, "LC_CTYPE": false, // D3: those are the caller's

		"SSH_AUTH_SOCK": false, "GITHUB_TOKEN": false, "AWS_SECRET_ACCESS_KEY": false, "DATABASE_URL": false, "EDITOR": false,
		"path": false, "PATHX": false, "SERO_EXEC_ID": false, "SERO_HOST_KEEPER": false, "LD_PRELOAD": false, "": false,
		"npm_config_registry": false, "npm_config__authToken": false, "BASH_ENV": false, "PYTHONPATH": false,
	} {
		got := inherit([]string{name + "=v=1"})
		if has := slices.Contains(got, name+"=v=1"); has != want {
			t.Errorf("%s: inherited is %t", name, has)
		}
	}
	if got := inherit([]string{"PATH=/daemon"}); !slices.Equal(got, []string{"PATH=" + defaultPath}) {
		t.Errorf("PATH: %q", got)
	}
}

func TestExecEnvironment(t *testing.T) {
	for name, value := range map[string]string{"LANG": "C", "TZ": "Asia/Tokyo", "LC_ALL": "C", "HTTP_PROXY": "http://host", "GITHUB_TOKEN": "x", "SSH_AUTH_SOCK": "/x", "TERM": "dumb"} {
		t.Setenv(name, value)
	}
	b := newBox(t, driver.EnvVar{Name: "A", Value: "sandbox"}, driver.EnvVar{Name: "B", Value: "sandbox"}, driver.EnvVar{Name: "HTTP_PROXY", Value: "http://sandbox"})
	get := func(spec driver.ExecSpec, names ...string) map[string]string {
		t.Helper()
		all := make(map[string]string)
		for line := range strings.Lines(b.must(spec, nil)) {
			name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
			if _, twice := all[name]; twice {
				t.Errorf("%s is there twice", name)
			}
			all[name] = value
		}
		out := make(map[string]string)
		for _, n := range names {
			if v, ok := all[n]; ok {
				out[n] = v
			}
		}
		return out
	}
	spec := b.spec("env")
	spec.Env = []driver.EnvVar{{Name: "B", Value: "command"}, {Name: "MY_TOKEN", Value: "deliberate", Secret: true}, {Name: "EMPTY"}}
	want := map[string]string{
		"A": "sandbox", "B": "command", "HTTP_PROXY": "http://sandbox", "MY_TOKEN": "deliberate", "EMPTY": "",
		"SERO_WORKSPACE_ID": "test", "PWD": b.dir, "TERM": "dumb", "PATH": defaultPath,
	}
	got := get(spec, "A", "B", "HTTP_PROXY", "LANG", "TZ", "LC_ALL", "MY_TOKEN", "EMPTY", "SERO_WORKSPACE_ID", "PWD", "TERM", "PATH", "GITHUB_TOKEN", "SSH_AUTH_SOCK", "SERO_HOST_KEEPER")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	other := t.TempDir()
	spec.Dir = other
	spec.Terminal = &driver.TerminalSize{Rows: 24, Cols: 80}
	if diff := cmp.Diff(map[string]string{"TERM": "xterm-256color", "PWD": other}, get(spec, "TERM", "PWD")); diff != "" {
		t.Error(diff)
	}
	spec.Env = append(spec.Env, driver.EnvVar{Name: "TERM", Value: "vt100"})
	if diff := cmp.Diff(map[string]string{"TERM": "vt100"}, get(spec, "TERM")); diff != "" {
		t.Error(diff)
	}
}
