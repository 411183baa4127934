package environ

import (
	"fmt"
	"strings"
)

// profileFile is read by the login shells of a sandbox.
const profileFile = "/etc/profile.d/sero.sh"

// profileScript is shell code that writes the profile. An image's /etc/profile may
// overwrite variables before and after it reads the profiles of /etc/profile.d, or
// not read them at all, so its last line reads ours.
func (s Setup) profileScript() string {
	return "{ mkdir -p /etc/profile.d && cat > " + profileFile + "; } <<'sero-end' || fail 'the profile cannot be written'\n" +
		s.profile() + "sero-end\n" +
		`line='[ ! -r ` + profileFile + ` ] || . ` + profileFile + ` # Made by sero.'
[ "$(tail -n 1 /etc/profile 2>/dev/null)" = "$line" ] || printf '\n%s\n' "$line" >>/etc/profile || fail '/etc/profile cannot be written'
`
}

// profile makes a login shell go on with the environment that it was started with,
// whatever other profiles made of it, and sets for one that was not started through
// sero what it does not have. What a shell sets by itself, as bash does TERM and
// HOSTNAME, is not in its environment.
func (s Setup) profile() string {
	var b strings.Builder
	b.WriteString("# Made by sero. A variable that is in the environment is left as it is.\n")
	b.WriteString(restoreScript)
	for _, v := range s.Env {
		fmt.Fprintf(&b, "printenv %s >/dev/null || export %s=%s\n", v.Name, v.Name, shellQuote(v.Value))
	}
	return b.String()
}

// restoreScript exports what is in the shell's initial environment, byte for byte.
// It turns that into calls of sero_restore NAME VALUE, quoted, with every byte of the
// two in octal, so that no tool sees a byte that it may not keep. What a shell itself
// counts or forbids to set is left out. It needs od, tr and sed, and any POSIX shell,
// also one with the options -e and -u.
const restoreScript = `sero_restore() {
	case ${1-} in
	'' | [0123456789]* | *[!ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_]*) return 0 ;;
	_ | PWD | OLDPWD | SHLVL | IFS | OPTIND) return 0 ;;
	esac
	case $sero_fixed in *" $1="* | *" $1
"*) return 0 ;; esac
	[ $# -ne 2 ] || export "$1=$2"
}
sero_fixed="$(readonly -p)
"
sero_code=$(
	PATH=${PATH-}:/usr/local/bin:/usr/bin:/bin
	od -An -v -to1 "/proc/$$/environ" | tr -s ' \n' '\\\\' | sed 's/\\000/\
/g' | sed -e '/^\\[0-7]/!d' -e 's/\\047/\\047\\134\\047\\047/g' -e 's/\\075/\\047 \\047/' -e 's/^/sero_restore \\047/' -e 's/$/\\047/'
) 2>/dev/null || :
eval "$(printf "$sero_code")" || :
unset sero_code sero_fixed
unset -f sero_restore
`
