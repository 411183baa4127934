package fake

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

var (
	errInterrupted = errors.New("interrupted by a signal")
	errEnded       = errors.New("the shell has ended") // by exit, or by death
)

// shell runs words in one process.
type shell struct {
	x    *execution
	p    *process
	vars map[string]string
	dir  string
	io   streams
	last int      // $?
	bg   *process // $!
	jobs []*process
	code int // of exit
}

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func newShell(x *execution, p *process) *shell {
	s := &shell{x: x, p: p, vars: maps.Clone(x.env), dir: x.dir()}
	out, errs := stream{x.out, s}, stream{x.errs, s}
	s.io = streams{in: stdin{s}, out: out, err: errs}
	if x.spec.Terminal != nil && !x.manners.apart {
		s.io.err = out
	}
	return s
}

// stream is a pipe as this process writes to it.
type stream struct {
	pipe *pipe
	sh   *shell
}

// Write sends b; a killed process's write fails, and so does one to nobody.
func (s stream) Write(b []byte) (int, error) { return s.pipe.write(s.sh.p.ctx, b) }

// stdin is the input as this process reads it.
type stdin struct{ sh *shell }

// Read waits for input, a signal, or death.
func (s stdin) Read(b []byte) (int, error) {
	return s.sh.x.in.read(s.sh.p.ctx, s.sh.p.interrupt(), b)
}

// runArgv runs one command as a whole process.
func (s *shell) runArgv(argv []string) driver.ExitStatus {
	code, err := s.call(argv, s.io)
	if err == nil {
		s.code = code
	}
	return driver.ExitStatus{Code: s.code & 0xff}
}

// runScript runs a parsed script; its error is errEnded.
func (s *shell) runScript(l list) error {
	for _, st := range l {
		if st.background {
			s.start(st)
			continue
		}
		if err := s.runStatement(st); err != nil {
			return err
		}
	}
	return nil
}

// start runs a statement in the background, in the same group.
func (s *shell) start(st statement) {
	st.background = false
	vars, dir, rest := maps.Clone(s.vars), s.dir, s.io
	self := strconv.FormatInt(s.p.pid, 10)
	s.bg = s.x.sb.spawn(s.x, s.p, st.text, func(p *process) driver.ExitStatus {
		job := newShell(s.x, p)
		job.vars, job.dir = vars, dir
		job.vars["$"] = self // in a subshell $$ stays the shell's
		job.io.in = strings.NewReader("")
		if _, ok := rest.out.(stream); !ok {
			job.io.out = rest.out
		}
		if err := job.runStatement(st); err == nil {
			job.code = job.last
		}
		return driver.ExitStatus{Code: job.code & 0xff}
	})
	s.jobs = append(s.jobs, s.bg)
	s.last = 0
}

func (s *shell) runStatement(st statement) error {
	for i, c := range st.parts {
		if i > 0 && (st.joins[i-1] == "&&") != (s.last == 0) {
			continue
		}
		if err := s.runCommand(c); err != nil {
			return err
		}
	}
	return nil
}

func (s *shell) runCommand(c command) error {
	if c.cond != nil {
		return s.runLoop(c)
	}
	streams, flush, err := s.redirect(c.redirects)
	if err != nil {
		return s.complain(err)
	}
	for _, a := range c.assigns {
		s.vars[a.name] = s.expand(a.value)
	}
	args := make([]string, 0, len(c.args))
	for _, w := range c.args {
		args = append(args, s.expand(w))
	}
	if len(args) == 0 {
		s.last = 0
		return flush()
	}
	s.last, err = s.call(args, streams)
	if ferr := flush(); ferr != nil && err == nil {
		return s.complain(ferr)
	}
	return err
}

// complain says why a command failed, as a shell does, and goes on.
func (s *shell) complain(err error) error {
	s.last = 1
	_, _ = io.WriteString(s.io.err, "sh: "+err.Error()+"\n")
	return nil
}

func (s *shell) runLoop(c command) error {
	for {
		if err := s.runScript(c.cond); err != nil {
			return err
		}
		if s.last != 0 {
			s.last = 0
			return nil
		}
		if err := s.runScript(c.body); err != nil {
			return err
		}
	}
}

