package devserver

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// maxName is the longest name of a server: it becomes part of a host name.
const maxName = 40

var (
	validName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`) })
	onlyDigit = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9]+$`) })
	notName   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[^a-z0-9]+`) })
)

// frameworks are programs that a server is best named after.
var frameworks = []string{
	"vite", "next", "nuxt", "nuxi", "astro", "react-scripts", "storybook", "remix", "webpack", "parcel", "gatsby",
	"rails", "django", "flask", "uvicorn", "gunicorn", "jekyll", "hugo", "caddy",
}

// carriers are programs that run another one, or a script, and say nothing about
// it.
var carriers = []string{
	"npm", "pnpm", "yarn", "bun", "bunx", "npx", "deno", "node", "python", "python3", "ruby", "php", "go", "cargo",
	"sh", "bash", "zsh", "env", "exec", "run", "run-script", "dlx", "x", "task", "uv", "poetry", "make", "start-server",
}

// guessName names a server after its framework, else after the first word of
// its command that says something.
func guessName(command []string) string {
	var words []string
	for _, argument := range command {
		words = append(words, strings.Fields(argument)...)
	}
	for _, word := range words {
		if name := baseName(word); slices.Contains(frameworks, name) {
			return name
		}
	}
	for _, word := range words {
		if strings.HasPrefix(word, "-") || strings.Contains(word, "=") {
			continue
		}
		if name := cleanName(baseName(word)); name != "" && !onlyDigit().MatchString(name) && !slices.Contains(carriers, name) {
			return name
		}
	}
	if len(words) > 0 {
		if name := cleanName(baseName(words[0])); name != "" && !onlyDigit().MatchString(name) {
			return name
		}
	}
	return "server"
}

// baseName is the last part of a path, without a script's ending or a
// package's version.
func baseName(word string) string {
	name := path.Base(word)
	if at := strings.LastIndex(name, "@"); at > 0 {
		name = name[:at]
	}
	for _, ending := range []string{".js", ".mjs", ".cjs", ".ts", ".mts", ".tsx", ".py", ".rb", ".sh", ".go", ".php"} {
		if before, ok := strings.CutSuffix(name, ending); ok && before != "" {
			return before
		}
	}
	return name
}

func cleanName(s string) string {
	s = notName().ReplaceAllString(strings.ToLower(s[:min(len(s), 4*maxName)]), "-")
	s = strings.Trim(s, "-")
	return strings.Trim(s[:min(len(s), maxName)], "-")
}

// uniqueName adds a number to a name that is taken.
func uniqueName(name string, taken func(string) bool) string {
	if !taken(name) {
		return name
	}
	for n := 2; ; n++ {
		suffix := "-" + strconv.Itoa(n)
		candidate := strings.Trim(name[:min(len(name), maxName-len(suffix))], "-") + suffix
		if !taken(candidate) {
			return candidate
		}
	}
}
