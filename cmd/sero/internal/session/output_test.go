package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/internal/handover"
	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// pipes is a daemon's socket for pipes.
func pipes(t *testing.T) (*handover.Receiver, string) {
	t.Helper()
	path := filepath.Join(testutil.ShortDir(t), "pipes.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	r := handover.NewReceiver(l)
	t.Cleanup(func() { _ = r.Close() })
	return r, path
}

// All that is in the pipe is written before Run returns, however much it is and
// however late it is read.
func TestB39OutputThroughAPipe(t *testing.T) {
	taken, path := pipes(t)
	text := strings.Repeat("0123456789abcdef", 1<<18)
	const late = 96 << 10 // more than standard output holds, and less than all that is on the way
	told, returned := make(chan struct{}), make(chan struct{})
	client := serve(t, func(_ context.Context, s *stream) error {
		defer close(told)
		start, err := begin(s)
		if err != nil {
			return err
		}
		pipe := taken.Take(start.GetOutput(), handover.WriteEnd)
		if pipe == nil {
			return errors.New("there is no pipe")
		}
		if _, err := io.WriteString(pipe, text); err != nil {
			return err
		}
		_ = pipe.Close()
		return s.Send(exit(&apipb.ExecExit{Code: 7}))
	})
	read, write := pipe(t)
	got := make(chan string, 1)
	go func() {
		early := make([]byte, len(text)-late)
		_, _ = io.ReadFull(read, early)
		<-told
		select { // what must not happen cannot be waited for otherwise
		case <-returned:
			t.Error("Run returned before all was written")
		case <-time.After(100 * time.Millisecond):
		}
		rest, _ := io.ReadAll(read)
		got <- string(early) + string(rest)
	}()
	cfg, _, _ := config(nil)
	cfg.Stdout, cfg.Pipes = write, path
	ended, err := Run(t.Context(), client, cfg)
	if err != nil || ended.Code != 7 {
		t.Errorf("Run = %+v, %v", ended, err)
	}
	close(returned)
	_ = write.Close()
	if out := <-got; out != text {
		t.Errorf("%d bytes came of %d", len(out), len(text))
	}
}

func TestOutputThroughAPipeThatNobodyReads(t *testing.T) {
	taken, path := pipes(t)
	ended := make(chan error, 1)
	client := serve(t, func(_ context.Context, s *stream) error {
		start, err := begin(s)
		if err != nil {
			return err
		}
		pipe := taken.Take(start.GetOutput(), handover.WriteEnd)
		defer pipe.Close()
		for err == nil {
			_, err = pipe.WriteString("y\n")
		}
		ended <- err
		return err
	})
	read, write := pipe(t)
	_ = read.Close()
	cfg, _, _ := config(nil)
	cfg.Stdout, cfg.Pipes = write, path
	if _, err := Run(t.Context(), client, cfg); !errors.Is(err, ErrOutputClosed) {
		t.Errorf("Run = %v; want ErrOutputClosed", err)
	}
	<-ended
}

// A command that does not start, and a daemon that goes away, leave nobody
// waiting for a pipe.
func TestOutputThroughAPipeWithoutACommand(t *testing.T) {
	taken, path := pipes(t)
	for _, begins := range []bool{false, true} {
		client := serve(t, func(_ context.Context, s *stream) error {
			first, err := s.Receive()
			if err != nil {
				return err
			}
			pipe := taken.Take(first.GetStart().GetOutput(), handover.WriteEnd)
			defer pipe.Close()
			if begins {
				if err := s.Send(started()); err != nil {
					return err
				}
				if _, err := pipe.WriteString("first words\n"); err != nil {
					return err
				}
			}
			return driver.Errorf(driver.Internal, "it does not work")
		})
		read, write := pipe(t)
		cfg, _, _ := config(nil)
		cfg.Stdout, cfg.Pipes = write, path
		if _, err := Run(t.Context(), client, cfg); err == nil {
			t.Error("it worked")
		}
		_ = write.Close()
		if out, _ := io.ReadAll(read); (len(out) > 0) != begins {
			t.Errorf("what was written is %q", out)
		}
	}
}

// Where frames are as good or better, there is no pipe.
func TestFramesWhereAPipeIsNoBetter(t *testing.T) {
	_, path := pipes(t)
	_, write := pipe(t)
	again, err := os.OpenFile(fmt.Sprintf("/dev/fd/%d", write.Fd()), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	master, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer terminal.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for what, c := range map[string]struct {
		stdout, stderr io.Writer
		pipes          string
		session        *apipb.ExecSession
		pipe           bool
	}{
		"a pipe":                {stdout: write, stderr: terminal, pipes: path, pipe: true},
		"both outputs are one":  {stdout: write, stderr: again, pipes: path},
		"a terminal":            {stdout: terminal, stderr: write, pipes: path},
		"nowhere":               {stdout: null, stderr: write, pipes: path},
		"no file":               {stdout: new(bytes.Buffer), stderr: write, pipes: path},
		"a daemon that has not": {stdout: write, stderr: terminal, pipes: path + ".old"},
		"a session":             {stdout: write, stderr: terminal, pipes: path, session: &apipb.ExecSession{}},
	} {
		cfg := Config{Start: &apipb.ExecStart{Session: c.session}, Stdout: c.stdout, Stderr: c.stderr, Pipes: c.pipes}
		o := openOutput(t.Context(), cfg)
		if (o != nil) != c.pipe {
			t.Errorf("%s: a pipe is used: %v", what, o != nil)
		}
		if o != nil {
			o.close()
		}
	}
}