// call runs one command and then the traps of signals that came meanwhile.
func (s *shell) call(args []string, io streams) (int, error) {
	run, ok := words[strings.TrimPrefix(args[0], "/bin/")]
	code := 127
	var err error
	if ok {
		code, err = run(&invocation{sh: s, args: args, io: io})
	} else {
		_ = s.complain(errors.New(args[0] + ": not found"))
	}
	if err != nil {
		return code, err
	}
	s.last = code
	return code, s.handle()
}

// handle runs the traps that are due, and notices death.
func (s *shell) handle() error {
	if s.p.ctx.Err() != nil {
		return errEnded
	}
	for _, script := range s.p.takePending() {
		l, err := parse(script)
		if err != nil {
			return s.complain(err)
		}
		last := s.last
		if err := s.runScript(l); err != nil {
			return err
		}
		s.last = last
	}
	return nil
}

// expand is a word's text. Unquoted variables are not split.
func (s *shell) expand(w word) string {
	var out strings.Builder
	for _, seg := range w {
		if !seg.variable {
			out.WriteString(seg.text)
			continue
		}
		switch seg.text {
		case "$":
			if v, ok := s.vars["$"]; ok {
				out.WriteString(v)
			} else {
				out.WriteString(strconv.FormatInt(s.p.pid, 10))
			}
		case "!":
			if s.bg != nil {
				out.WriteString(strconv.FormatInt(s.bg.pid, 10))
			}
		case "?":
			out.WriteString(strconv.Itoa(s.last))
		default:
			out.WriteString(s.vars[seg.text])
		}
	}
	return out.String()
}

// redirect opens what a command reads and writes; flush writes files.
func (s *shell) redirect(rs []redirect) (streams, func() error, error) {
	st := s.io
	flush := func() error { return nil }
	for _, r := range rs {
		name := s.expand(r.file)
		switch r.op {
		case ">&":
			if r.fd == 2 && name == "1" {
				st.err = st.out
			} else if name == "2" {
				st.out = st.err
			}
		case "<":
			data, err := s.x.sb.files.read(s.x.sb.files.abs(s.dir, name))
			if name == "/dev/null" {
				err = nil
			}
			if err != nil {
				return st, nil, errors.New(name + ": " + err.Error())
			}
			st.in = strings.NewReader(string(data))
		default:
			file := &fileWriter{files: s.x.sb.files, path: s.x.sb.files.abs(s.dir, name), null: name == "/dev/null"}
			if err := file.open(r.op == ">>"); err != nil {
				return st, nil, errors.New("cannot create " + name + ": " + err.Error())
			}
			if r.fd == 2 {
				st.err = file
			} else {
				st.out = file
			}
		}
	}
	return st, flush, nil
}

// fileWriter appends to a file of the sandbox.
type fileWriter struct {
	files *files
	path  string
	null  bool
}

func (w *fileWriter) open(appending bool) error {
	if w.null {
		return nil
	}
	return w.files.write(w.path, nil, appending)
}

// Write appends b.
func (w *fileWriter) Write(b []byte) (int, error) {
	if w.null {
		return len(b), nil
	}
	if err := w.files.write(w.path, b, true); err != nil {
		return 0, err
	}
	return len(b), nil
}

// environ is the variables that commands see, sorted.
func (s *shell) environ() []string {
	var out []string
	for k, v := range s.vars {
		if k != "$" {
			out = append(out, k+"="+v)
		}
	}
	slices.Sort(out)
	return out
}

// pause waits as wait says, until a trapped signal or the process's death.
func (s *shell) pause(wait func(context.Context) error) (int, error) {
	ctx, cancel := context.WithCancelCause(s.p.ctx)
	defer cancel(nil)
	interrupt := s.p.interrupt()
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-interrupt:
			cancel(errInterrupted)
		case <-done:
		}
	}()
	switch err := wait(ctx); {
	case err == nil:
		return 0, nil
	case s.p.ctx.Err() != nil:
		return 1, errEnded
	default:
		return 143, nil
	}
}
