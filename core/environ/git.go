package environ

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"
)

// GitIdentity is who a person is in commits. Empty fields are not known.
type GitIdentity struct{ Name, Email string }

// maxGitConfig bounds what is read of a file.
const maxGitConfig = 1 << 20

// GitIdentityOf is the identity in the git configuration of a home directory. The
// files are read as data: git itself is not run, nor anything that they name.
func GitIdentityOf(home, xdgConfig string) GitIdentity {
	if xdgConfig == "" {
		xdgConfig = filepath.Join(home, ".config")
	}
	var id GitIdentity
	for _, file := range []string{filepath.Join(xdgConfig, "git", "config"), filepath.Join(home, ".gitconfig")} {
		f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(f, maxGitConfig))
		_ = f.Close()
		if err != nil {
			continue
		}
		found := ParseGitIdentity(string(text)) // the second file wins, as for git
		if found.Name != "" {
			id.Name = found.Name
		}
		if found.Email != "" {
			id.Email = found.Email
		}
	}
	return id
}

// ParseGitIdentity reads user.name and user.email of a git configuration's text.
// What it includes from elsewhere is not followed.
func ParseGitIdentity(text string) GitIdentity {
	var id GitIdentity
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\\\n", "")
	inUser := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if section, rest, ok := strings.Cut(strings.TrimPrefix(line, "["), "]"); ok && strings.HasPrefix(line, "[") {
			inUser = strings.EqualFold(strings.TrimSpace(section), "user")
			line = strings.TrimSpace(rest)
		}
		key, value, ok := strings.Cut(line, "=")
		if !inUser || !ok {
			continue
		}
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "name":
			id.Name = gitValue(value)
		case "email":
			id.Email = gitValue(value)
		}
	}
	return id
}

// gitValue is a value as git reads it: quotes, escapes and comments taken away.
// One with control characters in it is none.
func gitValue(raw string) string {
	var out strings.Builder
	quoted := false
	kept := 0 // length up to the last character that is not a space outside of quotes
	raw = strings.TrimSpace(raw)
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c == '"':
			quoted = !quoted
			continue
		case c == '\\' && i+1 < len(raw):
			i++
			c = raw[i]
			if strings.IndexByte("nbt", c) >= 0 {
				return "" // a line break or the like, which no name has
			}
		case (c == '#' || c == ';') && !quoted:
			return strings.TrimSpace(out.String()[:kept])
		}
		out.WriteByte(c)
		if quoted || c != ' ' {
			kept = out.Len()
		}
	}
	value := out.String()[:kept]
	if strings.ContainsFunc(value, unicode.IsControl) {
		return ""
	}
	return value
}
