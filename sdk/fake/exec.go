package fake

import (
	"cmp"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// execution is one Exec under way: its processes, streams and terminal.
type execution struct {
	sb      *sandbox
	manners manners
	spec    driver.ExecSpec
	in      *input
	out     *pipe
	errs    *pipe
	env     map[string]string
	main    *process

	ended chan struct{} // the main process has ended, with status
	over  chan struct{} // Exec is returning

	mu     sync.Mutex
	size   driver.TerminalSize
	status driver.ExitStatus
}

// Exec runs one command of the fake's vocabulary.
func (d *Driver) Exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	s, err := d.begin(ctx, "Exec", spec.SandboxID)
	if err != nil {
		return driver.ExitStatus{}, err
	}
	if err := driver.NeedAll(d, spec.Needs()); err != nil {
		return driver.ExitStatus{}, err
	}
	if len(spec.Argv) == 0 {
		return driver.ExitStatus{}, &driver.Error{Reason: driver.InvalidArgument, Message: "no command was given", Field: "start.argv"}
	}
	sb, err := d.running(spec.SandboxID)
	if err != nil {
		return driver.ExitStatus{}, err
	}
	x := newExecution(sb, spec)
	x.manners = d.manners()
	if err := x.resolve(); err != nil {
		return driver.ExitStatus{}, err
	}
	if n := s.drop(); n >= 0 {
		stdio.Stdout = &droppingWriter{to: stdio.Stdout, left: n}
	}
	defer s.end()
	return x.run(ctx, stdio)
}

func newExecution(sb *sandbox, spec driver.ExecSpec) *execution {
	x := &execution{
		sb: sb, spec: spec, in: newInput(), out: newPipe(), errs: newPipe(),
		ended: make(chan struct{}), over: make(chan struct{}),
		env: map[string]string{
			"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/root",
		},
	}
	if sb.spec.ForwardSSHAgent {
		x.env["SSH_AUTH_SOCK"] = "/run/ssh-agent.sock"
	}
	for _, v := range sb.spec.Env {
		x.env[v.Name] = v.Value
	}
	for _, v := range spec.Env {
		x.env[v.Name] = v.Value
	}
	if spec.Terminal != nil {
		x.size = *spec.Terminal
	}
	return x
}

// resolve finds argv[0] before anything runs.
func (x *execution) resolve() error {
	name := x.spec.Argv[0]
	if _, ok := words[name]; ok {
		return nil
	}
	if strings.Contains(name, "/") {
		path := x.sb.files.abs(x.dir(), name)
		if _, ok := words[strings.TrimPrefix(path, "/bin/")]; ok {
			return nil
		}
		if x.sb.files.exists(path) {
			return driver.Errorf(driver.CommandNotExecutable, "%s cannot be executed", name).About(name).Remedy("make it executable")
		}
	}
	return driver.Errorf(driver.CommandNotFound, "there is no command %s in the sandbox", name).About(name).Remedy("install it in the image")
}

func (x *execution) dir() string { return x.sb.files.abs(x.sb.view.WorkspaceDir, x.spec.Dir) }

// manners is how a command is treated. Only faults change it.
type manners struct {
	ignore    bool   // a lost caller is not noticed
	early     bool   // Exec returns before the command is gone
	polite    string // instead of SIGTERM or SIGHUP
	noPolite  bool
	noKill    bool
	groupOnly bool // what left the group is not ended
	everyone  bool // all of the sandbox is ended
	waitAll   bool // what the command left behind is waited for
	apart     bool // standard error stays apart on a terminal
	lossEnds  bool // a lost caller ends the input
}

// errWrite and errRead are the loss of the caller.
var (
	errWrite = errors.New("the caller takes no more output")
	errRead  = errors.New("the caller's input failed")
)

