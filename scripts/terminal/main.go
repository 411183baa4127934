// Command terminal runs a command on a terminal of its own, 100 columns wide
// and 30 rows high, types one line into it once the command is quiet, and exits
// as the command does: terminal LINE COMMAND [ARGUMENT...]. The demo uses it to
// show a shell to somebody who reads its output from a pipe.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"time"

	"github.com/creack/pty"
)

const (
	// quiet is how long a shell must be silent to be ready for a line.
	quiet = 700 * time.Millisecond
	// silence is how long a shell that says nothing at all is waited for.
	silence = 10 * time.Second
	// patience bounds everything.
	patience = time.Minute
)

// control is what a terminal would obey instead of showing it.
var control = regexp.MustCompile("\r|\x1b\\[[0-9;?]*[a-zA-Z]|\x1b\\][^\a]*\a")

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: terminal LINE COMMAND [ARGUMENT...]")
		os.Exit(2)
	}
	code, err := run(os.Args[1], os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "terminal:", err)
		os.Exit(125)
	}
	os.Exit(code)
}

func run(line string, command []string) (int, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, errors.New("it takes too long"))
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 30, Cols: 100})
	if err != nil {
		return 0, err
	}
	defer terminal.Close()

	output := make(chan string)
	go func() {
		defer close(output)
		buf := make([]byte, 4096)
		for {
			n, err := terminal.Read(buf)
			if n > 0 {
				output <- string(buf[:n])
			}
			if err != nil { // EIO once the last process on it has ended
				return
			}
		}
	}()
	typed := time.NewTimer(silence)
	defer typed.Stop()
	sent := false
	for {
		select {
		case text, open := <-output:
			if !open {
				return exitCode(ctx, cmd.Wait())
			}
			fmt.Print(control.ReplaceAllString(text, ""))
			if !sent {
				typed.Reset(quiet)
			}
		case <-typed.C:
			sent = true
			if _, err := terminal.WriteString(line + "\n"); err != nil {
				return 0, err
			}
		}
	}
}

func exitCode(ctx context.Context, err error) (int, error) {
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	return 0, err
}
