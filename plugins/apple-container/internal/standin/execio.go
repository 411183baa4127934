package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// fdWriter writes to a descriptor as the CLI does.
type fdWriter struct {
	fd  int
	cut bool // stop at EAGAIN, for good, and say nothing
	off bool
}

func (w *fdWriter) Write(p []byte) (int, error) {
	whole := len(p)
	for len(p) > 0 && !w.off {
		n, err := unix.Write(w.fd, p)
		switch {
		case n > 0:
			p = p[n:]
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN) && !w.cut:
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLOUT}}, -1) // the write tells
		default:
			// The CLI takes its handler away and drops the rest: ProcessIO.swift.
			w.off = true
		}
	}
	return whole, nil
}

// writer is where a stream of the process goes.
func (e *execution) writer(fd int) io.Writer {
	if e.tty && e.input && e.s.has("redirect-ignored") {
		for _, terminal := range []int{2, 1, 0} {
			if term.IsTerminal(terminal) {
				fd = terminal
				break
			}
		}
	}
	return &fdWriter{fd: fd, cut: e.input && e.s.has("stdin-nonblocking")}
}

// prepareTerminal makes the terminal raw for -it, and stdin non-blocking for -i,
// which stays so: the CLI restores the one and forgets the other.
func (e *execution) prepareTerminal() (restore func(), err error) {
	restore = func() {}
	if e.tty && e.input && term.IsTerminal(0) {
		old, err := term.MakeRaw(0)
		if err != nil {
			return restore, err
		}
		if e.s.has("terminal-output-processing") {
			processOutput(0)
		}
		restore = func() { _ = term.Restore(0, old) }
	}
	if e.input && e.s.has("stdin-nonblocking") {
		return restore, unix.SetNonblock(0, true)
	}
	return restore, nil
}

// copyInput passes stdin on until it ends.
func (e *execution) copyInput() {
	defer func() { _ = e.conn.CloseWrite() }()
	buffer := make([]byte, 4096)
	for {
		n, err := unix.Read(0, buffer)
		switch {
		case n > 0:
			if _, err := e.conn.Write(buffer[:n]); err != nil {
				return
			}
		case errors.Is(err, unix.EAGAIN):
			_, _ = unix.Poll([]unix.PollFd{{Fd: 0, Events: unix.POLLIN}}, -1) // the read tells
		case errors.Is(err, unix.EINTR):
		default:
			return
		}
	}
}

// catchSignals takes the signals that the CLI forwards, from now on.
func (e *execution) catchSignals() <-chan os.Signal {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH)
	return signals
}

// forward does with signals what the CLI does: with -it only the size of the
// terminal matters; else they are for the process, and the third of INT and TERM
// ends the CLI.
func (e *execution) forward(ctx context.Context, signals <-chan os.Signal) {
	terminal := e.tty && e.input && term.IsTerminal(0)
	if terminal {
		e.resize(ctx)
	}
	asked := 0
	for sig := range signals {
		if terminal {
			if sig == unix.SIGWINCH {
				e.resize(ctx)
			}
			continue
		}
		if !e.tty && (sig == unix.SIGINT || sig == unix.SIGTERM) {
			if asked++; asked == 3 {
				e.s.say("Received 3 SIGINT/SIGTERM's, forcefully exiting.")
				os.Exit(exitFailure) //nolint:forbidigo // as there, in the middle of everything
			}
		}
		if number, ok := sig.(unix.Signal); ok {
			e.kill(ctx, unix.SignalName(number))
		}
	}
}

func (e *execution) kill(ctx context.Context, name string) {
	if e.s.has("signals-lost") {
		// apple/container #1747, #1876.
		fmt.Fprintf(os.Stderr, "error com.apple.container: failed to send signal: signal=%s, error=invalidArgument: \"missing signal in xpc message\"\n", name)
		return
	}
	number := e.s.guestSignal(name)
	if unix.Kill(e.pid, number) == nil {
		return
	}
	// Not root: a process in the container sends it.
	maker := *e
	body := map[string]any{"Cmd": []string{"kill", "-" + strconv.Itoa(int(number)), strconv.Itoa(insidePID(e.pid))}, "User": "0"}
	if maker.create(ctx, body) == nil {
		_ = e.s.engine.Call(ctx, http.MethodPost, "/exec/"+maker.id+"/start", nil, map[string]any{"Detach": true}, nil) // a process that is gone
	}
}

func (e *execution) resize(ctx context.Context) {
	width, height, err := term.GetSize(0)
	if err != nil {
		return
	}
	query := url.Values{"h": {strconv.Itoa(height)}, "w": {strconv.Itoa(width)}}
	_ = e.s.engine.Call(ctx, http.MethodPost, "/exec/"+e.id+"/resize", query, nil, nil) // the process may be gone
}
