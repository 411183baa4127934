package terminal

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Viewer is one who looks at a terminal.
type Viewer struct {
	Size     driver.TerminalSize
	ReadOnly bool // never writes
	TakeOver bool // writes, whoever did before

	Stdin  io.Reader                  // taken also while another one writes, and dropped then
	Stdout io.Writer                  // first what was there before
	Resize <-chan driver.TerminalSize // heeded while it writes
	Detach <-chan struct{}            // closed when it leaves

	Attached func(id string, writes bool) // called first, and when who writes has changed
	Opened   func(w workspace.Workspace, dir string, pid int64)
	Started  func(pid int64)
	Progress func(driver.Progress)
}

// session is one terminal.
type session struct {
	id     string
	about  Terminal // guarded by the Service's mu
	end    context.CancelCauseFunc
	input  *io.PipeWriter
	reader *io.PipeReader
	resize chan driver.TerminalSize
	done   chan struct{} // closed when result and err are set
	result workspace.ExecResult
	err    error

	output sync.Mutex // of Write; held while a viewer is waited for

	answers chan []byte // to what the program has asked while no viewer was attached
	begun   bool        // there was a viewer; guarded by mu
	adopted bool        // the first of its output was written long ago
	written time.Time   // when it last wrote; guarded by mu

	mu      sync.Mutex
	screen  *screen
	viewers []*view
	writer  *view
}

// view is one viewer's queue.
type view struct {
	Viewer

	mu      sync.Mutex
	queue   []byte
	ready   chan struct{} // has a token when there is output or news
	room    chan struct{} // has a token when output was taken
	over    chan struct{} // closed when it looks no more
	news    bool          // who writes has changed
	dropped bool          // it was too slow
}

const (
	viewQueue    = 1 << 20         // bytes that wait for a viewer
	viewPatience = 5 * time.Second // for a viewer that takes nothing, before it is dropped
)

func newSession(about Terminal, end context.CancelCauseFunc) *session {
	t := &session{id: about.ID, about: about, end: end, resize: make(chan driver.TerminalSize, 2), done: make(chan struct{})}
	t.screen, t.answers = newScreen(driver.TerminalSize{}), make(chan []byte, 16)
	t.reader, t.input = io.Pipe()
	return t
}

// io connects the terminal's command.
func (t *session) io(started func(int64)) driver.ExecIO {
	return driver.ExecIO{Stdin: t.reader, Stdout: t, Resize: t.resize, Started: started}
}

func (t *session) finish(result workspace.ExecResult, err error) {
	t.result, t.err = result, err
	close(t.done)
	_ = t.reader.CloseWithError(io.ErrClosedPipe) // ends a write that nobody takes
}

// describe is called with the Service's mu held.
func (t *session) describe() Terminal {
	t.mu.Lock()
	defer t.mu.Unlock()
	about := t.about
	about.Viewers, about.Written = len(t.viewers), t.writer != nil
	return about
}

// Write keeps output and sends it to all viewers, what it asks to one at most. The
// slowest sets the pace, until it is dropped.
func (t *session) Write(b []byte) (int, error) {
	t.output.Lock()
	defer t.output.Unlock()
	t.mu.Lock()
	now := time.Now()
	if now.Sub(t.written) > quietFor {
		t.adopted = false // what it repeats comes at once
	}
	t.written = now
	toWriter, toOthers := t.screen.write(b, t.asks())
	for _, v := range t.viewers {
		if v == t.writer {
			v.add(toWriter)
		} else {
			v.add(toOthers)
		}
	}
	if answers := t.screen.answers; len(answers) > 0 {
		select {
		case t.answers <- answers:
		default: // it asks and asks, and does not listen
		}
	}
	t.screen.answers = nil
	viewers := slices.Clone(t.viewers)
	t.mu.Unlock()
	for _, v := range viewers {
		if !v.await() {
			t.leave(v)
		}
	}
	return len(b), nil
}

// asks is who answers what the program asks now. mu must be held.
func (t *session) asks() asked {
	switch {
	case t.adopted:
		return wasAnswered
	case t.writer == nil:
		return screenAnswers
	}
	return viewerAnswers
}

// answer types what the program has asked for.
func (t *session) answer() {
	for {
		select {
		case answers := <-t.answers:
			_, _ = t.input.Write(answers)
		case <-t.done:
			return
		}
	}
}

// How long a session that was taken up may repeat what it wrote before.
const (
	quietFor   = 200 * time.Millisecond
	quietLimit = 3 * time.Second
)

