package fake

import (
	"context"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// manners are those of a good driver, but for faults.
func (d *Driver) manners() manners {
	m := manners{
		ignore: d.has("cancel-ignored"), early: d.has("cancel-early"),
		noPolite: d.has("no-politeness"), noKill: d.has("no-kill"),
		groupOnly: d.has("group-only"), everyone: d.has("cancel-everyone"),
		waitAll: d.has("waits-for-orphans"), apart: d.has("tty-apart"),
		lossEnds: d.has("loss-ends-input"),
	}
	if d.has("tty-term") {
		m.polite = "SIGTERM"
	}
	return m
}

// Exec may do everything wrong that the contract speaks of.
func (f *faulty) Exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	if f.has("sixteen-commands") {
		f.slots <- struct{}{}
		defer func() { <-f.slots }()
	}
	f.changeCommand(&spec)
	end := f.changeStreams(spec, &stdio)
	defer f.expose(spec)()
	if f.has("missing-hangs") && f.missing(spec) {
		<-ctx.Done()
		return driver.ExitStatus{}, context.Cause(ctx)
	}
	if f.has("missing-is-127") && f.missing(spec) {
		stdio.Started(1)
		return driver.ExitStatus{Code: 127}, nil
	}
	status, err := f.Driver.Exec(ctx, spec, stdio)
	end(err)
	return f.changeStatus(status, f.changeError(err))
}

func (f *faulty) missing(spec driver.ExecSpec) bool {
	sb, err := f.running(spec.SandboxID)
	if err != nil {
		return false
	}
	return driver.ReasonOf(newExecution(sb, spec).resolve()) == driver.CommandNotFound
}

func (f *faulty) changeCommand(spec *driver.ExecSpec) {
	if f.has("empty-arguments") {
		spec.Argv = slices.DeleteFunc(slices.Clone(spec.Argv), func(a string) bool { return a == "" })
	}
	if f.has("exec-env") {
		spec.Env = nil
	}
	if f.has("exec-dir") {
		spec.Dir = ""
	}
	if f.has("exec-user") {
		spec.User = ""
	}
	if f.has("detach-ignored") {
		spec.Detach = false
	}
	if f.has("tty-size") && spec.Terminal != nil {
		spec.Terminal = &driver.TerminalSize{Rows: 24, Cols: 80}
	}
	if f.has("tty-always") && strings.Contains(strings.Join(spec.Argv, " "), "test -t") && spec.Terminal == nil {
		spec.Terminal = &driver.TerminalSize{Rows: 24, Cols: 80}
	}
}

// changeStreams spoils the streams; what it returns is to be called last.
func (f *faulty) changeStreams(spec driver.ExecSpec, x *driver.ExecIO) (end func(error)) {
	end = func(error) {}
	if f.has("streams-joined") {
		x.Stderr = x.Stdout
	}
	if f.has("text-mode") {
		x.Stdout = mangle{x.Stdout}
	}
	if f.has("output-cut") {
		x.Stdout = &cutting{to: x.Stdout, left: 4 << 20}
	}
	if f.has("no-linux") {
		x.Stdout = renaming{x.Stdout}
	}
	if f.has("unbounded") {
		q := newQueue(x.Stdout)
		x.Stdout, end = q, func(error) { q.close() }
	}
	if f.has("no-signals") {
		x.Signals = nil
	}
	if f.has("tty-rigid") {
		x.Resize = nil
	}
	if started := x.Started; f.has("wrong-pid") {
		x.Started = func(pid int64) { started(pid + 1000) }
	}
	return f.changeInput(spec, x, end)
}

func (f *faulty) changeInput(spec driver.ExecSpec, x *driver.ExecIO, end func(error)) func(error) {
	switch {
	case f.has("stdin-ends") && spec.Terminal == nil:
		x.Stdin = &onePiece{from: x.Stdin}
	case f.has("stdin-open"):
		x.Stdin = neverEnding{x.Stdin}
	case f.has("tty-deaf") && spec.Terminal != nil:
		x.Stdin = deaf{x.Stdin}
	case f.has("drains-stdin"):
		r := &watched{from: x.Stdin}
		x.Stdin = r
		return r.drain
	case f.has("signal-queued"):
		r := &watched{from: x.Stdin}
		over := make(chan struct{})
		x.Stdin, x.Signals = r, r.hold(x.Signals, over)
		return func(error) { close(over) }
	}
	return end
}

func (f *faulty) changeStatus(s driver.ExitStatus, err error) (driver.ExitStatus, error) {
	if f.has("seven-bits") {
		s.Code &= 0x7f
	}
	if f.has("signal-as-code") && s.Signal != "" {
		s = driver.ExitStatus{Code: s.ShellCode()}
	}
	return s, err
}

func (f *faulty) changeError(err error) error {
	e := driver.AsError(err)
	switch driver.ReasonOf(err) {
	case driver.CommandNotExecutable:
		if f.has("not-executable") {
			e.Reason = driver.CommandNotFound
		}
	case driver.NotRunning:
		if f.has("not-running") {
			e.Reason = driver.Internal
		}
	case driver.NotFound:
		if f.has("exec-absent") {
			return driver.Errorf(driver.NotRunning, "%s", e.Message).About(e.Resource).Remedy("start it first")
		}
	default:
	}
	return err
}

