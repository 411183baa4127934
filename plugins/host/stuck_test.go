package host

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// A program may lie on a file system that does not answer: its start takes for ever.
// Meanwhile the driver answers, looks at processes, runs other commands and ends
// them. (Issue 6, F: no mutex is held while something waits.)
func TestFStartThatHangsHoldsNothingUp(t *testing.T) {
	b := newBox(t)
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("something waits for the start that hangs"))
	defer cancel()
	// A command that leaves something behind, which is this process's child then.
	if _, err := b.Exec(ctx, b.spec("sh", "-c", "sleep 600 >/dev/null 2>&1 &"), driver.ExecIO{}); err != nil {
		t.Fatal(err)
	}
	s, err := b.find(b.id)
	if err != nil {
		t.Fatal(err)
	}
	hangs, goOn, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		if err := s.beginStart(); err != nil {
			t.Error(err)
			close(hangs)
			return
		}
		defer s.endStart()
		_, _ = b.processes.start(&execution{sandbox: s}, func(string) (*os.Process, error) {
			close(hangs)
			<-goOn
			return nil, errors.New("the file system is gone")
		})
	}()
	<-hangs
	if _, err := b.List(ctx, nil); err != nil {
		t.Errorf("list: %v", err)
	}
	if _, err := b.processes.survey(ctx); err != nil {
		t.Errorf("survey: %v", err)
	}
	if status, err := b.Exec(ctx, b.spec("true"), driver.ExecIO{}); err != nil || status.Code != 0 {
		t.Errorf("another command: %v, %v", status, err)
	}
	short, cancelShort := context.WithTimeoutCause(ctx, 50*time.Millisecond, errors.New("that was all the time"))
	defer cancelShort()
	if err := b.Stop(short, b.id, 0); err == nil {
		t.Error("stop says that nothing runs, while a command starts")
	}
	if sandbox, err := b.Get(ctx, b.id); err != nil || sandbox.State != driver.SandboxRunning {
		t.Errorf("after a stop that gave up: %v, %v", sandbox.State, err)
	}
	close(goOn)
	<-over
	if err := b.Stop(ctx, b.id, 0); err != nil {
		t.Errorf("stop: %v", err)
	}
}