// settle waits until a session that was taken up has repeated what it wrote before:
// what that asked was answered then.
func (t *session) settle(ctx context.Context) {
	limit := time.Now().Add(quietLimit)
	for {
		t.mu.Lock()
		now := time.Now()
		if !t.adopted || now.Sub(t.written) > quietFor || now.After(limit) {
			t.adopted = false
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
		select {
		case <-time.After(quietFor / 4):
		case <-t.done:
			return
		case <-ctx.Done():
			return
		}
	}
}

// add adds output to a viewer's queue. The session's mu must be held: so what it
// gets follows what the screen is.
func (v *view) add(b []byte) {
	if len(b) == 0 {
		return
	}
	v.mu.Lock()
	v.queue = append(v.queue, b...)
	v.mu.Unlock()
	v.wake()
}

// await waits a while until a viewer's queue has room, and reports whether it has.
func (v *view) await() bool {
	var late <-chan time.Time
	for {
		v.mu.Lock()
		room := len(v.queue) <= viewQueue
		v.mu.Unlock()
		if room {
			return true
		}
		if late == nil {
			timer := time.NewTimer(viewPatience)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-v.room:
		case <-v.over:
			return true
		case <-late:
			v.mu.Lock()
			v.dropped = true
			v.mu.Unlock()
			v.wake()
			return false
		}
	}
}

func (v *view) wake() {
	select {
	case v.ready <- struct{}{}:
	default:
	}
}

// take gives what waits for the viewer.
func (v *view) take() (b []byte, news, dropped bool) {
	v.mu.Lock()
	b, news, dropped = v.queue, v.news, v.dropped
	v.queue, v.news = nil, false
	v.mu.Unlock()
	select {
	case v.room <- struct{}{}:
	default:
	}
	return b, news, dropped
}

// join makes a viewer one of the terminal's.
func (t *session) join(viewer Viewer) (*view, error) {
	v := &view{Viewer: viewer, ready: make(chan struct{}, 1), room: make(chan struct{}, 1), over: make(chan struct{}), news: true}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.viewers) >= maxViewers {
		return nil, driver.Errorf(driver.InvalidArgument, "the terminal has %d viewers", maxViewers)
	}
	writes := !v.ReadOnly && (t.writer == nil || v.TakeOver)
	if writes && v.Size.Rows > 0 && v.Size.Cols > 0 {
		t.screen.resize(v.Size)
	}
	if t.begun { // who opens it has a terminal already
		v.queue = t.screen.replay(v.Size)
	}
	t.viewers = append(t.viewers, v)
	if writes {
		t.write(v)
		if t.begun {
			t.nudge(v.Size)
		}
	}
	t.begun = true
	v.wake()
	return v, nil
}

// write makes a viewer the one that writes. mu must be held.
func (t *session) write(v *view) {
	for _, told := range []*view{t.writer, v} {
		if told != nil {
			told.mu.Lock()
			told.news = true
			told.mu.Unlock()
			told.wake()
		}
	}
	t.leaveWriter()
	t.writer = v
	t.setSize(v.Size)
}

// leaveWriter ends what the terminal of the one that writes has got only the
// beginning of. mu must be held.
func (t *session) leaveWriter() {
	if cut := t.screen.newWriter(); cut && t.writer != nil {
		t.writer.add([]byte{0x18}) // CAN
	}
	t.writer = nil
}

// setSize has the terminal's size changed. mu must be held.
func (t *session) setSize(size driver.TerminalSize) {
	if size.Rows == 0 || size.Cols == 0 {
		return
	}
	t.screen.resize(size)
	for { // the last one wins
		select {
		case <-t.resize:
			continue
		default:
		}
		break
	}
	t.resize <- size
}

// nudge has a full-screen program draw anew: it sees its terminal change. mu must
// be held.
func (t *session) nudge(size driver.TerminalSize) {
	if t.screen.other == nil || size.Rows < 2 {
		return
	}
	less := size
	less.Rows--
	t.setSize(less)
	t.screen.resize(size)
	t.resize <- size
}

// leave takes a viewer away. Who writes next decides itself, by typing, by coming
// or by taking over.
func (t *session) leave(v *view) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.viewers = slices.DeleteFunc(t.viewers, func(other *view) bool { return other == v })
	if t.writer == v {
		t.leaveWriter()
	}
}

func (t *session) writes(v *view) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.writer == v
}

// typing is writes for a viewer that has typed, which makes it the one that writes
// if nobody does.
func (t *session) typing(v *view) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.writer == nil && !v.ReadOnly && slices.Contains(t.viewers, v) {
		t.write(v)
	}
	return t.writer == v
}

// errSlow is for a viewer that takes nothing.
var errSlow = driver.Errorf(driver.Canceled, "the viewer takes no output; the terminal goes on without it")

// look shows the terminal to a viewer until either ends.
func (t *session) look(ctx context.Context, viewer Viewer) (workspace.ExecResult, error) {
	t.settle(ctx)
	v, err := t.join(viewer)
	if err != nil {
		return workspace.ExecResult{}, err
	}
	defer t.leave(v)
	defer close(v.over)
	if v.Stdin != nil {
		go t.keys(v) // ends when the viewer's reader returns
	}
	go t.follow(v) // ends with over
	for {
		b, news, dropped := v.take()
		if news && v.Attached != nil {
			v.Attached(t.id, t.writes(v))
		}
		if len(b) > 0 {
			if _, err := v.Stdout.Write(b); err != nil {
				return workspace.ExecResult{}, driver.AsError(err)
			}
			continue
		}
		if dropped {
			return workspace.ExecResult{}, errSlow
		}
		select {
		case <-v.ready:
			continue
		default:
		}
		select {
		case <-v.ready:
		case <-t.done:
			if b, _, _ := v.take(); len(b) > 0 {
				if _, err := v.Stdout.Write(b); err != nil {
					return workspace.ExecResult{}, driver.AsError(err)
				}
			}
			return t.result, t.err
		case <-v.Detach:
			return workspace.ExecResult{}, ErrDetached
		case <-ctx.Done():
			return workspace.ExecResult{}, driver.AsError(context.Cause(ctx))
		}
	}
}

// keys passes on what a viewer types, while it is the one that writes.
func (t *session) keys(v *view) {
	buf := make([]byte, 4096)
	for {
		n, err := v.Stdin.Read(buf)
		if n > 0 && t.typing(v) {
			if _, err := t.input.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// follow keeps the terminal at the size of the one that writes.
func (t *session) follow(v *view) {
	resize := v.Resize
	for {
		select {
		case size, open := <-resize:
			if !open {
				resize = nil
				continue
			}
			t.mu.Lock()
			v.Size = size
			if t.writer == v {
				t.setSize(size)
			}
			t.mu.Unlock()
		case <-v.over:
			return
		}
	}
}
