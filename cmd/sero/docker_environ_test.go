package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
)

// TestD1LoginEnvironmentOnDocker compares the environment of a command with that of
// login shells, in an image whose /etc/profile overwrites PATH, as Debian's does, and
// more at its end. A shell started by hand with another environment keeps that.
func TestD1LoginEnvironmentOnDocker(t *testing.T) {
	d := newDockerMachine(t)
	d.file(map[string]any{
		"id": d.id, "image": dockertest.BaseImage(t), "driver": "docker",
		"env": map[string]string{
			"PATH": "/my dir:/opt/x:/usr/local/bin:/usr/bin:/bin", "QUOTES": `it's "$HOME" %s \n`, "LINES": "\na\n\n", "TEXT": "\u0101\u65e5 \u00e9",
		},
	})
	profile := `printf 'export TEXT=profile\nunset QUOTES\n' >>/etc/profile`
	d.ok("exec", "--user", "root", "--", "sh", "-c", profile+`; echo 'export LINES=profile TZ=UTC' >/etc/profile.d/zzz.sh`)
	d.ok("stop")
	want := variables(d.ok("exec", "--", "env", "-0"))
	if len(want) < 8 || want["LINES"] != "\na\n\n" {
		t.Errorf("the command has %q", want)
	}
	for _, shell := range []string{"bash", "sh", "dash"} {
		if diff := cmp.Diff(want, variables(d.ok("exec", "--", shell, "-lc", "env -0"))); diff != "" {
			t.Errorf("%s: %s", shell, diff)
		}
	}
	cmd := d.command("sero", "shell")
	cmd.Stdin = strings.NewReader("exec env -0\n")
	out, stderr, code := d.outcome(cmd)
	if diff := cmp.Diff(want, variables(out)); diff != "" || code != 0 {
		t.Errorf("sero shell: %d %s: %s", code, stderr, diff)
	}
	want["PATH"] = "/by/hand:/bin:/usr/bin"
	if diff := cmp.Diff(want, variables(d.ok("exec", "--", "sh", "-c", "PATH=/by/hand:/bin:/usr/bin exec bash -lc 'env -0'"))); diff != "" {
		t.Errorf("by hand: %s", diff)
	}
}

// TestD2PathOnDocker puts directories before the image's PATH, and that of env, for
// commands and login shells; --env is taken as it is.
func TestD2PathOnDocker(t *testing.T) {
	d := newDockerMachine(t)
	image := dockertest.BaseImage(t)
	before := variables(d.ok("exec", "--", "env", "-0"))["PATH"]
	path := []string{"./node_modules/.bin", "/my tools"}
	for _, c := range []struct {
		env  map[string]string
		rest string
	}{{map[string]string{}, before}, {map[string]string{"PATH": "/usr/bin:/bin"}, "/usr/bin:/bin"}} {
		d.file(map[string]any{"id": d.id, "image": image, "driver": "docker", "path": path, "env": c.env})
		want := "/workspace/node_modules/.bin:/my tools:" + c.rest
		for _, command := range [][]string{{"env", "-0"}, {"bash", "-lc", "env -0"}, {"sh", "-lc", "env -0"}} {
			if got := variables(d.ok(append([]string{"exec", "--"}, command...)...))["PATH"]; got != want {
				t.Errorf("%q: %q, want %q", command, got, want)
			}
		}
	}
	if got := variables(d.ok("exec", "-e", "PATH=/bin", "--", "env", "-0"))["PATH"]; got != "/bin" {
		t.Errorf("with --env: %q", got)
	}
}

// variables reads what env -0 prints, but what shells themselves keep and what names
// a command.
func variables(text string) map[string]string {
	all := map[string]string{}
	for entry := range strings.SplitSeq(text, "\x00") {
		if name, value, ok := strings.Cut(entry, "="); ok {
			all[name] = value
		}
	}
	for _, name := range []string{"_", "PWD", "OLDPWD", "SHLVL", "SERO_COMMAND_ID", "SERO_EXEC", "SERO_EXEC_ID"} {
		delete(all, name)
	}
	return all
}
