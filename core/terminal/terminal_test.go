package terminal

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/internal/oneline"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a Runner whose commands give back what they read, until "exit".
type echo struct{ Runner }

func (echo) Ready() []string { return nil }

func (echo) EndSession(context.Context, string, string) error {
	return driver.Errorf(driver.NotFound, "none")
}

func (echo) Exec(ctx context.Context, _ workspace.ExecOptions, stdio driver.ExecIO,
	onStarted func(workspace.Workspace, string, int64), _ func(driver.Progress),
) (workspace.ExecResult, error) {
	onStarted(workspace.Workspace{ID: "shop"}, "/", 7)
	typed := make(chan string)
	go func() {
		defer close(typed)
		buf := make([]byte, 1<<20)
		for {
			n, err := stdio.Stdin.Read(buf)
			if err != nil {
				return
			}
			select {
			case typed <- string(buf[:n]):
			case <-ctx.Done():
			}
		}
	}()
	for {
		select {
		case text := <-typed:
			if text == "exit" {
				return workspace.ExecResult{ExitStatus: driver.ExitStatus{Code: 4}}, nil
			}
			_, _ = io.WriteString(stdio.Stdout, text)
		case <-ctx.Done():
			return workspace.ExecResult{}, driver.AsError(context.Cause(ctx))
		}
	}
}

// person looks at a terminal.
type person struct {
	t      *testing.T
	in     *io.PipeWriter
	detach chan struct{}
	done   chan struct{}
	result workspace.ExecResult
	err    error

	mu     sync.Mutex
	out    bytes.Buffer
	id     string
	writes bool
}

func sit(t *testing.T, look func(ctx context.Context, v Viewer) (workspace.ExecResult, error), change func(*Viewer)) *person {
	t.Helper()
	r, w := io.Pipe()
	p := &person{t: t, in: w, detach: make(chan struct{}), done: make(chan struct{})}
	v := Viewer{
		Size: driver.TerminalSize{Rows: 24, Cols: 80}, Stdin: r, Stdout: p, Detach: p.detach,
		Attached: func(id string, writes bool) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.id, p.writes = id, writes
		},
	}
	if change != nil {
		change(&v)
	}
	go func() {
		defer close(p.done)
		p.result, p.err = look(t.Context(), v)
		_ = r.CloseWithError(io.ErrClosedPipe)
	}()
	p.until("it is attached", func() bool { return p.id != "" })
	return p
}

func (p *person) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *person) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func (p *person) until(what string, is func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		p.mu.Lock()
		ok := is()
		p.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("not in time: %s", what)
		}
	}
}

func (p *person) sees(text string) {
	p.t.Helper()
	p.until(text+" is seen", func() bool { return strings.Contains(p.out.String(), text) })
}

func (p *person) types(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, text); err != nil {
		p.t.Error(err)
	}
}

func TestB40ViewersOfOneTerminal(t *testing.T) {
	s := New(echo{}, nil, nil)
	defer s.Close()
	size := driver.TerminalSize{Rows: 24, Cols: 80}
	one := sit(t, func(ctx context.Context, v Viewer) (workspace.ExecResult, error) {
		return s.Open(ctx, workspace.ExecOptions{LoginShell: true, Terminal: &size}, v)
	}, nil)
	one.types("alpha ")
	one.sees("alpha ")
	view := func(ctx context.Context, v Viewer) (workspace.ExecResult, error) {
		return s.View(ctx, workspace.Ref{}, one.id[:3], v)
	}
	two := sit(t, view, nil)
	two.sees("alpha") // the screen
	two.types("dropped ")
	one.types("beta ")
	two.sees("beta ")
	three := sit(t, view, func(v *Viewer) { v.TakeOver = true })
	one.until("it writes no more", func() bool { return !one.writes })
	three.types("gamma ")
	one.sees("gamma ")
	if strings.Contains(one.out.String(), "dropped") {
		t.Error("one who only looks has written")
	}
	close(three.detach)
	<-three.done
	if !errors.Is(three.err, ErrDetached) {
		t.Errorf("leaving: %v", three.err)
	}
	if list := s.List(t.Context(), "shop"); len(list) != 1 || list[0].Viewers != 2 || list[0].Written || list[0].Title != "login shell" {
		t.Errorf("the list is %+v", list)
	}
	looks := sit(t, view, func(v *Viewer) { v.ReadOnly = true })
	looks.types("dropped ")
	one.types("delta ") // nobody writes: who types does
	two.sees("delta ")
	one.until("it writes again", func() bool { return one.writes })
	two.types("dropped ")
	close(one.detach)
	<-one.done
	four := sit(t, view, nil) // nobody writes: it does
	four.until("it writes", func() bool { return four.writes })
	four.types("epsilon ")
	if two.sees("epsilon "); strings.Contains(two.out.String(), "dropped") {
		t.Error("one who only looks has written")
	}
	four.types("exit")
	for _, p := range []*person{two, looks, four} {
		<-p.done
		if p.err != nil || p.result.Code != 4 {
			t.Errorf("the end is %+v, %v", p.result, p.err)
		}
	}
	if _, err := s.View(t.Context(), workspace.Ref{}, one.id, Viewer{}); driver.ReasonOf(err) != driver.NotFound {
		t.Errorf("a terminal that has ended: %v", err)
	}
}

