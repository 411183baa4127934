package applecontainer_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standintest"
)

// person is somebody at a terminal, with sero and Apple's CLI installed.
type person struct {
	*standintest.Standin
	t    testing.TB
	sero string
	home string
	env  []string
}

func newPerson(t testing.TB, options ...standintest.Option) *person {
	t.Helper()
	p := &person{Standin: standintest.Start(t, "1.2.2", options...), t: t, home: t.TempDir()}
	p.sero = filepath.Join(t.TempDir(), "sero")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", p.sero, "../../cmd/sero").CombinedOutput(); err != nil {
		t.Fatalf("building sero: %v\n%s", err, out)
	}
	run, err := os.MkdirTemp("/tmp", "sero-a") //nolint:usetesting // its path must be short for sockets
	if err != nil {
		t.Fatal(err)
	}
	p.env = append(os.Environ(), "HOME="+p.home, paths.HomeVariable+"="+filepath.Join(p.home, ".sero"), paths.RunVariable+"="+run,
		"SERO_APPLE_CONTAINER_PATH="+p.Path,
		"DOCKER_HOST=unix:///nowhere") // no other driver takes the workspace over while this one is broken
	t.Cleanup(func() {
		if _, errs, code := p.run(p.home, "daemon", "stop"); code != 0 {
			t.Errorf("daemon stop: %s", errs)
		}
		if err := os.RemoveAll(run); err != nil {
			t.Error(err)
		}
	})
	return p
}

// workspace makes a directory to be in.
func (p *person) workspace(name string) string {
	dir := filepath.Join(p.home, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		p.t.Fatal(err)
	}
	return dir
}

