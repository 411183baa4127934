package applecontainer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standintest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// TestB39KnownDefects holds commands right on releases with each known defect of
// the CLI's exec; docs/drivers/apple-container.md says how. The stand-in has a
// defect in the releases that have it, and here in the one under test too.
func TestB39KnownDefects(t *testing.T) {
	b := newBox(t, current)
	id := b.running("sero-defects").ID
	all := []string{
		"stdin-nonblocking", "missing-executable-hangs", "redirect-ignored", "terminal-output-processing",
		"signals-lost", "mac-signal-numbers", "drain-fails", "environment-kept",
	}
	b.Fault("with=" + strings.Join(all, ";with="))
	in := func(name string, test func(t *testing.T, b *box)) {
		t.Run(name, func(t *testing.T) {
			c := *b
			c.t = t
			test(t, &c)
		})
	}
	in("stdin-nonblocking", func(t *testing.T, b *box) {
		want := strings.Repeat("0123456789abcde\n", 1<<17)
		if o := b.run(script(id, "cat"), strings.NewReader(want)); o.out != want || o.err != nil {
			t.Errorf("of %d bytes %d came back: %v", len(want), len(o.out), o.err)
		}
	})
	in("missing-executable-hangs", func(t *testing.T, b *box) {
		spec := driver.ExecSpec{SandboxID: id, Argv: []string{"no-such"}, Terminal: &driver.TerminalSize{Rows: 24, Cols: 80}}
		wantReason(t, b.run(spec, strings.NewReader("")).err, driver.CommandNotFound)
	})
	in("redirect-ignored", func(t *testing.T, b *box) {
		spec := script(id, "echo out; echo err >&2")
		if o := b.run(spec, strings.NewReader("")); o.out != "out\n" || o.errs != "err\n" {
			t.Errorf("%+v", o)
		}
		spec.Terminal = &driver.TerminalSize{Rows: 24, Cols: 80}
		if o := b.run(spec, nil); o.out != "out\r\nerr\r\n" || o.errs != "" {
			t.Errorf("%+v", o)
		}
	})
	in("terminal-output-processing", func(t *testing.T, b *box) {
		spec := script(id, `stty -opost; printf 'a\nb\r\n\033[0m\377'`)
		spec.Terminal = &driver.TerminalSize{Rows: 24, Cols: 80}
		if o := b.run(spec, nil); o.out != "a\nb\r\n\x1b[0m\xff" {
			t.Errorf("%q", o.out)
		}
	})
	in("signals-lost", func(t *testing.T, b *box) { b.signalled(id, "SIGTERM", nil) })
	in("mac-signal-numbers", func(t *testing.T, b *box) { b.signalled(id, "SIGUSR1", nil) })
	in("signals-on-a-terminal", func(t *testing.T, b *box) {
		b.signalled(id, "SIGUSR2", &driver.TerminalSize{Rows: 24, Cols: 80})
	})
	in("drain-fails", func(t *testing.T, b *box) {
		if o := b.run(script(id, "sleep 60 & echo all; exit 3"), nil); o.Code != 3 || o.out != "all\n" || o.err != nil {
			t.Errorf("%+v", o)
		}
	})
	in("environment-kept", func(t *testing.T, b *box) {
		spec := script(id, "echo $PATH")
		spec.Env = []driver.EnvVar{{Name: "PATH", Value: "/ours:/usr/bin:/bin"}}
		if o := b.run(spec, nil); o.out != "/ours:/usr/bin:/bin\n" {
			t.Errorf("%+v", o)
		}
	})
	in("exit-code-1-is-not-the-cli's", func(t *testing.T, b *box) {
		if o := b.run(script(id, "echo 'Error: get failed: container x not found' >&2; exit 1"), nil); o.Code != 1 || o.err != nil {
			t.Errorf("%+v", o)
		}
	})
}

// signalled sends a signal to a command that says which it got.
func (b *box) signalled(id, name string, terminal *driver.TerminalSize) {
	b.t.Helper()
	out := &output{}
	signals := make(chan string, 1)
	short := strings.TrimPrefix(name, "SIG")
	spec := script(id, "trap 'echo got "+short+"; kill $!; exit 5' "+short+"; sleep 600 & echo up .; wait; wait")
	spec.Terminal = terminal
	done := make(chan driver.ExitStatus, 1)
	go func() {
		status, err := b.Exec(b.t.Context(), spec, driver.ExecIO{Stdout: out, Signals: signals})
		if err != nil {
			b.t.Error(err)
		}
		done <- status
	}()
	out.want(b.t, "up .")
	signals <- name
	out.want(b.t, "got "+short)
	if status := <-done; status.Code != 5 {
		b.t.Errorf("it ended with %+v", status)
	}
}