func TestB40KillAndClose(t *testing.T) {
	s := New(echo{}, nil, nil)
	size := driver.TerminalSize{Rows: 24, Cols: 80}
	open := func(ctx context.Context, v Viewer) (workspace.ExecResult, error) {
		return s.Open(ctx, workspace.ExecOptions{LoginShell: true, Terminal: &size}, v)
	}
	one, two := sit(t, open, nil), sit(t, open, nil)
	if _, err := s.Kill(t.Context(), workspace.Ref{}, one.id); err != nil {
		t.Fatal(err)
	}
	<-one.done
	if driver.ReasonOf(one.err) != driver.Canceled {
		t.Errorf("killed: %v", one.err)
	}
	s.Close()
	<-two.done
	if driver.ReasonOf(two.err) != driver.Canceled {
		t.Errorf("closed: %v", two.err)
	}
	if _, err := open(t.Context(), Viewer{}); driver.ReasonOf(err) != driver.Canceled {
		t.Errorf("opened after Close: %v", err)
	}
}

// A Runner has all that the Service asks of a workspace.Manager.
var (
	_ Runner = (*workspace.Manager)(nil)
	_        = guest.Session{}
)

// sandboxes is a Runner with two workspaces of an earlier core: one answers with
// as many terminals as it likes, and the other as usual; "silent" does not
// answer at all.
type sandboxes struct {
	echo
	ready []string
}

func (s sandboxes) Ready() []string { return s.ready }

func (sandboxes) Sessions(ctx context.Context, id string) ([]guest.Session, error) {
	switch id {
	case "silent":
		<-ctx.Done()
		return nil, context.Cause(ctx)
	case "greedy":
		var all []guest.Session
		for i := range 2 * maxSessions {
			all = append(all, guest.Session{ExecID: idPrefix + "aaaa" + string(rune('a'+i/26%26)) + string(rune('a'+i%26))})
		}
		return all, nil
	default:
		return []guest.Session{{ExecID: idPrefix + "shop"}, {ExecID: "dev-web-1f-1"}}, nil // a dev server is no terminal
	}
}

func (sandboxes) AttachSession(ctx context.Context, _, _ string, _ func(int64), _ driver.ExecIO) (workspace.ExecResult, error) {
	<-ctx.Done()
	return workspace.ExecResult{}, context.Cause(ctx)
}

// What is in one sandbox takes nothing away from the terminals of others.
func TestASandboxThatAnswersBadlyHurtsNoOther(t *testing.T) {
	for _, bad := range []string{"silent", "greedy"} {
		t.Run(bad, func(t *testing.T) {
			s := New(sandboxes{ready: []string{bad, "shop"}}, nil, nil)
			defer s.Close()
			ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Second, errors.New("the list hung"))
			defer cancel()
			of := map[string]int{}
			for _, about := range s.List(ctx, "") {
				of[about.WorkspaceID]++
			}
			if ctx.Err() != nil || of["shop"] != 1 || of[bad] > maxOfWorkspace {
				t.Errorf("terminals of %v, %v", of, context.Cause(ctx))
			}
		})
	}
}

// left is a Runner with a ready workspace in which somebody says that there are
// terminals.
type left struct {
	Runner
	sessions []guest.Session
}

func (left) Ready() []string { return []string{"shop"} }

func (l left) Sessions(context.Context, string) ([]guest.Session, error) { return l.sessions, nil }

func (left) AttachSession(ctx context.Context, _, _ string, _ func(int64), _ driver.ExecIO) (workspace.ExecResult, error) {
	<-ctx.Done()
	return workspace.ExecResult{}, driver.AsError(context.Cause(ctx))
}

// TestB40HostileTitles: what a sandbox says is the title of a terminal steers
// nobody's screen, and is bounded.
func TestB40HostileTitles(t *testing.T) {
	s := New(left{sessions: []guest.Session{
		{ExecID: "terminal-aaaaaa", Label: `{"title": "npm run dev"}`},
		{ExecID: "terminal-bbbbbb", Label: `{"title": "\u001b]0;x\u0007\u001b[2Ja\nb\u202ec\u2066d\u2028e\u009b"}`},
		{ExecID: "terminal-cccccc", Label: `{"title": "` + strings.Repeat("é", 500) + `"}`},
		{ExecID: "terminal-dddddd", Label: `{"title": 7}`},
		{ExecID: "terminal-dd\x1bddd", Label: `{"title": "an id like that is none"}`},
	}}, nil, nil)
	defer s.Close()
	titles := map[string]string{}
	for _, l := range s.List(t.Context(), "") {
		titles[l.ID] = l.Title
	}
	want := map[string]string{"aaaaaa": "npm run dev", "bbbbbb": "]0;x  [2Ja b c d e", "cccccc": strings.Repeat("é", 100), "dddddd": ""}
	if !maps.Equal(titles, want) {
		t.Errorf("%q, want %q", titles, want)
	}
}

// TestTitleOfACommand: it is one line, whatever the command is, and comes back
// from where it is kept.
func TestTitleOfACommand(t *testing.T) {
	s := New(echo{}, nil, nil)
	defer s.Close()
	command := "printf '\\x1b[2J'\n\x1b[2J" + strings.Repeat("&", 300)
	p := sit(t, func(ctx context.Context, v Viewer) (workspace.ExecResult, error) {
		return s.Open(ctx, workspace.ExecOptions{Argv: []string{"sh", "-c", command}, Terminal: &driver.TerminalSize{Rows: 24, Cols: 80}}, v)
	}, nil)
	list := s.List(t.Context(), "")
	if len(list) != 1 || len(list[0].Title) != 200 || strings.ContainsFunc(list[0].Title, oneline.Unfit) {
		t.Errorf("%+v", list)
	}
	p.types("exit")
	<-p.done
}
