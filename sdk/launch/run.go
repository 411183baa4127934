package launch

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/sero-labs/sero-runtime/internal/inherit"
	"github.com/sero-labs/sero-runtime/internal/oneline"
	"github.com/sero-labs/sero-runtime/internal/peer"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/internal/plug"
)

var errStartTimeout = errors.New("the driver took too long to start")

// lastWords is how long output is still read after a process has ended while
// something that it left behind holds the pipe open.
const lastWords = 300 * time.Millisecond

// maxHandshakeLine bounds go-plugin's handshake line.
const maxHandshakeLine = 4 << 10

// run is one driver process. It is go-plugin's runner.Runner: go-plugin sees the
// handshake line on its standard output and nothing else of it.
type run struct {
	config    Config
	cmd       *exec.Cmd
	socketDir string
	log       *slog.Logger
	tail      tail

	exited chan struct{} // closed when reaped and drained
	state  *os.ProcessState

	handshakeR *io.PipeReader // what go-plugin reads
	handshakeW *io.PipeWriter

	mu       sync.Mutex
	process  *os.Process
	killed   bool     // before it started, too
	lifeline *os.File // write end; closing it ends the driver
	line     string   // the first line of its standard output
	gotLine  bool
	spawnErr error

	connections map[*grpc.ClientConn]bool
}

func newRun(c Config) *run {
	r := &run{config: c, exited: make(chan struct{}), log: c.Log.With("driver", c.Name), connections: map[*grpc.ClientConn]bool{}}
	r.handshakeR, r.handshakeW = io.Pipe()
	return r
}

// prepare makes the command from go-plugin's variables and our own.
func (r *run) prepare(pluginEnv []string, socketDir string) {
	r.socketDir = socketDir
	r.cmd = exec.Command(r.config.Path, r.config.Args...) //nolint:noctx // it outlives every context; Close and the lifeline end it
	if path := opened(r.config.File); path != "" {
		r.cmd.Path, r.cmd.Err = path, nil // its first argument stays the path
	}
	r.cmd.Env = append(append([]string{}, r.config.Env...), pluginEnv...)
	r.cmd.Env = append(r.cmd.Env,
		plug.HostPIDEnv+"="+strconv.Itoa(os.Getpid()),
		plug.LifelineEnv+"="+strconv.Itoa(plug.LifelineFD))
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.cmd.Dir = "/"
}

// noteConnection remembers each connection by its first stream, which go-plugin
// opens: it forgets to close one whose driver ends meanwhile, and gRPC would try
// it again for ever.
func (r *run) noteConnection(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
	open grpc.Streamer, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	r.mu.Lock()
	r.connections[conn] = true
	r.mu.Unlock()
	return open(ctx, desc, conn, method, options...)
}

func (r *run) closeConnections() {
	r.mu.Lock()
	open := slices.Collect(maps.Keys(r.connections))
	r.mu.Unlock()
	for _, conn := range open {
		_ = conn.Close() // once more does no harm
	}
}

// Start starts the process: runner.Runner.
func (r *run) Start(context.Context) error {
	stdoutR, stdoutW, err := os.Pipe()
	if err != nil {
		return err
	}
	stderrR, stderrW, err := os.Pipe()
	if err != nil {
		return errors.Join(err, stdoutR.Close(), stdoutW.Close())
	}
	lifeR, lifeW, err := os.Pipe()
	if err != nil {
		return errors.Join(err, stdoutR.Close(), stdoutW.Close(), stderrR.Close(), stderrW.Close())
	}
	r.cmd.Stdout, r.cmd.Stderr = stdoutW, stderrW
	r.cmd.ExtraFiles = []*os.File{lifeR}
	inherit.CloseOnExec()
	done := inherit.DefaultSignals()
	err = r.cmd.Start()
	done()
	_ = errors.Join(stdoutW.Close(), stderrW.Close(), lifeR.Close()) // the child has its own
	if err != nil {
		_ = errors.Join(stdoutR.Close(), stderrR.Close(), lifeW.Close())
		r.mu.Lock()
		r.spawnErr = err
		r.mu.Unlock()
		close(r.exited)
		return err
	}
	r.mu.Lock()
	r.process, r.lifeline = r.cmd.Process, lifeW
	killed := r.killed
	r.mu.Unlock()
	if killed { // the caller gave up meanwhile
		r.killGroup()
	}
	var readers sync.WaitGroup
	readers.Go(func() { r.readStdout(stdoutR) })
	readers.Go(func() { r.readStderr(stderrR) })
	go r.reap(&readers, stdoutR, stderrR)
	return nil
}

