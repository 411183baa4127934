package session

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/internal/handover"
)

// takeInput is the daemon's end of the pipe for input.
func takeInput(s *stream, taken *handover.Receiver) (*os.File, error) {
	start, err := begin(s)
	if err != nil {
		return nil, err
	}
	pipe := taken.Take(start.GetInput(), handover.ReadEnd)
	if pipe == nil {
		return nil, errors.New("there is no pipe")
	}
	return pipe, nil
}

// All input goes through the pipe, and its end is told in a frame: the end of the
// pipe alone may be that of the client.
func TestB39InputThroughAPipe(t *testing.T) {
	taken, path := pipes(t)
	text := strings.Repeat("0123456789abcdef", 1<<18)
	var got string
	client := serve(t, func(_ context.Context, s *stream) error {
		pipe, err := takeInput(s, taken)
		if err != nil {
			return err
		}
		defer pipe.Close()
		all, err := io.ReadAll(pipe)
		if err != nil {
			return err
		}
		got = string(all)
		next, err := s.Receive()
		if err != nil || next.GetStdinClose() == nil {
			return errors.Join(errors.New("the end is not told: "+next.String()), err)
		}
		return s.Send(exit(&apipb.ExecExit{Code: 7}))
	})
	file := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	input, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	cfg, _, _ := config(input)
	cfg.Pipes = path
	ended, err := Run(t.Context(), client, cfg)
	if err != nil || ended.Code != 7 {
		t.Errorf("Run = %+v, %v", ended, err)
	}
	if got != text {
		t.Errorf("%d bytes came of %d", len(got), len(text))
	}
}

// A command that ends before its input does, with the pipe full or closed, is
// not waited for.
func TestInputThroughAPipeThatNobodyReads(t *testing.T) {
	taken, path := pipes(t)
	for _, closes := range []bool{false, true} {
		full, fill := pipe(t)
		filled := make(chan struct{})
		client := serve(t, func(_ context.Context, s *stream) error {
			pipe, err := takeInput(s, taken)
			if err != nil {
				return err
			}
			defer pipe.Close()
			if closes {
				_ = pipe.Close()
			}
			<-filled
			return s.Send(exit(&apipb.ExecExit{Code: 7}))
		})
		go func() {
			// More than one pipe holds; the rest waits for whoever reads.
			_, _ = fill.Write(make([]byte, 128<<10))
			close(filled)
			_, _ = fill.Write(make([]byte, 4*pipeSize))
		}()
		cfg, _, _ := config(full)
		cfg.Pipes = path
		if ended, err := Run(t.Context(), client, cfg); err != nil || ended.Code != 7 {
			t.Errorf("Run = %+v, %v", ended, err)
		}
		_ = full.Close()
	}
}

// Where frames are as good or better, there is no pipe.
func TestInputInFramesWhereAPipeIsNoBetter(t *testing.T) {
	_, path := pipes(t)
	read, _ := pipe(t)
	master, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer terminal.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for what, c := range map[string]struct {
		stdin   *os.File
		pipes   string
		session *apipb.ExecSession
		pipe    bool
	}{
		"a pipe":                {stdin: read, pipes: path, pipe: true},
		"none":                  {pipes: path},
		"a terminal":            {stdin: terminal, pipes: path},
		"nothing":               {stdin: null, pipes: path},
		"a directory":           {stdin: dir, pipes: path},
		"a daemon that has not": {stdin: read, pipes: path + ".old"},
		"a session":             {stdin: read, pipes: path, session: &apipb.ExecSession{}},
	} {
		cfg := Config{Start: &apipb.ExecStart{Session: c.session}, Stdin: c.stdin, Pipes: c.pipes}
		i := openInput(t.Context(), cfg)
		if (i != nil) != c.pipe {
			t.Errorf("%s: a pipe is used: %v", what, i != nil)
		}
		i.close()
	}
}