// expose starts real processes where faults leave something on the host, and
// gives what ends them.
func (f *faulty) expose(spec driver.ExecSpec) (end func()) {
	var args []string
	for _, v := range spec.Env {
		if v.Secret && f.has("secret-shown") {
			args = []string{"sh", "-c", "sleep 5; :", "sh", v.Value}
		}
	}
	if script := spec.Argv[max(0, len(spec.Argv)-1):]; f.has("leaves-command") && len(script) > 0 {
		fields := strings.Fields(script[0])
		n, err := strconv.Atoi(fields[max(0, len(fields)-1)])
		if err == nil && n > 100_000_000 { // as the suite marks what it looks for
			args = []string{"sleep", strconv.Itoa(n)}
		}
	}
	if args == nil {
		return func() {}
	}
	return startStray(args...)
}

// startStray runs a program of the host in its own session. It is reaped when it
// ends, or killed by what is returned.
func startStray(args ...string) (end func()) {
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // to outlive what it should not is its purpose
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if cmd.Start() != nil {
		return func() {}
	}
	go cmd.Wait() //nolint:errcheck // it was killed, or has slept enough
	return func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// cutting drops what is too much.
type cutting struct {
	to   io.Writer
	left int
}

// Write passes on what is left of the limit.
func (c *cutting) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	if n > 0 {
		if _, err := c.to.Write(p[:n]); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// renaming calls Linux something else.
type renaming struct{ to io.Writer }

// Write passes p on.
func (r renaming) Write(p []byte) (int, error) {
	if string(p) == "Linux\n" {
		p = []byte("Other\n")
	}
	return r.to.Write(p)
}

// queue keeps all that its reader does not take.
type queue struct {
	to   io.Writer
	mu   sync.Mutex
	cond sync.Cond
	data [][]byte
	over bool
	done chan struct{}
}

func newQueue(to io.Writer) *queue {
	q := &queue{to: to, done: make(chan struct{})}
	q.cond.L = &q.mu
	go q.pump()
	return q
}

// Write keeps p.
func (q *queue) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.data = append(q.data, slices.Clone(p))
	q.cond.Signal()
	return len(p), nil
}

func (q *queue) pump() {
	defer close(q.done)
	for {
		q.mu.Lock()
		for len(q.data) == 0 && !q.over {
			q.cond.Wait()
		}
		if len(q.data) == 0 {
			q.mu.Unlock()
			return
		}
		p := q.data[0]
		q.data = q.data[1:]
		q.mu.Unlock()
		if _, err := q.to.Write(p); err != nil {
			return
		}
	}
}

func (q *queue) close() {
	q.mu.Lock()
	q.over = true
	q.cond.Signal()
	q.mu.Unlock()
	<-q.done
}

// onePiece ends after its first piece.
type onePiece struct {
	from io.Reader
	read bool
}

// Read gives the first piece only.
func (o *onePiece) Read(p []byte) (int, error) {
	if o.read {
		return 0, io.EOF
	}
	n, err := o.from.Read(p)
	o.read = n > 0
	return n, err
}

// neverEnding blocks where its reader should see the end.
type neverEnding struct{ from io.Reader }

// Read gives everything but the end.
func (r neverEnding) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if n == 0 && err == io.EOF {
		select {}
	}
	return n, err
}

// deaf drops ^C.
type deaf struct{ from io.Reader }

// Read gives everything but ^C.
func (r deaf) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	for i, b := range p[:n] {
		if b == 0x03 {
			p[i] = ' '
		}
	}
	return n, err
}

// watched knows whether what was read has been taken: its reader comes back for
// more only then.
type watched struct {
	from io.Reader
	mu   sync.Mutex
	held bool // a piece is on its way to the command
	end  bool
}

// Read gives the next piece.
func (w *watched) Read(p []byte) (int, error) {
	w.set(false)
	n, err := w.from.Read(p)
	w.mu.Lock()
	w.held, w.end = n > 0, err != nil
	w.mu.Unlock()
	return n, err
}

func (w *watched) set(held bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = held
}

func (w *watched) holds() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.held
}

// drain reads on if there is input, and while there is.
func (w *watched) drain(err error) {
	if err != nil {
		return
	}
	time.Sleep(20 * time.Millisecond) // let what was taken be seen as taken
	for w.holds() {
		if n, err := w.from.Read(make([]byte, chunk)); n == 0 || err != nil {
			return
		}
	}
}

// hold passes signals on once no input is on its way.
func (w *watched) hold(signals <-chan string, over <-chan struct{}) <-chan string {
	out := make(chan string)
	go func() {
		for {
			select {
			case <-over:
				return
			case name := <-signals:
				for w.holds() {
					select {
					case <-over:
						return
					case <-time.After(time.Millisecond):
					}
				}
				select {
				case out <- name:
				case <-over:
					return
				}
			}
		}
	}()
	return out
}