func (p *person) run(dir string, args ...string) (stdout, stderr string, code int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), 2*time.Minute, errors.New("sero hangs"))
	defer cancel()
	cmd := exec.CommandContext(ctx, p.sero, args...)
	cmd.Dir, cmd.Env = dir, p.env
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		p.t.Fatalf("sero %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (p *person) ok(dir string, args ...string) string {
	p.t.Helper()
	out, errs, code := p.run(dir, args...)
	if code != 0 {
		p.t.Fatalf("sero %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// wedgeLimit is how long an answer may take while the system does not answer, two
// seconds, and what a busy machine may take longer.
const wedgeLimit = 2*time.Second + 5*time.Second

// TestB14WedgeHoldsUpNobody: while Apple's system does not answer, the questions
// that a person asks are answered and name it, and commands of other drivers run.
func TestB14WedgeHoldsUpNobody(t *testing.T) {
	p := newPerson(t)
	apple, other := p.workspace("apple"), p.workspace("other")
	if out := p.ok(apple, "exec", "--driver", "apple-container", "--", "uname", "-s"); out != "Linux\n" {
		t.Fatalf("%q", out)
	}
	p.ok(other, "up", "--driver", "host")
	p.Fault("wedge")
	wedged, noticed := time.Now(), false
	for deadline := time.Now().Add(time.Minute); !noticed && time.Now().Before(deadline); {
		out, _, _ := p.run(other, "driver", "ls")
		noticed = strings.Contains(out, "not answer")
	}
	t.Logf("it was noticed after %s", time.Since(wedged).Round(time.Millisecond))
	for _, args := range [][]string{{"ls"}, {"doctor"}, {"driver", "ls"}, {"ls"}} {
		began := time.Now()
		out, errs, _ := p.run(apple, args...)
		took := time.Since(began)
		t.Logf("sero %s took %s", strings.Join(args, " "), took.Round(time.Millisecond))
		if took > wedgeLimit {
			t.Errorf("sero %s took %s", strings.Join(args, " "), took)
		}
		if !strings.Contains(out+errs, "not answer") {
			t.Errorf("sero %s does not name the wedge: %s%s", strings.Join(args, " "), out, errs)
		}
	}
	if out := p.ok(other, "exec", "--", "echo", "runs on"); out != "runs on\n" {
		t.Errorf("%q", out)
	}
	p.Fault("")
	healed := time.Now()
	var out, errs string
	for deadline := time.Now().Add(time.Minute); out != "again\n" && time.Now().Before(deadline); { // once it is noticed
		out, errs, _ = p.run(apple, "exec", "--", "echo", "again")
	}
	if out != "again\n" {
		t.Errorf("after the wedge: %s%s", out, errs)
	}
	t.Logf("commands run again after %s", time.Since(healed).Round(time.Millisecond))
}

// TestB17EachEndsWell: whatever has become of a sandbox, the next command works,
// or says in one line what is wrong.
func TestB17EachEndsWell(t *testing.T) {
	p := newPerson(t, standintest.Alone())
	for _, tt := range []struct {
		name   string
		before func(id string) // the workspace runs, or was never opened if fresh
		fresh  bool
		want   string // the error's reason; empty: the command works
	}{
		{name: "stopped", before: func(id string) { p.Run("stop", "--time", "0", id) }},
		{name: "removed", before: func(id string) { p.Run("delete", "--force", id) }},
		{name: "ghost", before: func(id string) { p.Run("stop", "--time", "0", id); p.Fault("ghost=" + id) }},
		{name: "storage-gone", before: func(id string) { p.Run("stop", "--time", "0", id); p.Fault("storage-gone=" + id) }},
		{name: "interrupted", before: func(string) { p.Fault("xpc-interrupted=1") }},
		{name: "system-stopped", before: func(string) { p.Run("system", "stop") }},
		{name: "subnet-changed", before: func(string) { p.Run("system", "stop"); p.Fault("subnet-changed") }},
		{name: "foreign", fresh: true, want: "FOREIGN_RESOURCE", before: func(id string) {
			p.Run("create", "--name", id, "--label", "owner=somebody", "--entrypoint", "/bin/sleep", "sero-node:latest", "infinity")
		}},
		{name: "stale-name", fresh: true, want: "CORRUPT|FOREIGN_RESOURCE", before: func(id string) { p.Fault("stale-name=" + id) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := *p
			p.t = t
			dir := p.workspace(tt.name)
			if err := os.WriteFile(filepath.Join(dir, "work"), []byte("kept"), 0o600); err != nil {
				t.Fatal(err)
			}
			if !tt.fresh {
				p.ok(dir, "exec", "--driver", "apple-container", "--", "true")
			}
			tt.before("sero-" + tt.name)
			args := []string{"exec", "--driver", "apple-container", "--", "cat", "work"}
			if tt.want != "" {
				args = []string{"up", "--driver", "apple-container", "--json"}
			}
			out, errs, code := p.run(dir, args...)
			p.Fault("")
			if tt.want == "" && (code != 0 || out != "kept") {
				t.Errorf("exit code %d, %q, %s", code, out, errs)
			}
			if tt.want != "" {
				named := false
				for reason := range strings.SplitSeq(tt.want, "|") {
					named = named || strings.Contains(errs, `"reason":"`+reason+`"`)
				}
				if code == 0 || !named {
					t.Errorf("exit code %d, %q, want %s in %s", code, out, tt.want, errs)
				}
			}
			if tt.name == "foreign" {
				if r := p.Run("inspect", "sero-foreign"); r.Code != 0 || !strings.Contains(r.Stdout, "somebody") {
					t.Errorf("another's container was touched: %+v", r)
				}
			}
		})
	}
}

// BenchmarkExecBesideWedge is a command in host mode, without and with Apple's
// system wedged: the ratio says whether one slows the other.
func BenchmarkExecBesideWedge(b *testing.B) {
	p := newPerson(b)
	apple, other := p.workspace("apple"), p.workspace("other")
	p.ok(apple, "exec", "--driver", "apple-container", "--", "true")
	p.ok(other, "up", "--driver", "host")
	for _, fault := range []string{"", "wedge"} {
		p.Fault(fault)
		name := "healthy"
		if fault != "" {
			name = "wedged"
			p.run(apple, "ls") // somebody waits for it
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				p.ok(other, "exec", "--", "true")
			}
		})
	}
	p.Fault("")
}