// TestB39CutOutput: a CLI that ends in the middle of the output is an error, and
// never a command that has ended well; and the command does not go on.
func TestB39CutOutput(t *testing.T) {
	b := newBox(t, current)
	id := b.running("sero-cut").ID
	out := &output{}
	done := make(chan error, 1)
	go func() {
		_, err := b.Exec(t.Context(), script(id, "echo up .; sleep 615"), driver.ExecIO{Stdout: out})
		done <- err
	}()
	out.want(t, "up .")
	killClients(t)
	wantReason(t, <-done, driver.Internal)
	if left := b.run(script(id, "ps -eo args | grep '^sleep 615'"), nil).out; left != "" {
		t.Errorf("left: %s", left)
	}
}

// killClients kills the CLI processes that this one has started.
func killClients(t *testing.T) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		var pid, parent int
		var state string
		_, after, _ := strings.Cut(string(text), ") ")
		_, _ = fmt.Sscan(string(text), &pid)
		_, _ = fmt.Sscan(after, &state, &parent)
		if parent == os.Getpid() && strings.Contains(string(text), "(container)") {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
			killed++
		}
	}
	if killed == 0 {
		t.Fatal("there is no process of the CLI")
	}
}

// TestB41EndsInside: the end of the caller ends the command in the sandbox, on a
// terminal too, with all that it started.
func TestB41EndsInside(t *testing.T) {
	b := newBox(t, current)
	id := b.running("sero-ends").ID
	for name, terminal := range map[string]*driver.TerminalSize{"pipes": nil, "terminal": {Rows: 24, Cols: 80}} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			out := &output{}
			spec := script(id, "setsid sleep 611 & setsid sh -c 'env -i sleep 612 & sleep 613' & sleep 614 & echo up .; wait")
			spec.Terminal, spec.KillGrace = terminal, 500*time.Millisecond
			done := make(chan error, 1)
			go func() {
				_, err := b.Exec(ctx, spec, driver.ExecIO{Stdout: out, Stdin: neverEnds{ctx}})
				done <- err
			}()
			out.want(t, "up .")
			cancel(errors.New("enough"))
			wantReason(t, <-done, driver.Canceled)
			if left := b.run(script(id, "ps -eo args | grep '^sleep 61[1-4]'"), nil).out; left != "" {
				t.Errorf("left: %s", left)
			}
		})
	}
}

// neverEnds is input that a person does not type.
type neverEnds struct{ ctx context.Context }

// Read waits for the end of the caller.
func (n neverEnds) Read([]byte) (int, error) {
	<-n.ctx.Done()
	return 0, io.EOF
}

// TestExecSoonAfterStart: a sandbox that says that it runs may not take commands
// yet.
func TestExecSoonAfterStart(t *testing.T) {
	b := newBox(t, current)
	id := b.running("sero-soon").ID
	b.Fault("exec-not-running=2")
	if o := b.run(script(id, "echo here"), strings.NewReader("")); o.out != "here\n" || o.err != nil {
		t.Errorf("%+v", o)
	}
}

// TestLongChannel: what core's helper in the sandbox needs is one exec that lasts,
// whose input and output are a protocol: exact bytes, both ways at once, in any
// amount.
func TestLongChannel(t *testing.T) {
	b := newBox(t, "0.9.0")
	id := b.running("sero-channel").ID
	sent := make([]byte, 3<<20)
	for i := range sent {
		sent[i] = byte(i * 7 >> 3)
	}
	o := b.run(driver.ExecSpec{SandboxID: id, Argv: []string{"cat"}}, bytes.NewReader(sent))
	if o.out != string(sent) || o.err != nil || o.ShellCode() != 0 {
		t.Errorf("%d bytes of %d, %+v, %v", len(o.out), len(sent), o.ExitStatus, o.err)
	}
}

// TestForgedMarks: a command cannot end the call of another, nor break the driver
// with what it writes.
func TestForgedMarks(t *testing.T) {
	b := newBox(t, current, standintest.AnyArgv())
	id := b.running("sero-forged").ID
	text := "\x1esero:\x1esero:ABC:E0;\x1e"
	o := b.run(driver.ExecSpec{SandboxID: id, Argv: []string{"cat"}}, strings.NewReader(text))
	if o.out != text || o.err != nil {
		t.Errorf("%q, %v", o.out, o.err)
	}
}
