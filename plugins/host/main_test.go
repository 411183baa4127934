package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sero-labs/sero-runtime/plugins/host/internal/keeper"
	"github.com/sero-labs/sero-runtime/plugins/host/internal/proc"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// patience bounds every wait of a test; it is far more than anything takes.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if script := os.Getenv(driverProcessEnv); script != "" {
		os.Exit(driverProcess(script)) //nolint:forbidigo // this is a driver process
	}
	code := m.Run()
	if code == 0 {
		if err := leftOver(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code) //nolint:forbidigo // a test's main function
}

// made are the marker prefixes of all drivers that tests made.
var made struct {
	sync.Mutex
	prefixes []string
}

// leftOver tells of goroutines and processes that outlived the tests. The keepers
// of drivers that were killed have a while to end those.
func leftOver() error {
	made.Lock()
	defer made.Unlock()
	var left []error
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		table, err := proc.Snapshot()
		if err != nil {
			return err
		}
		left = nil
		for _, prefix := range made.prefixes {
			for _, p := range proc.Marked(table, prefix) {
				left = append(left, fmt.Errorf("process %d is left over: %s", p.PID, proc.Command(p.PID)))
			}
		}
		if left == nil || time.Now().After(deadline) {
			return errors.Join(append(left, goleak.Find())...)
		}
	}
}

// box is a driver with one running sandbox.
type box struct {
	*Driver
	t   *testing.T
	id  string
	dir string
}

func newDriver(t *testing.T) *Driver {
	t.Helper()
	d := New()
	// A keeper with the race detector would take a second to exit.
	d.processes.keeper = keeper.New(d.processes.prefix, append(d.inherited, "GORACE=atexit_sleep_ms=0"))
	made.Lock()
	made.prefixes = append(made.prefixes, d.processes.prefix)
	made.Unlock()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(t.Context()), patience, errors.New("shutdown hangs"))
		defer cancel()
		if err := d.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return d
}

func newBox(t *testing.T, env ...driver.EnvVar) *box {
	t.Helper()
	b := &box{Driver: newDriver(t), t: t, id: "sero-test", dir: t.TempDir()}
	spec := driver.SandboxSpec{
		ID: b.id, WorkspaceDir: b.dir, Env: env,
		Labels: map[string]string{driver.LabelWorkspaceID: "test"},
	}
	if _, err := b.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Start(t.Context(), b.id); err != nil {
		t.Fatal(err)
	}
	return b
}

// in is the box in a subtest.
func (b *box) in(t *testing.T) *box {
	c := *b
	c.t = t
	return &c
}

func (b *box) spec(argv ...string) driver.ExecSpec {
	return driver.ExecSpec{SandboxID: b.id, ExecID: "e1", Argv: argv}
}

func (b *box) script(script string) driver.ExecSpec { return b.spec("/bin/sh", "-c", script) }

// result is all that came of a command.
type result struct {
	status         driver.ExitStatus
	err            error
	stdout, stderr string
	started        int64
}

// run runs a command to its end.
func (b *box) run(spec driver.ExecSpec, stdin io.Reader) result {
	b.t.Helper()
	return b.runContext(b.t.Context(), spec, driver.ExecIO{Stdin: stdin})
}

func (b *box) runContext(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) result {
	b.t.Helper()
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the command hangs"))
	defer cancel()
	var r result
	var out, err bytes.Buffer
	stdio.Stdout, stdio.Stderr = &out, &err
	started := stdio.Started
	stdio.Started = func(pid int64) {
		r.started = pid
		if started != nil {
			started(pid)
		}
	}
	r.status, r.err = b.Exec(ctx, spec, stdio)
	r.stdout, r.stderr = out.String(), err.String()
	return r
}

// must runs a command that has to succeed, and returns its output.
func (b *box) must(spec driver.ExecSpec, stdin io.Reader) string {
	b.t.Helper()
	r := b.run(spec, stdin)
	if r.err != nil || r.status != (driver.ExitStatus{}) {
		b.t.Fatalf("%q: status %+v, error %v, stderr %q", spec.Argv, r.status, r.err, r.stderr)
	}
	return r.stdout
}

// background starts a command and returns once it runs. The result comes later.
func (b *box) background(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (pid int, done <-chan result) {
	b.t.Helper()
	started := make(chan int64, 1)
	stdio.Started = func(pid int64) { started <- pid }
	ch := make(chan result, 1)
	go func() {
		status, err := b.Exec(ctx, spec, stdio)
		ch <- result{status: status, err: err}
	}()
	select {
	case pid := <-started:
		return int(pid), ch
	case r := <-ch:
		b.t.Fatalf("%q did not start: %v", spec.Argv, r.err)
	case <-time.After(patience):
		b.t.Fatalf("%q did not start in time", spec.Argv)
	}
	return 0, nil
}

func (b *box) wait(done <-chan result) result {
	b.t.Helper()
	select {
	case r := <-done:
		return r
	case <-time.After(patience):
		b.t.Fatal("the command does not end")
	}
	return result{}
}

// eventually polls until ok, or fails the test.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// numbers reads the process numbers in a file, as many as there are by now.
func numbers(path string) []int {
	data, _ := os.ReadFile(path)
	var pids []int
	for f := range strings.FieldsSeq(string(data)) {
		if pid, err := strconv.Atoi(f); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func alive(pid int) bool {
	p, err := proc.Read(pid)
	return err == nil && !p.Zombie
}

// pidFrom waits for a file that a script writes a process number to.
func (b *box) pidFrom(name string) int {
	b.t.Helper()
	var pid int
	eventually(b.t, name, func() bool {
		data, err := os.ReadFile(b.dir + "/" + name)
		if err != nil || !strings.HasSuffix(string(data), "\n") {
			return false
		}
		_, err = fmt.Sscan(string(data), &pid)
		return err == nil
	})
	return pid
}

func wantReason(t *testing.T, err error, reason driver.Reason, field string) {
	t.Helper()
	if got := driver.ReasonOf(err); got != reason {
		t.Fatalf("got reason %q, want %q: %v", got, reason, err)
	}
	if e := driver.AsError(err); e.Field != field {
		t.Fatalf("got field %q, want %q: %v", e.Field, field, err)
	}
	if strings.ContainsAny(err.Error(), "\n\r") {
		t.Fatalf("the message is more than one line: %q", err)
	}
}
