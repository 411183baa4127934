package host

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/sero-labs/sero-runtime/plugins/host/internal/proc"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// allowedNames are the variables of the driver's own environment that commands
// see. All others stay outside: what a user has in a shell is not meant for each
// workspace. PATH, TZ and the locale are the caller's, who may have others than
// the driver was started with. SSH_AUTH_SOCK is left out on purpose, for use of the
// user's keys is something to ask for.
var allowedNames = []string{
	"HOME", "USER", "LOGNAME", "TERM", "SHELL", "TMPDIR", "TMP", "TEMP",
	"NVM_DIR", "FNM_DIR", "VOLTA_HOME", "PNPM_HOME",
	"NODE_OPTIONS", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"npm_config_cache", "npm_config_prefix", "npm_config_user_agent",
	"NPM_CONFIG_CACHE", "NPM_CONFIG_PREFIX", "NPM_CONFIG_USER_AGENT",
	"GIT_TERMINAL_PROMPT",
	"GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_AUTHOR_DATE",
	"GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "GIT_COMMITTER_DATE",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
	"http_proxy", "https_proxy", "no_proxy", "all_proxy",
}

// defaultPath is for commands of a caller that sends no PATH.
const defaultPath = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

func hostEnviron() []string { return os.Environ() }

// inherit is the part of an environment that commands get.
func inherit(environ []string) []string {
	var out []string
	for _, assignment := range environ {
		name, _, _ := strings.Cut(assignment, "=")
		if slices.Contains(allowedNames, name) {
			out = setEnv(out, name, strings.TrimPrefix(assignment, name+"="))
		}
	}
	return setEnv(out, "PATH", defaultPath)
}

// environment is a command's: the inherited, the sandbox's, its own, and what
// the driver adds.
func (d *Driver) environment(s *sandbox, spec driver.ExecSpec, dir, marker string) []string {
	env := slices.Clone(d.inherited)
	if spec.Terminal != nil {
		env = setEnv(env, "TERM", "xterm-256color")
	}
	if id := s.spec.Labels[driver.LabelWorkspaceID]; id != "" {
		env = setEnv(env, "SERO_WORKSPACE_ID", id)
	}
	for _, v := range slices.Concat(s.spec.Env, spec.Env) {
		env = setEnv(env, v.Name, v.Value)
	}
	env = setEnv(env, "PWD", dir)
	return setEnv(env, proc.MarkerEnv, marker)
}

func getEnv(env []string, name string) (string, bool) {
	for _, assignment := range env {
		if value, ok := strings.CutPrefix(assignment, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// setEnv replaces or adds a variable.
func setEnv(env []string, name, value string) []string {
	for i, assignment := range env {
		if strings.HasPrefix(assignment, name+"=") {
			env[i] = name + "=" + value
			return env
		}
	}
	return append(env, name+"="+value)
}

var envName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`) })

// checkEnv never shows a value: it may be secret.
func checkEnv(env []driver.EnvVar) error {
	for i, v := range env {
		field := "env[" + strconv.Itoa(i) + "]"
		if !envName().MatchString(v.Name) {
			return invalid(field+".name", "the name of an environment variable is letters, digits and underscores, and does not begin with a digit")
		}
		if strings.ContainsRune(v.Value, 0) {
			return invalid(field+".value", "the value of %s has a NUL byte in it", v.Name)
		}
	}
	return nil
}