// reap waits for the process and for its last words, and ends its group.
func (r *run) reap(readers *sync.WaitGroup, pipes ...*os.File) {
	_ = r.cmd.Wait() // the state says it all
	r.killGroup()
	for _, p := range pipes {
		_ = p.SetReadDeadline(time.Now().Add(lastWords))
	}
	readers.Wait()
	for _, p := range pipes {
		_ = p.Close()
	}
	_ = r.handshakeW.Close()
	r.state = r.cmd.ProcessState
	r.closeLifeline()
	close(r.exited)
}

// readStdout hands the first line to go-plugin and the rest to the log.
func (r *run) readStdout(f *os.File) {
	defer func() { _ = r.handshakeW.Close() }()
	br := bufio.NewReaderSize(f, maxHandshakeLine)
	first, err := br.ReadSlice('\n') // at most the reader's size
	r.mu.Lock()
	r.line, r.gotLine = strings.TrimSpace(string(first)), len(first) > 0
	r.mu.Unlock()
	if len(first) > 0 {
		if !strings.HasSuffix(string(first), "\n") {
			first = append(first, '\n')
		}
		if _, werr := r.handshakeW.Write(first); werr != nil {
			r.log.Debug("nobody waits for the handshake line")
		}
	}
	_ = r.handshakeW.Close()
	if err == nil || errors.Is(err, bufio.ErrBufferFull) {
		_, _ = io.Copy(r.noise("stdout"), br)
	}
}

func (r *run) readStderr(f *os.File) {
	logs := r.noise("stderr")
	_, _ = io.Copy(io.MultiWriter(&r.tail, logs), f) // ends with the pipe
}

// noise is a writer whose lines go to the log.
func (r *run) noise(stream string) io.Writer {
	return &lineLog{log: r.log.With("stream", stream)}
}

// Stdout is what go-plugin reads: the handshake line.
func (r *run) Stdout() io.ReadCloser { return r.handshakeR }

// Stderr is empty for go-plugin: its reader takes what looks like JSON for a
// trusted log record and can be made to panic by it.
func (r *run) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name is the path: runner.Runner.
func (r *run) Name() string { return r.config.Path }

// ID is the process id: runner.Runner.
func (r *run) ID() string { return strconv.Itoa(r.pid()) }

// Wait waits for the end of the process: runner.Runner.
func (r *run) Wait(context.Context) error {
	<-r.exited
	return nil
}

// Kill kills the process group: runner.Runner.
func (r *run) Kill(context.Context) error {
	r.killGroup()
	return nil
}

// Diagnose has nothing to add; explain has it all: runner.Runner.
func (r *run) Diagnose(context.Context) string { return "" }

// PluginToHost keeps the address: runner.Runner.
func (r *run) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin keeps the address: runner.Runner.
func (r *run) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

func (r *run) started() bool { return r.pid() != 0 }

func (r *run) pid() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return 0
	}
	return r.process.Pid
}

func (r *run) kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process != nil {
		_ = r.process.Kill()
	}
}

// killGroup kills the driver and what shares its group. What it started for
// good has a group of its own.
func (r *run) killGroup() {
	r.mu.Lock()
	r.killed = true
	r.mu.Unlock()
	if pid := r.pid(); pid > 1 {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
}

func (r *run) closeLifeline() {
	r.mu.Lock()
	lifeline := r.lifeline
	r.lifeline = nil
	r.mu.Unlock()
	if lifeline != nil {
		_ = lifeline.Close()
	}
}

func (r *run) cleanUp() {
	if r.socketDir != "" {
		_ = os.RemoveAll(r.socketDir)
	}
}

// ownPeer admits the driver itself to its own socket.
func (r *run) ownPeer(p peer.Process) error { return plug.OnlyGroup(r.pid())(p) }

// crash explains a broken connection: it waits a moment for the end of the
// process, which may follow its socket's by some milliseconds.
func (r *run) crash() error {
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case <-r.exited:
		return r.crashError()
	case <-timer.C:
		return nil
	}
}

