package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standin/engine"
)

// drainTime is how long the CLI waits for the streams once the process has
// ended: facts 6.2.
const drainTime = 3 * time.Second

// execution is one process in a container.
type execution struct {
	s         *session
	container record
	id        string // the engine's
	process   string // the CLI's, in error texts
	name      string // the executable
	tty       bool
	input     bool
	pid       int
	conn      *engine.Conn
}

func execContainer(ctx context.Context, s *session) error {
	id := s.call.Arg("container-id")
	r, err := s.running(ctx, id)
	if err != nil {
		return err
	}
	command := s.call.Args("arguments")
	e := &execution{
		s: s, container: r, process: newUUID(), name: command[0],
		tty: s.call.Has("--tty"), input: s.call.Has("--interactive"),
	}
	if e.tty && e.input && !e.onTerminal() {
		return failure(internalError, `failed to exec process POSIXErrorCode(rawValue: 25): Inappropriate ioctl for device`)
	}
	if s.strikes("exec-not-running") {
		return failure(internalError, "failed to create process in container").because(
			failure(invalidState, "cannot exec: container is not running"))
	}
	body, err := e.body(command)
	if err != nil {
		return err
	}
	if s.call.Has("--detach") {
		return e.detach(ctx, body)
	}
	return e.run(ctx, body)
}

// onTerminal tells whether the terminal that -it needs is there. Up to 0.7 the
// CLI took whichever stream is one.
func (e *execution) onTerminal() bool {
	if e.s.has("redirect-ignored") {
		return term.IsTerminal(2) || term.IsTerminal(1) || term.IsTerminal(0)
	}
	return term.IsTerminal(0)
}

// running finds a container that runs.
func (s *session) running(ctx context.Context, id string) (record, error) {
	if how := s.state.brokenness(id); strings.HasPrefix(how, "ghost") {
		return record{}, failure(internalError, "failed to create process in container").because(ghostError(s, id))
	}
	r, found, err := s.state.load(id)
	if err != nil {
		return r, err
	}
	if !found || s.state.brokenness(id) == "stale-name" {
		return r, failure(notFound, "get failed: container %s not found", id)
	}
	var below struct{ State struct{ Running bool } }
	if err := s.engine.Call(ctx, http.MethodGet, "/containers/"+r.EngineID+"/json", nil, nil, &below); err != nil && !engine.NotFound(err) {
		return r, err
	}
	if !below.State.Running {
		return r, failure(invalidState, "container %s is not running", id)
	}
	return r, nil
}

func (e *execution) body(command []string) (map[string]any, error) {
	env, err := parseEnv(e.s.call.All("--env-file"), e.s.call.All("--env"))
	if err != nil {
		return nil, err
	}
	if e.s.has("environment-kept") {
		env = without(env, e.container.Process.Env)
	}
	workdir, ok := e.s.call.Last("--workdir")
	if !ok {
		workdir = e.container.Process.Workdir
	}
	return map[string]any{
		"AttachStdin": e.input, "AttachStdout": true, "AttachStderr": !e.tty, "Tty": e.tty,
		"Cmd": command, "Env": env, "WorkingDir": workdir, "User": e.s.user(e.container.Process.User),
	}, nil
}

// without drops the variables that the container already has: the guest sees
// both, and the first counts (facts 6.1).
func without(env, has []string) []string {
	names := map[string]bool{}
	for _, variable := range has {
		name, _, _ := strings.Cut(variable, "=")
		names[name] = true
	}
	var kept []string
	for _, variable := range env {
		if name, _, _ := strings.Cut(variable, "="); !names[name] {
			kept = append(kept, variable)
		}
	}
	return kept
}

func (e *execution) create(ctx context.Context, body any) error {
	var made struct{ Id string } //nolint:revive // the engine's spelling
	err := e.s.engine.Call(ctx, http.MethodPost, "/containers/"+e.container.EngineID+"/exec", nil, body, &made)
	e.id = made.Id
	if engine.NotFound(err) || isConflict(err) {
		return failure(internalError, "failed to create process in container").because(
			failure(invalidState, "cannot exec: container is not running"))
	}
	return err
}

func isConflict(err error) bool {
	refused, ok := errors.AsType[*engine.Error](err)
	return ok && refused.Status == http.StatusConflict
}

func (e *execution) detach(ctx context.Context, body map[string]any) error {
	body["AttachStdin"], body["AttachStdout"], body["AttachStderr"] = false, false, false
	if err := e.create(ctx, body); err != nil {
		return err
	}
	err := e.s.engine.Call(ctx, http.MethodPost, "/exec/"+e.id+"/start", nil, map[string]any{"Detach": true, "Tty": e.tty}, nil)
	if refused, ok := errors.AsType[*engine.Error](err); ok {
		return e.refusal(refused.Message)
	}
	if err != nil {
		return err
	}
	e.s.printf("%s\n", e.container.ID)
	return nil
}

