package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// pipeSize is the most that a pipe holds, and so the most that a command can
// have written that was not read when it ended.
const pipeSize = 64 << 10

// errLost ends a command whose caller is gone.
var errLost = driver.Errorf(driver.Canceled, "the caller is gone")

// pipes connect a command with its caller.
type pipes struct {
	stdio        driver.ExecIO
	in, out, err *os.File    // our ends
	lost         chan error  // the caller is gone
	dropping     atomic.Bool // output is read and dropped
	copying      sync.WaitGroup
}

func newPipes(stdio driver.ExecIO) *pipes {
	return &pipes{stdio: stdio, lost: make(chan error, 1)}
}

// start starts cmd with its three streams on the pipes.
func (p *pipes) start(cmd *exec.Cmd) error {
	stdin, in, err1 := os.Pipe()
	out, stdout, err2 := os.Pipe()
	stderrOut, stderr, err3 := os.Pipe()
	p.in, p.out, p.err = in, out, stderrOut
	err := errors.Join(err1, err2, err3)
	if err == nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
		err = cmd.Start()
	}
	closeAll(stdin, stdout, stderr)
	if err != nil {
		closeAll(p.in, p.out, p.err)
	}
	return err
}

// copy begins to carry bytes between the command and its caller.
func (p *pipes) copy() {
	go p.feed()
	p.copying.Go(func() { p.drain(p.stdio.Stdout, p.out) })
	p.copying.Go(func() { p.drain(p.stdio.Stderr, p.err) })
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// feed gives the command its input. The end of it closes the pipe; an error is
// the loss of the caller.
func (p *pipes) feed() {
	defer p.in.Close()
	if p.stdio.Stdin == nil {
		return
	}
	buf := make([]byte, driver.MaxFrame)
	for {
		n, err := p.stdio.Stdin.Read(buf)
		_, _ = p.in.Write(buf[:n]) // a command that does not read drops it
		if err != nil {
			if !errors.Is(err, io.EOF) {
				p.lose()
			}
			return
		}
	}
}

// drain passes on what the command writes, until end of file or, once the
// command has ended, until the pipe is empty: a process that it left behind may
// hold it open for ever.
func (p *pipes) drain(w io.Writer, r *os.File) {
	defer r.Close()
	buf := make([]byte, driver.MaxFrame)
	ended := false
	for left := pipeSize; left > 0; {
		if ended {
			_ = r.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		}
		n, err := r.Read(buf)
		if !ended && errors.Is(err, os.ErrDeadlineExceeded) { // see finish
			ended = true
			continue
		}
		if ended {
			left -= n
		}
		p.pass(w, buf[:n])
		if err != nil {
			return
		}
	}
}

func (p *pipes) pass(w io.Writer, b []byte) {
	if w == nil || len(b) == 0 || p.dropping.Load() {
		return
	}
	if _, err := w.Write(b); err != nil {
		p.drop()
		p.lose()
	}
}

// lose tells that the caller is gone.
func (p *pipes) lose() {
	select {
	case p.lost <- errLost:
	default:
	}
}

// drop drops all further output.
func (p *pipes) drop() { p.dropping.Store(true) }

// finish waits for the output of a command that has ended.
func (p *pipes) finish() {
	now := time.Now()
	_ = p.out.SetReadDeadline(now)
	_ = p.err.SetReadDeadline(now)
	p.copying.Wait()
	_ = p.in.Close() // wakes feed in a write that nobody reads
}
