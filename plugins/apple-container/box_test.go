package applecontainer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standintest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// patience bounds every wait of a test; it is far more than anything takes.
const patience = 60 * time.Second

// current is the release that tests use unless they are about another.
const current = "1.2.2"

// box is a driver with the stand-in of one release.
type box struct {
	*Driver
	*standintest.Standin
	t   *testing.T
	dir string
}

func newBox(t *testing.T, version string, options ...standintest.Option) *box {
	t.Helper()
	s := standintest.Start(t, version, options...)
	t.Setenv(pathEnv, s.Path)
	b := &box{Driver: New(), Standin: s, t: t, dir: t.TempDir()}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(t.Context()), patience, errors.New("shutdown hangs"))
		defer cancel()
		if err := b.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return b
}

func (b *box) spec(id string) driver.SandboxSpec {
	dir, err := filepath.EvalSymlinks(b.dir)
	if err != nil {
		b.t.Fatal(err)
	}
	return driver.SandboxSpec{
		ID: id, WorkspaceDir: dir, Image: "sero-node:latest",
		Mounts: []driver.Mount{{Source: dir, Target: "/workspace"}},
		Labels: map[string]string{driver.LabelManaged: "true", driver.LabelSpecHash: "a=b"},
	}
}

// running makes a sandbox that runs.
func (b *box) running(id string) driver.Sandbox {
	b.t.Helper()
	if _, err := b.Create(b.t.Context(), b.spec(id)); err != nil {
		b.t.Fatal(err)
	}
	sb, err := b.Start(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return sb
}

// outcome is all that came of a command.
type outcome struct {
	driver.ExitStatus
	out, errs string
	err       error
}

func script(id, text string) driver.ExecSpec {
	return driver.ExecSpec{SandboxID: id, ExecID: "e", Argv: []string{"sh", "-c", text}}
}

func (b *box) run(spec driver.ExecSpec, stdin io.Reader) outcome {
	b.t.Helper()
	ctx, cancel := context.WithTimeoutCause(b.t.Context(), patience, errors.New("the command hangs"))
	defer cancel()
	var out, errs bytes.Buffer
	status, err := b.Exec(ctx, spec, driver.ExecIO{Stdin: stdin, Stdout: &out, Stderr: &errs})
	return outcome{status, out.String(), errs.String(), err}
}

// output is what a test waits for.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write keeps p.
func (l *output) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *output) want(t *testing.T, text string) string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		l.mu.Lock()
		all := l.text.String()
		l.mu.Unlock()
		if strings.Contains(all, text) {
			return all
		}
		if time.Now().After(deadline) {
			t.Fatalf("the output is %q, want %q in it", all, text)
		}
	}
}

func wantReason(t *testing.T, err error, reason driver.Reason) *driver.Error {
	t.Helper()
	if got := driver.ReasonOf(err); got != reason {
		t.Fatalf("got reason %q, want %q: %v", got, reason, err)
	}
	return driver.AsError(err)
}
