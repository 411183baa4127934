package egress_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
)

// TestIdleExit: the proxy of a sandbox that runs keeps the daemon, for what runs
// inside has no other way out; one whose sandbox has gone does not, nor does a
// sandbox without rules.
func TestIdleExit(t *testing.T) {
	const limit = 2 * time.Second
	p := newPerson(t, map[string]any{"idleExit": limit.String()})
	id := p.workspace(map[string]any{"mode": "open"})
	p.ok(id, "exec", "--", "true")
	pid := p.daemonPID()
	time.Sleep(3 * limit) // what must not happen cannot be waited for otherwise
	if syscall.Kill(pid, 0) != nil {
		t.Fatal("the daemon ended under the proxy of a sandbox that runs")
	}
	if out := p.ok(id, "egress", "ls"); !strings.Contains(out, "proxy        running") {
		t.Errorf("sero egress ls: %s", out)
	}
	dockertest.Docker(t, p.host, "rm", "--force", "sero-"+id)
	p.gone(pid)

	plain := p.workspace(map[string]any{})
	p.ok(plain, "exec", "--", "true")
	p.gone(p.daemonPID())
	if got := dockertest.Docker(t, p.host, "inspect", "--format", "{{.State.Status}}", "sero-"+plain); got != "running" {
		t.Errorf("the sandbox is %s without the daemon", got)
	}
}

// gone waits for the end of a daemon, and asks it nothing: that would keep it.
func (p *person) gone(pid int) {
	p.t.Helper()
	if pid < 2 {
		p.t.Fatal("no daemon runs")
	}
	for deadline := time.Now().Add(time.Minute); syscall.Kill(pid, 0) == nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatal("the daemon stays")
		}
	}
}
