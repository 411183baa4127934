package applecontainer_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standintest"
)

// stops is how often the system was stopped.
func (p *person) stops() (n int) {
	for _, call := range p.Journal() {
		if slices.Equal(call.Argv[:min(len(call.Argv), 2)], []string{"system", "stop"}) {
			n++
		}
	}
	return n
}

// runs tells whether a container runs.
func (p *person) runs(id string) bool {
	return strings.Contains(p.Run("list", "--quiet").Stdout, id+"\n")
}

// await waits until something is so.
func (p *person) await(ok func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(deadline) {
			p.t.Fatal("it does not become so")
		}
	}
}

// TestB17RestartIsAsked: the system is restarted when a person asks for it, who
// sees first everybody's containers that this stops, and never else.
func TestB17RestartIsAsked(t *testing.T) {
	p := newPerson(t, standintest.Alone())
	dir := p.workspace("shop")
	p.ok(dir, "exec", "--driver", "apple-container", "--", "sh", "-c", "echo kept >work")
	for _, args := range [][]string{
		{"create", "--name", "their-db", "--entrypoint", "/bin/sleep", "sero-node:latest", "infinity"}, {"start", "their-db"},
	} {
		if r := p.Run(args...); r.Code != 0 {
			t.Fatalf("%q: %+v", args, r)
		}
	}
	for _, args := range [][]string{{"driver", "restart", "--dry-run", "apple-container"}, {"driver", "restart", "apple-container"}} {
		out, errs, _ := p.run(dir, args...)
		if !strings.Contains(out, "these will stop:") || !strings.Contains(out, "their-db   (another's)") || !strings.Contains(out, "sero-shop  shop") {
			t.Errorf("sero %q: %s%s", args, out, errs)
		}
		if p.stops() != 0 || !p.runs("their-db") || !p.runs("sero-shop") {
			t.Fatalf("sero %q stopped something", args)
		}
	}
	out := p.ok(dir, "driver", "restart", "--yes", "apple-container")
	if !strings.Contains(out, "restarted the system of apple-container") || p.stops() != 1 {
		t.Errorf("the system was stopped %d times: %s", p.stops(), out)
	}
	if p.runs("their-db") {
		t.Error("the other container was started; nobody asked for that")
	}
	if out := p.ok(dir, "exec", "--", "cat", "work"); out != "kept\n" {
		t.Errorf("after the restart: %q", out)
	}
}

// TestB17WedgeIsNeverRestarted: a system that does not answer is not restarted
// by sero. It says that it cannot tell what that would stop, and names the command.
func TestB17WedgeIsNeverRestarted(t *testing.T) {
	p := newPerson(t)
	dir := p.workspace("shop")
	p.ok(dir, "exec", "--driver", "apple-container", "--", "true")
	p.Fault("wedge")
	p.await(func() bool {
		out, _, _ := p.run(dir, "driver", "ls")
		return strings.Contains(out, "not answer")
	})
	// A command may still go through: the helper's channel is open. Making the workspace ready does not.
	if _, errs, code := p.run(dir, "up", "--driver", "apple-container"); code == 0 || !strings.Contains(errs, "sero driver restart apple-container") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	_, errs, code := p.run(dir, "driver", "restart", "apple-container")
	if code == 0 || !strings.Contains(errs, "cannot tell what runs there") || !strings.Contains(errs, "sero driver restart --yes apple-container") {
		t.Errorf("exit code %d: %s", code, errs)
	}
	p.Fault("")
	p.await(func() bool {
		out, _, _ := p.run(dir, "exec", "--", "echo", "again")
		return out == "again\n"
	})
	if n := p.stops(); n != 0 {
		t.Errorf("sero stopped the system %d times", n)
	}
}
