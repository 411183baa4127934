package environ

import (
	"fmt"
	"strings"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// fallbackNameservers are for a sandbox that has none.
var fallbackNameservers = []string{"1.1.1.1", "8.8.8.8"}

// Setup is what a sandbox is given once it runs.
type Setup struct {
	Env    []driver.EnvVar // for login shells that were not started through sero
	Git    GitIdentity
	Online bool   // it has a network, and so needs a nameserver
	Owner  Owner  // of Dir, looked for; the zero value: nobody is
	Dir    string // the workspace's directory in the sandbox
	Places Places
}

// Script is a shell script that does it, as root in the sandbox. Each step goes
// on without the one before it, and says on standard error what it could not do;
// what an image has of its own is never replaced. Its standard output is for
// Owner.Found.
func (s Setup) Script() string {
	var b strings.Builder
	if s.Owner != (Owner{}) {
		b.WriteString(s.Owner.Script(s.Dir))
	}
	b.WriteString("fail() { echo \"$1\" >&2; status=1; }\nstatus=0\n")
	b.WriteString(s.Places.Script())
	b.WriteString(s.profileScript())
	if s.Online {
		fmt.Fprintf(&b, "grep -q '^[[:space:]]*nameserver' /etc/resolv.conf 2>/dev/null || printf 'nameserver %%s\\n' %s >> /etc/resolv.conf || fail 'there is no nameserver, and none can be set'\n",
			strings.Join(fallbackNameservers, " "))
	}
	// A file that git reads last of all: whatever the workspace or its user sets wins.
	b.WriteString("if [ ! -e /etc/gitconfig ] || grep -q '^" + gitMark + "$' /etc/gitconfig; then\n")
	b.WriteString("cat > /etc/gitconfig <<'sero-end' || fail 'the git configuration cannot be written'\n")
	b.WriteString(s.gitConfig())
	b.WriteString("sero-end\nfi\nexit $status\n")
	return b.String()
}

const gitMark = "# Made by sero."

func (s Setup) gitConfig() string {
	var b strings.Builder
	b.WriteString(gitMark + "\n")
	if s.Git != (GitIdentity{}) {
		b.WriteString("[user]\n")
		if s.Git.Name != "" {
			fmt.Fprintf(&b, "\tname = %s\n", gitQuote(s.Git.Name))
		}
		if s.Git.Email != "" {
			fmt.Fprintf(&b, "\temail = %s\n", gitQuote(s.Git.Email))
		}
	}
	// Whoever the files belong to, all of the sandbox is one project's: what runs in
	// it may write to all of its repositories. "*" is all that each git knows which
	// asks: "/dir/*" came with git 2.46.
	b.WriteString("[safe]\n\tdirectory = *\n")
	return b.String()
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func gitQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
