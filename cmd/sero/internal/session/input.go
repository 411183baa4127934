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
	name, pipe := handOver(ctx, cfg.Pipes, handover.ReadEnd)
	if pipe == nil {
		return nil
	}
	return &input{name: name, pipe: pipe}
}

// handOver makes a pipe, hands one end of it to the daemon, and gives the other;
// nil if there is no way, such as with a daemon of an earlier version.
func handOver(ctx context.Context, socket string, end handover.End) (name string, ours *os.File) {
	ours, theirs, err := os.Pipe()
	if err != nil {
		return "", nil
	}
	enlarge(theirs)
	if end == handover.ReadEnd {
		ours, theirs = theirs, ours
	}
	defer theirs.Close()
	if name, err = handover.Give(ctx, socket, theirs); err != nil {
		_ = ours.Close()
		return "", nil
	}
	return name, ours
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
