package main

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

// reply is the process's stdout. The engine says in the stream itself why it could
// not start a process, so nothing is passed on until the process is known to run.
type reply struct {
	stdout, stderr io.Writer

	writing sync.Mutex // orders what goes to stdout
	held    bytes.Buffer
	runs    bool
}

func (r *reply) Write(p []byte) (int, error) {
	r.writing.Lock()
	defer r.writing.Unlock()
	if r.runs {
		return r.stdout.Write(p)
	}
	return r.held.Write(p)
}

// begin passes on what was held, and all that comes.
func (r *reply) begin() {
	r.writing.Lock()
	defer r.writing.Unlock()
	r.runs = true
	_, _ = r.stdout.Write(r.held.Bytes()) // a reader that is gone is no error of the process
	r.held.Reset()
}

// text is what was held: the engine's words, where no process runs.
func (r *reply) text() string {
	r.writing.Lock()
	defer r.writing.Unlock()
	return r.held.String()
}

// noDirectory is a working directory that is not there.
type noDirectory string

func (d noDirectory) Error() string { return "no directory " + string(d) }

var missingDirectory = regexp.MustCompile(`chdir to cwd \("([^"]*)"\)`)

// refusal says in Apple's words why the engine did not start a process.
func (e *execution) refusal(text string) error {
	if found := missingDirectory.FindStringSubmatch(text); found != nil {
		return noDirectory(found[1])
	}
	if strings.Contains(text, "permission denied") || strings.Contains(text, "exec format error") {
		return e.s.startFailure(e.container.ID, e.process, "failed to exec: EACCES")
	}
	if strings.Contains(text, "unable to find user") {
		return e.s.startFailure(e.container.ID, e.process, "unable to find user in /etc/passwd")
	}
	if e.s.has("exec-breaks-container") {
		_ = e.s.breakContainer(context.Background(), e.container.ID, "ghost") // the error below counts
	}
	if e.tty && e.input && e.s.has("missing-executable-hangs") {
		time.Sleep(time.Duration(1<<63 - 1))
	}
	return e.s.noExecutable(e.container.ID, e.process, e.name)
}

func (s *session) noExecutable(container, process, name string) error {
	return s.startFailure(container, process, "failed to find target executable "+name)
}

// startFailure wraps a reason as it arrives from the guest: the log of #1277.
func (s *session) startFailure(container, process, reason string) error {
	guest := `internal error (13): startProcess: failed to start process: internalError: "vmexec error: internalError: "` + reason + `""`
	return failure(internalError, "failed to start process %s in container %s", process, container).because(
		failure(internalError, "failed to start process (cause: \"%s\")", guest))
}
