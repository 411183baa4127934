package session

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sero-labs/sero-runtime/internal/handover"
)

// input is a pipe to the daemon for standard input, as output is one from it.
type input struct {
	name string // that the daemon has the other end by
	pipe *os.File
}

// openInput hands a pipe to the daemon; nil if there is no use for one, or no
// way: what a terminal or a device gives is little.
func openInput(ctx context.Context, cfg Config) *input {
	if cfg.Stdin == nil || cfg.Pipes == "" || cfg.Start.GetSession() != nil {
		return nil
	}
	switch _, kind := identity(cfg.Stdin); kind {
	case unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK:
	default:
		return nil
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil
	}
	defer read.Close()
	enlarge(write)
	name, err := handover.Give(ctx, cfg.Pipes, read)
	if err != nil { // such as a daemon of an earlier version
		_ = write.Close()
		return nil
	}
	return &input{name: name, pipe: write}
}

// copy copies until the end of from, whose error it returns, and closes the pipe;
// errStream if the daemon takes no more.
func (i *input) copy(from io.Reader) error {
	buf := make([]byte, pipeSize)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, writeErr := i.pipe.Write(buf[:n]); writeErr != nil {
				return errStream
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			i.close()
			return nil
		case err != nil:
			return err
		}
	}
}

func (i *input) close() {
	if i != nil {
		_ = i.pipe.Close()
	}
}