func (r *run) crashError() error {
	return &driver.Error{
		Reason:    driver.DriverCrashed,
		Message:   "the driver's process ended (" + r.ending() + ")" + r.tail.quote(),
		Retryable: true,
		Remedies:  []driver.Remedy{{Text: "try again; the driver is started anew"}, {Text: "see the log", Command: []string{"sero", "daemon", "logs"}}},
	}
}

// ending is how the process ended: "exit status 2", "signal: killed".
func (r *run) ending() string {
	if r.state == nil {
		return "it never ran"
	}
	return r.state.String()
}

// explain turns a failed start into one line, from what was seen here and not
// from go-plugin's text.
func (r *run) explain(ctx context.Context, timeout time.Duration, cause error) error {
	r.mu.Lock()
	line, gotLine, spawnErr := r.line, r.gotLine, r.spawnErr
	r.mu.Unlock()
	switch {
	case spawnErr != nil:
		return explainSpawn(r.config.Path, spawnErr)
	case errors.Is(context.Cause(ctx), errStartTimeout):
		return driver.Errorf(driver.DriverFailed, "the driver did not start within %s%s", timeout, r.tail.quote()).
			Remedy("run it by hand to see what it waits for", r.config.Path)
	case ctx.Err() != nil:
		return driver.AsError(context.Cause(ctx))
	case gotLine:
		return explainLine(r.config.Path, line, cause)
	}
	if err := r.crash(); err != nil {
		return driver.Errorf(driver.DriverFailed, "the driver ended before it served (%s)%s", r.ending(), r.tail.quote()).
			Remedy("run it by hand to see why", r.config.Path)
	}
	return driver.Errorf(driver.DriverFailed, "the driver closed its standard output and did not serve%s", r.tail.quote())
}

func explainSpawn(path string, err error) error {
	e := driver.Errorf(driver.DriverFailed, "%s cannot be executed: %w", path, err).About(path)
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		return e.Remedy("install the build of this driver for this machine")
	case errors.Is(err, os.ErrPermission):
		return e.Remedy("make it executable", "chmod", "+x", path)
	default:
		return e
	}
}

// explainLine is for a driver that wrote something: a handshake that we cannot
// use, or something else.
func explainLine(path, line string, cause error) error {
	parts := strings.Split(line, "|")
	if len(parts) < 4 {
		return driver.Errorf(driver.DriverFailed, "the driver printed %q instead of its handshake", bounded(line)).
			Remedy("let it write to standard error, not to standard output, before it serves", path)
	}
	if version, err := strconv.Atoi(parts[1]); err != nil || version != plug.ProtocolVersion {
		e := driver.Errorf(driver.DriverIncompatible, "the driver speaks driver protocol %s, this sero speaks %d", bounded(parts[1]), plug.ProtocolVersion)
		if version > plug.ProtocolVersion {
			return e.Remedy("upgrade sero, or install an older version of the driver")
		}
		return e.Remedy("upgrade the driver")
	}
	if len(parts) < 5 || parts[4] != "grpc" {
		return driver.Errorf(driver.DriverIncompatible, "the driver does not speak gRPC").Remedy("build it with a current SDK")
	}
	return driver.Errorf(driver.DriverFailed, "the driver's handshake cannot be used: %w", cause)
}

// bounded is a text of the driver's for a message: printable and short.
func bounded(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > 80 {
		s = strings.ToValidUTF8(s[:80], "") + "…"
	}
	return strings.Map(func(c rune) rune {
		if oneline.Unfit(c) {
			return '?'
		}
		return c
	}, s)
}
