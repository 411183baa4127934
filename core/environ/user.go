package environ

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Owner is whose files a workspace's are on the host. It is asked for in a
// sandbox: only there can be seen whether a file of that user is one inside too.
type Owner struct{ UID, GID int }

// User is who commands in a sandbox run as, so that what they make belongs to
// the owner of the workspace. The zero value is whoever the sandbox's own is.
type User struct {
	UID, GID int
	Name     string
	Home     string // absolute
}

// String is the user as "uid:gid"; empty for the zero value.
func (u User) String() string {
	if u.UID == 0 {
		return ""
	}
	return fmt.Sprintf("%d:%d", u.UID, u.GID)
}

// Env is what programs learn of the user by.
func (u User) Env() []driver.EnvVar {
	if u.UID == 0 {
		return nil
	}
	return []driver.EnvVar{{Name: "HOME", Value: u.Home}, {Name: "LOGNAME", Value: u.Name}, {Name: "USER", Value: u.Name}}
}

// userMark begins the line that the script of an Owner prints.
const userMark = "sero-user:"

// Script is a shell script that looks, as root in the sandbox, whether the
// directory belongs to the owner. If it does, it makes sure that the owner has a
// name and a home there, and prints a line for Found. It may run again.
func (o Owner) Script(dir string) string {
	return "uid=" + strconv.Itoa(o.UID) + " gid=" + strconv.Itoa(o.GID) + " dir=" + shellQuote(dir) + "\n" + ownerScript
}

// ownerScript uses nothing that an image with a shell may lack but ls, mkdir,
// chown and grep. An account that the image has for the number is left as it is;
// a home that belongs to somebody else is not used.
const ownerScript = `owner_of() { set -- $(ls -nd -- "$1" 2>/dev/null); echo "${3:-none}"; }
if [ "$(owner_of "$dir/.")" = "$uid" ]; then
	name='' home=''
	while IFS=: read -r n _ u _ _ h _; do
		[ "$u" != "$uid" ] || { name=$n home=$h; break; }
	done </etc/passwd
	ends() { [ ! -s "$1" ] || [ -z "$(tail -c 1 "$1")" ] || echo >>"$1"; }
	if [ -z "$name" ]; then
		name=sero
		! grep -q '^sero:' /etc/passwd || name=sero-$uid
		home=/home/$name shell=/bin/sh
		[ ! -x /bin/bash ] || shell=/bin/bash
		{ ends /etc/passwd && echo "$name:x:$uid:$gid:sero:$home:$shell" >>/etc/passwd; } || echo "the user $uid cannot be given a name" >&2
	fi
	if ! grep -q "^[^:]*:[^:]*:$gid:" /etc/group; then
		group=sero
		! grep -q '^sero:' /etc/group || group=sero-$gid
		{ ends /etc/group && echo "$group:x:$gid:" >>/etc/group; } || echo "the group $gid cannot be given a name" >&2
	fi
	for h in "$home" "/home/sero" "/home/sero-$uid"; do
		home=$h
		case $h in /nonexistent | /) continue ;; /*) ;; *) continue ;; esac
		[ -e "$h" ] || [ -L "$h" ] || { mkdir -p "$h" && chown "$uid:$gid" "$h"; }
		[ "$(owner_of "$h/.")" != "$uid" ] || break
	done
	[ "$(owner_of "$home/.")" = "$uid" ] || { home=/tmp; echo "the user $uid cannot be given a home" >&2; }
	echo '` + userMark + `'"$name:$home"
fi
`

var accountPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}$`)

// Found is the user that the script's output tells of. A sandbox says whether
// the owner is known in it, and where its home is; not who it is.
func (o Owner) Found(output string) User {
	_, line, found := strings.Cut("\n"+output, "\n"+userMark)
	line, _, _ = strings.Cut(line, "\n")
	name, home, ok := strings.Cut(line, ":")
	if !found || !ok {
		return User{}
	}
	u := User{UID: o.UID, GID: o.GID, Name: name, Home: home}
	if !accountPattern.MatchString(name) {
		u.Name = strconv.Itoa(o.UID)
	}
	if !path.IsAbs(home) || len(home) > 1024 || strings.ContainsFunc(home, unicode.IsControl) {
		u.Home = "/tmp"
	}
	return u
}
