package guest

import (
	"context"
	"strconv"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// ending ends the processes that have $1 in their environment, those of their
// sessions and what descends from them, within $2 tenths of a second, and says
// whether there were any. The system's first process is left alone. A zombie has
// ended.
const ending = `
find_all() {
	found= more=1
	marked=" $(grep -alsFz -- "$1" /proc/[0-9]*/environ 2>/dev/null | tr -c '0-9' ' ') "
	while [ "$more" ]; do
		more=
		for stat in /proc/[0-9]*/stat; do
			pid=${stat#/proc/}
			pid=${pid%/stat}
			[ "$pid" != 1 ] && [ "$pid" != "$$" ] || continue
			case " $found " in *" $pid "*) continue ;; esac
			{ read -r line <"$stat"; } 2>/dev/null || continue
			set -- "$1" ${line##*) }
			case $2 in Z*|X*|x*) continue ;; esac
			case "$marked" in *" $pid "*) ;; *) case " $found " in *" $3 "*) ;; *) continue ;; esac ;; esac
			found="$found $pid" more=1
		done
	done
}
again() { find_all "$1"; [ "$found" ] || find_all "$1"; [ "$found" ]; }
again "$1" || { echo none; exit 0; }
kill -s TERM $found 2>/dev/null
kill -s CONT $found 2>/dev/null
n=0
while again "$1" && [ "$n" -lt "$2" ]; do sleep 0.1; n=$((n + 1)); done
n=0
while [ "$found" ] && [ "$n" -lt 50 ]; do kill -s KILL $found 2>/dev/null; sleep 0.05; n=$((n + 1)); again "$1"; done
[ "$found" ] && exit 1
echo ended`

// end ends a command with all that descends from it. Unsupported where the sandbox
// has not what it takes.
func (p plain) end(ctx context.Context, execID string, grace time.Duration) error {
	said := ""
	tenths := strconv.FormatInt(int64((grace+99*time.Millisecond)/(100*time.Millisecond)), 10)
	status, err := p.script(ctx, ending, []string{execIDEnv + "=" + execID, tenths}, func(line string) error {
		said = line
		return nil
	})
	switch {
	case ctx.Err() != nil:
		return driver.AsError(context.Cause(ctx))
	case err != nil && driver.ReasonOf(err) != driver.CommandNotFound:
		return err
	case said == "ended":
		return nil
	case said == "none":
		return driver.Errorf(driver.NotFound, "there is no command %s", execID)
	}
	return driver.Errorf(driver.Unsupported, "what descends from a command cannot be ended in sandbox %s (exit %d)", p.target.SandboxID, status.ShellCode())
}