// run starts the command and sees it to its end.
func (x *execution) run(ctx context.Context, stdio driver.ExecIO) (driver.ExitStatus, error) {
	defer close(x.over)
	lost := make(chan error, 3)
	ready := make(chan struct{}) // started is reported before any output
	x.main = x.sb.spawn(x, nil, strings.Join(x.spec.Argv, " "), func(p *process) driver.ExitStatus {
		<-ready
		return newShell(x, p).runArgv(x.spec.Argv)
	})
	if stdio.Started != nil {
		stdio.Started(x.main.pid)
	}
	close(ready)
	tty := &terminal{x: x}
	pumped := make(chan struct{})
	go x.pump(stdio, tty, lost, pumped)
	go func() { // ends when the reader does, or with the next read after Exec
		if err := x.in.feed(stdio.Stdin, x.over, tty.typed); err != nil {
			lost <- errors.Join(errRead, err)
		}
	}()
	go x.control(stdio)

	select {
	case <-pumped: // which is after the end
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.status, nil
	case <-ctx.Done():
		return driver.ExitStatus{}, x.abandon(context.Cause(ctx), pumped)
	case err := <-lost:
		return driver.ExitStatus{}, x.abandon(err, pumped)
	}
}

// pump moves both outputs to the caller and closes pumped when the command has
// ended and its output is out.
func (x *execution) pump(stdio driver.ExecIO, tty *terminal, lost chan<- error, pumped chan<- struct{}) {
	stdout, stderr := stdio.Stdout, stdio.Stderr
	if x.spec.Terminal != nil {
		stdout = tty.screen(stdout)
		if !x.manners.apart {
			stderr = stdout
		}
	}
	ended := x.ended
	if x.manners.waitAll {
		ended = nil
	}
	var failed sync.Once
	copying := sync.WaitGroup{}
	for p, w := range map[*pipe]io.Writer{x.out: stdout, x.errs: stderr} {
		copying.Go(func() {
			if err := p.pump(w, ended); err != nil {
				failed.Do(func() { lost <- errors.Join(errWrite, err) })
				<-x.over // the loss comes first
			}
		})
	}
	copying.Wait()
	<-x.ended
	close(pumped)
}

// left is told of each process that ends.
func (x *execution) left(p *process, status driver.ExitStatus) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if p == x.main {
		x.status = status
		close(x.ended)
	}
}

// hasEnded reports whether the command has ended; what it left behind may go on.
func (x *execution) hasEnded() bool {
	select {
	case <-x.ended:
		return true
	default:
		return false
	}
}

// control delivers signals and terminal sizes.
func (x *execution) control(stdio driver.ExecIO) {
	resize, signals := stdio.Resize, stdio.Signals
	for {
		select {
		case <-x.over:
			return
		case size, ok := <-resize:
			if !ok {
				resize = nil
				continue
			}
			x.mu.Lock()
			x.size = size
			x.mu.Unlock()
			x.sb.signalGroup(x.main.pid, "SIGWINCH")
		case name, ok := <-signals:
			if !ok {
				signals = nil
				continue
			}
			if _, known := driver.SignalNumber(name); known {
				x.sb.signalGroup(x.main.pid, name)
			}
		}
	}
}

// abandon ends the command of a caller who is gone, and returns why it went.
func (x *execution) abandon(why error, pumped <-chan struct{}) error {
	m := x.manners
	if x.spec.Detach || m.ignore {
		x.out.close()
		x.errs.close()
		return why
	}
	polite := cmp.Or(m.polite, "SIGTERM")
	if x.spec.Terminal != nil && m.polite == "" {
		polite = "SIGHUP"
	}
	grace := cmp.Or(x.spec.KillGrace, driver.DefaultKillGrace)
	if m.noPolite {
		grace = 0
	}
	if m.noKill {
		grace = time.Hour
	}
	end := func() {
		x.sb.terminate(polite, grace, func(p *process) bool {
			return (p.exec == x || m.everyone) && (!m.groupOnly || p.groupNow() == x.main.pid)
		})
	}
	if m.lossEnds {
		x.in.end()
	}
	if m.early {
		time.AfterFunc(2*time.Second, end) // long after whoever asks on a busy machine whether it is gone
		return why
	}
	end()
	select { // a caller that takes nothing more must not hold up the end
	case <-pumped:
	case <-time.After(quiet):
	}
	return why
}

// droppingWriter fails after so many bytes, as a broken stream does.
type droppingWriter struct {
	to   io.Writer
	left int64
}

func (w *droppingWriter) Write(p []byte) (int, error) {
	n := int(min(int64(len(p)), w.left))
	w.left -= int64(n)
	if w.to != nil {
		if _, err := w.to.Write(p[:n]); err != nil {
			return 0, err
		}
	}
	if n < len(p) {
		return n, &driver.Error{Reason: driver.DriverCrashed, Message: "the stream was dropped, as the script says", Retryable: true}
	}
	return n, nil
}
