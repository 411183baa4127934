package session

import (
	"context"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/sero-labs/sero-runtime/internal/handover"
)

// output is a pipe from the daemon to standard output, which moves much of it in
// a fraction of the time that frames take.
type output struct {
	name   string // that the daemon has the other end by
	pipe   *os.File
	to     *os.File
	copied chan struct{} // closed when all is copied
	begun  bool
}

// openOutput hands a pipe to the daemon; nil if there is no use for one, or no
// way. On a terminal, and where both outputs are one file, frames keep their
// order; what is thrown away needs no hurry.
func openOutput(ctx context.Context, cfg Config) *output {
	to, ok := cfg.Stdout.(*os.File)
	if !ok || cfg.Pipes == "" || cfg.Start.GetSession() != nil {
		return nil
	}
	stdout, kind := identity(to)
	if kind == unix.S_IFCHR || kind == 0 {
		return nil
	}
	if errs, ok := cfg.Stderr.(*os.File); ok {
		if stderr, _ := identity(errs); stderr == stdout {
			return nil
		}
	}
	name, pipe := handOver(ctx, cfg.Pipes, handover.WriteEnd)
	if pipe == nil {
		return nil
	}
	return &output{name: name, pipe: pipe, to: to, copied: make(chan struct{})}
}

// copy copies until the daemon has closed its end.
func (o *output) copy() error {
	defer close(o.copied)
	_, err := io.CopyBuffer(struct{ io.Writer }{o.to}, struct{ io.Reader }{o.pipe}, make([]byte, pipeSize))
	return err
}

// await waits until all is copied, if anything is to be.
func (o *output) await(ctx context.Context) {
	if o == nil || !o.begun {
		return
	}
	select {
	case <-o.copied:
	case <-ctx.Done():
	}
}

func (o *output) close() {
	if o != nil {
		_ = o.pipe.Close()
	}
}

// file tells one file from another.
type file struct{ dev, ino uint64 }

// identity is which file it is, and of what kind (S_IFMT), 0 if that is not known.
func identity(f *os.File) (file, uint32) {
	raw, err := f.SyscallConn()
	if err != nil {
		return file{}, 0
	}
	var stat unix.Stat_t
	if controlErr := raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &stat) }); controlErr != nil || err != nil {
		return file{}, 0
	}
	return file{uint64(stat.Dev), stat.Ino}, uint32(stat.Mode) & unix.S_IFMT
}
