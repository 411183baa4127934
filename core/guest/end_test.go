package guest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Scripts of servers, each of which starts $n processes "sleep $s" that descend from
// it and try to get away.
var runaways = map[string]struct {
	script string
	count  int
	ends   bool // by itself, and leaves them behind
}{
	"a session of its own":          {`setsid sleep $s & exec sleep $s`, 2, false},
	"a double fork":                 {`(setsid sh -c "sleep $s & sleep $s & exit" &) ; exec sleep $s`, 3, false},
	"setsid in a subshell":          {`( (setsid sleep $s; true) & ); sleep $s`, 2, false},
	"nohup":                         {`nohup sleep $s >/dev/null 2>&1 & nohup setsid sleep $s >/dev/null 2>&1 & wait`, 2, false},
	"an empty environment":          {`env -i setsid /bin/sleep $s & exec env -i /bin/sleep $s`, 2, false},
	"signals ignored":               {`trap "" TERM HUP INT; setsid sleep $s & sleep $s; sleep $s`, 2, false},
	"stopped":                       {`setsid sh -c 'kill -STOP $$; true' sleep $s & exec sleep $s`, 2, false},
	"the command itself has ended":  {`setsid sleep $s >/dev/null 2>&1 & sleep $s >/dev/null 2>&1 &`, 2, true},
	"it has ended, a double fork":   {`(setsid sh -c "sleep $s & sleep $s & exit" >/dev/null 2>&1 &)`, 2, true},
	"it has failed, and left a job": {`nohup setsid sleep $s >/dev/null 2>&1 & exit 3`, 1, true},
}

// TestC1EndsAllThatDescends ends kept commands. Of what descends from them nothing
// is left, and what belongs to another command, kept or not, stays.
func TestC1EndsAllThatDescends(t *testing.T) {
	for _, by := range []way{bySocket, byDriver, plain} {
		t.Run(string(by), func(t *testing.T) {
			g := inContainer(t, by)
			ctx, leave := context.WithCancelCause(t.Context())
			keep := guest.Keep{Bytes: 1 << 16}
			sleeps := func(seconds int) string {
				out, _, _ := run(t, g, "sh", "-c", fmt.Sprintf("pgrep -cf '[s]leep %d'", seconds))
				return strings.TrimSpace(out)
			}
			begin := func(id, script string, kept bool) <-chan error {
				ended := make(chan error, 1)
				spec := driver.ExecSpec{Argv: []string{"sh", "-c", script}, Dir: "/", ExecID: id, KillGrace: 200 * time.Millisecond}
				go func() {
					var err error
					if kept {
						_, err = g.ExecKept(ctx, spec, keep, driver.ExecIO{Stdin: blocked{ctx}})
					} else {
						_, err = g.Exec(ctx, spec, driver.ExecIO{Stdin: blocked{ctx}})
					}
					ended <- err
				}()
				return ended
			}
			const other, terminal = 7001, 7002
			twins := []<-chan error{
				begin("other-server", fmt.Sprintf("setsid sleep %d & exec sleep %d", other, other), true),
				begin("terminal", fmt.Sprintf("setsid sleep %d & exec sleep %d", terminal, terminal), false),
			}
			seconds := 7100
			for name, c := range runaways {
				seconds++
				if by == plain && name == "an empty environment" {
					continue // nobody but the helper knows that it descends
				}
				id, script := fmt.Sprintf("server-%d", seconds), fmt.Sprintf("s=%d; ", seconds)+c.script
				ended := begin(id, script, true)
				if c.ends {
					if err := <-ended; err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
				eventually(t, name+" runs", func() bool { return sleeps(seconds) >= fmt.Sprint(c.count) })
				if err := g.EndSession(t.Context(), id); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if left := sleeps(seconds); left != "0" {
					t.Errorf("%s: %s processes are left", name, left)
				}
				if !c.ends {
					if err := <-ended; by != plain && driver.ReasonOf(err) != driver.Canceled {
						t.Errorf("%s: the end was %v", name, err)
					}
				}
				if err := g.EndSession(t.Context(), id); driver.ReasonOf(err) != driver.NotFound {
					t.Errorf("%s: ending what has ended: %v", name, err)
				}
			}
			if a, b := sleeps(other), sleeps(terminal); a != "2" || b != "2" {
				t.Errorf("another server has %s processes, a terminal %s, want 2 each", a, b)
			}
			leave(nil)
			for _, ended := range twins {
				<-ended
			}
		})
	}
}