func (e *execution) run(ctx context.Context, body map[string]any) error {
	restore, err := e.prepareTerminal()
	if err != nil {
		return err
	}
	defer restore()
	signals := e.catchSignals()
	code, err := e.attempt(ctx, body, signals)
	if missing, ok := errors.AsType[noDirectory](err); ok && e.s.version.AtLeast(0, 12) {
		// From 0.12 the guest makes the directory: facts 6.1.
		if err := e.makeDirectory(ctx, string(missing)); err != nil {
			return err
		}
		code, err = e.attempt(ctx, body, signals)
	}
	if missing, ok := errors.AsType[noDirectory](err); ok {
		return e.s.startFailure(e.container.ID, e.process, fmt.Sprintf("failed to change directory to '%s'", string(missing)))
	}
	if err != nil {
		return err
	}
	return exitCode(code)
}

// attempt runs the process once, to its end.
func (e *execution) attempt(ctx context.Context, body map[string]any, signals <-chan os.Signal) (int, error) {
	if err := e.create(ctx, body); err != nil {
		return 0, err
	}
	conn, err := e.s.engine.Hijack(ctx, "/exec/"+e.id+"/start", map[string]any{"Detach": false, "Tty": e.tty})
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	e.conn = conn
	streams := make(chan error, 1)
	outcome := &reply{stdout: e.writer(1), stderr: e.writer(2)}
	go func() { streams <- e.copyOutput(outcome) }()
	if err := e.watch(ctx); err != nil {
		return 0, err
	}
	if e.pid != 0 {
		outcome.begin()
		go e.forward(ctx, signals)
		if e.input {
			go e.copyInput()
		}
	}
	if err := e.drain(ctx, streams); err != nil {
		return 0, err
	}
	if e.pid == 0 {
		return 0, e.refusal(outcome.text())
	}
	return e.exitCode(ctx)
}

// copyOutput copies what the process writes until the engine ends the stream.
func (e *execution) copyOutput(to *reply) error {
	if e.tty {
		_, err := io.Copy(to, e.conn)
		return err
	}
	return engine.Demultiplex(e.conn, to, to.stderr)
}

// watch learns the process's id as soon as it has one; it has none when the
// engine could not start it.
func (e *execution) watch(ctx context.Context) error {
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		var below struct {
			Pid      int
			Running  bool
			ExitCode *int
		}
		if err := e.s.engine.Call(ctx, http.MethodGet, "/exec/"+e.id+"/json", nil, nil, &below); err != nil {
			return err
		}
		if below.Pid != 0 || below.ExitCode != nil && !below.Running {
			e.pid = below.Pid
			return nil
		}
		time.Sleep(pause)
	}
}

// drain waits for the end of the streams, and once the process has ended only so
// long.
func (e *execution) drain(ctx context.Context, streams <-chan error) error {
	if e.pid == 0 {
		return <-streams
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		waitProcess(e.pid)
	}()
	select {
	case err := <-streams:
		return err
	case <-ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	// The engine itself gives up after two seconds and says end of stream. A busy
	// machine may need some of that time for streams that nobody holds.
	patience := 1800 * time.Millisecond
	if !e.s.has("drain-fails") {
		return <-streams
	}
	select {
	case err := <-streams:
		return err
	case <-time.After(patience):
	}
	time.Sleep(drainTime - patience)
	return failure(internalError, "failed to exec process timeout: \"Operation timed out after 3 seconds\"")
}

func (e *execution) exitCode(ctx context.Context) (int, error) {
	deadline := time.Now().Add(10 * time.Second)
	for pause := 2 * time.Millisecond; time.Now().Before(deadline); pause = min(2*pause, 50*time.Millisecond) {
		var below struct {
			Running  bool
			ExitCode *int
		}
		if err := e.s.engine.Call(ctx, http.MethodGet, "/exec/"+e.id+"/json", nil, nil, &below); err != nil {
			return 0, err
		}
		if !below.Running && below.ExitCode != nil {
			return *below.ExitCode, nil
		}
		time.Sleep(pause)
	}
	return 0, failure(internalError, "failed to exec process: no exit status")
}

func (e *execution) makeDirectory(ctx context.Context, path string) error {
	maker := *e
	body := map[string]any{"Cmd": []string{"mkdir", "-p", path}, "User": "0", "AttachStdout": true}
	if err := maker.create(ctx, body); err != nil {
		return err
	}
	answer, err := e.s.engine.Stream(ctx, http.MethodPost, "/exec/"+maker.id+"/start", nil, map[string]any{"Detach": false})
	if err != nil {
		return err
	}
	defer answer.Close()
	_, err = io.Copy(io.Discard, answer)
	return err
}
