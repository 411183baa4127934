package conformance

import (
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// alive reports whether a process runs in the sandbox. A zombie does not: it has
// ended and waits for its parent to ask how, and when that happens is not the
// driver's doing. Every case asks this way.
func (s *Session) alive(t T, id, pid string) bool {
	t.Helper()
	return s.aliveOn(t, s.Driver(t), id, pid)
}

// aliveOn asks with what a plain sandbox has: the shell, and /proc or ps. Where
// there is neither, kill -0 has to do, which finds zombies, too.
func (s *Session) aliveOn(t T, d driver.Driver, id, pid string) bool {
	t.Helper()
	ask := func(script string) outcome {
		o := s.exec(d, s.script(id, script), nil)
		if o.Err != nil {
			t.Fatalf("asking for process %s: %v", pid, o.Err)
		}
		return o
	}
	if ask("kill -0 "+pid).ShellCode() != 0 {
		return false
	}
	if o := ask("cat /proc/" + pid + "/stat"); o.ShellCode() == 0 && strings.Contains(o.Out, ")") {
		return livesByStat(o.Out)
	}
	if o := ask("ps -o stat= -p " + pid); o.ShellCode() == 0 && strings.TrimSpace(o.Out) != "" {
		return !strings.HasPrefix(strings.TrimSpace(o.Out), "Z")
	}
	return ask("kill -0 "+pid).ShellCode() == 0
}

// livesByStat reads the kernel's "pid (name) state …". The name may have anything
// in it; the 18th field from the state on is how many threads there are.
func livesByStat(stat string) bool {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) == 0 {
		return false
	}
	threads := len(fields) >= 18 && fields[17] != "0" && fields[17] != "1"
	return !strings.Contains("ZXx", fields[0][:1]) || threads
}

// gone waits until no process of that pid runs in the sandbox.
func (s *Session) gone(t T, id, pid string, limit time.Duration) bool {
	t.Helper()
	return s.eventually(limit, func() bool { return !s.alive(t, id, pid) })
}
