package conformance

import (
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// aliveScript exits with 0 where process $1 runs, and with 1 where there is none
// or only a zombie: one that has ended, with all its threads, and waits for its
// parent to ask how. When that happens is not the driver's doing, and kill -0 finds
// a zombie, too. It needs a shell and the /proc in $2 or, on systems without, ps.
const aliveScript = `if [ -e "$2/self/stat" ]; then
	read -r stat 2>/dev/null <"$2/$1/stat" || exit 1
	state=${stat##*)}
else
	kill -0 "$1" 2>/dev/null || exit 1
	command -v ps >/dev/null || exit 0
	state=$(ps -o stat= -p "$1" 2>/dev/null) || exit 1
	state=${state%"${state#?}"}
fi
set -- $state
case ${1:-Z}${18:-1} in Z[01] | X* | x*) exit 1 ;; esac`

// alive reports whether a process runs in the sandbox; a zombie does not. Every
// case asks this way.
func (s *Session) alive(t T, id, pid string) bool {
	t.Helper()
	return s.aliveOn(t, s.Driver(t), id, pid)
}

func (s *Session) aliveOn(t T, d driver.Driver, id, pid string) bool {
	t.Helper()
	spec := s.script(id, aliveScript)
	spec.Argv = append(spec.Argv, "sh", pid, "/proc")
	o := s.exec(d, spec, nil)
	if o.Err != nil || o.ShellCode() > 1 {
		t.Fatalf("asking for process %s: exit %d, error %v, stderr %q", pid, o.ShellCode(), o.Err, o.Errs)
	}
	return o.ShellCode() == 0
}

// gone waits until no process of that pid runs in the sandbox.
func (s *Session) gone(t T, id, pid string, limit time.Duration) bool {
	t.Helper()
	return s.eventually(limit, func() bool { return !s.alive(t, id, pid) })
}
