package registry

import (
	"regexp"
	"slices"
	"strings"
	"sync"
)

// passed are the variables of the core's environment that drivers get: what
// engines' command line tools and the commands of host mode need. The host
// driver hands on a part of it only.
var passed = []string{
	"PATH", "HOME", "USER", "LOGNAME", "LANG", "TERM", "SHELL", "TMPDIR", "TMP", "TEMP", "TZ",
	"XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
	"DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "DOCKER_API_VERSION",
	"CONTAINER_HOST", "SSH_AUTH_SOCK", "SERO_APPLE_CONTAINER_PATH",
	"NVM_DIR", "FNM_DIR", "VOLTA_HOME", "PNPM_HOME", "NODE_OPTIONS", "NODE_EXTRA_CA_CERTS",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_TERMINAL_PROMPT",
	"GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_AUTHOR_DATE",
	"GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "GIT_COMMITTER_DATE",
	"npm_config_cache", "npm_config_prefix", "npm_config_user_agent",
	"NPM_CONFIG_CACHE", "NPM_CONFIG_PREFIX", "NPM_CONFIG_USER_AGENT",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
	"http_proxy", "https_proxy", "no_proxy", "all_proxy",
}

// passedPrefixes begin the names of further ones, unless they look secret.
var passedPrefixes = []string{"LC_", "SERO_FAKE_"}

// secretName matches the names of variables that hold secrets.
var secretName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)token|passw(or)?d|credential|secret|askpass|authorization|(^|[_-])auth([_-]|$)`)
})

// environment is the part of an environment that a driver gets.
func environment(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(entry string) bool {
		name, _, ok := strings.Cut(entry, "=")
		return !ok || !allowed(name)
	})
}

func allowed(name string) bool {
	if slices.Contains(passed, name) {
		return true
	}
	byPrefix := slices.ContainsFunc(passedPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
	return byPrefix && !secretName().MatchString(name)
}
