package terminal

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// tape is a Runner whose command keeps what is typed, and writes nothing by itself.
type tape struct {
	echo

	mu    sync.Mutex
	typed strings.Builder
	sizes []driver.TerminalSize
}

func (r *tape) Exec(ctx context.Context, _ workspace.ExecOptions, stdio driver.ExecIO,
	onStarted func(workspace.Workspace, string, int64), _ func(driver.Progress),
) (workspace.ExecResult, error) {
	onStarted(workspace.Workspace{ID: "shop"}, "/", 7)
	go func() {
		buf := make([]byte, 1<<10)
		for {
			n, err := stdio.Stdin.Read(buf)
			r.mu.Lock()
			r.typed.Write(buf[:n])
			r.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	for {
		select {
		case size := <-stdio.Resize:
			r.mu.Lock()
			r.sizes = append(r.sizes, size)
			r.mu.Unlock()
		case <-ctx.Done():
			return workspace.ExecResult{}, driver.AsError(context.Cause(ctx))
		}
	}
}

func (r *tape) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.typed.String()
}

// stage is a terminal and what writes in it.
type stage struct {
	t       *testing.T
	service *Service
	tape    *tape
	session *session
	marks   int
}

// newStage opens a terminal; its first viewer writes.
func newStage(t *testing.T, size driver.TerminalSize) (*stage, *person) {
	t.Helper()
	s := &stage{t: t, tape: &tape{}}
	s.service = New(s.tape, nil, nil)
	t.Cleanup(s.service.Close)
	one := sit(t, func(ctx context.Context, v Viewer) (workspace.ExecResult, error) {
		return s.service.Open(ctx, workspace.ExecOptions{LoginShell: true, Terminal: &size}, v)
	}, func(v *Viewer) { v.Size = size })
	s.service.mu.Lock()
	s.session = s.service.sessions[one.id]
	s.service.mu.Unlock()
	return s, one
}

// looks has another one look at the terminal.
func (s *stage) looks(change func(*Viewer)) *person {
	s.t.Helper()
	return sit(s.t, func(ctx context.Context, v Viewer) (workspace.ExecResult, error) {
		return s.service.View(ctx, workspace.Ref{}, s.session.id, v)
	}, change)
}

func (s *stage) leaves(p *person) {
	close(p.detach)
	<-p.done
}

// writes has the program write, and waits until all of those have got it.
func (s *stage) writes(text string, who ...*person) {
	s.t.Helper()
	s.marks++
	mark := fmt.Sprintf("<mark %d>", s.marks)
	_, _ = io.WriteString(s.session, text+mark)
	for _, p := range who {
		p.sees(mark)
	}
}

func readOnly(v *Viewer) { v.ReadOnly = true }

// questions are what programs ask terminals, in all the ways that there are.
var questions = []string{
	"\x1b[6n", "\x1b[?6n", "\x1b[5n", "\x1b[?996n", "\u009b6n", "\x1b[c", "\x1b[0c", "\x1b[>c", "\x1b[>0c", "\x1b[=c", "\x1bZ", "\x05",
	"\x1b[>q", "\x1b[>0q", "\x1b[?u", "\x1b[?2026$p", "\x1b[4$p", "\x1b[x", "\x1b[?1;1;0S", "\x1b[?4m", "\x1b[?4g",
	"\x1b[14t", "\x1b[14;2t", "\x1b[16t", "\x1b[18t", "\x1b[19t", "\x1b[21t", "\x1b[1;1;1;1;1;1*y", "\x1b[1'|", "\x1b[2$w",
	"\x1b]10;?\x07", "\x1b]11;?\x1b\\", "\x1b]12;?\u009c", "\x1b]10;?;?\x07", "\x1b]4;1;?\x07", "\x1b]4;1;red;2;?\x07", "\x1b]52;c;?\x07", "\x1b]21;foreground=?\x1b\\",
	"\x1b]22;?__current__\x1b\\", "\x1b]1337;ReportCellSize\x07", "\x1b]99;i=1:p=?;\x1b\\", "\u009d11;?\x07",
	"\x1bP+q544e\x1b\\", "\x1bP$qm\x1b\\", "\x1bPtmux;\x1b\x1b[6n\x1b\\", "\x1bP\x1b[6n\x1b\\", "\x1b_Gi=1,a=q;AAAA\x1b\\",
	"\x1bP+q" + strings.Repeat("544e;", 2000) + "\x1b\\", "\x1b[1\n;1H\x1b[\x056n", "\x1b]2;broken\x1b[6n", "\x1b[6\x1b[6n",
}

// asks is what in the text would have a terminal answer.
func asks(text string) string {
	for _, part := range []string{
		"6n", "5n", "96n", "[c", "0c", ">c", "=c", "\x1bZ", "\x05", "q\x1b", "0q", "?u", "$p", "[x", ";0S", "4m", "4g", "4t", ";2t", "6t", "8t", "9t", "1t", "*y", "'|", "$w",
		"?\x07", "?\x1b", ";?", "=?", "?_", "Report", "p=?", "+q", "$q", "tmux", "a=q", "\u009b", "\u009d", "2048",
	} {
		if strings.Contains(text, part) {
			return part
		}
	}
	return ""
}

// B: no question is asked twice: it is asked of the terminal that writes, or answered
// by the session where none does, whichever viewers there are and however it is cut.
func TestBNoQueryIsAskedTwice(t *testing.T) {
	s, one := newStage(t, usualSize)
	two, three := s.looks(readOnly), s.looks(nil)
	tried := 0
	for _, question := range questions {
		for _, cut := range []int{0, 1, len(question) / 2, len(question) - 1} {
			_, _ = io.WriteString(s.session, question[:cut])
			s.writes(question[cut:], one, two, three)
			tried++
		}
	}
	for _, p := range []*person{two, three} {
		if part := asks(p.text()); part != "" {
			t.Errorf("who does not write is asked %q: %q", part, p.text())
		}
	}
	for _, want := range []string{"\x1b[6n", "\x1b[>c", "\x1b]11;?", "\x1bP+q544e\x1b\\", "\x1b_Gi=1", "\x1b[14;2t", "\x05"} {
		if !strings.Contains(one.text(), want) {
			t.Errorf("who writes is not asked %q", want)
		}
	}
	if typed := s.tape.text(); typed != "" {
		t.Errorf("the session answers, too: %q", typed)
	}
	// No viewer writes: the session answers once, and the viewers are not asked.
	s.leaves(one)
	for _, question := range questions {
		for _, cut := range []int{0, len(question) - 1} {
			_, _ = io.WriteString(s.session, question[:cut])
			s.writes(question[cut:], two, three)
			tried++
		}
	}
	for _, p := range []*person{two, three} {
		if part := asks(p.text()); part != "" {
			t.Errorf("a viewer that does not write is asked %q when none writes", part)
		}
	}
	if typed := s.tape.text(); strings.Contains(typed, "\x1b[0n\x1b[0n\x1b[0n") {
		t.Errorf("the session answers more than once: %q", typed)
	}
	// Who comes sees all, and is asked nothing.
	four := s.looks(func(v *Viewer) { v.TakeOver = true })
	s.writes("", four)
	if part := asks(four.text()); part != "" {
		t.Errorf("who comes is asked %q: %q", part, four.text())
	}
	t.Logf("%d questions, none asked twice", tried)
}

// B: a question is asked or answered once, whichever viewer begins to write between its bytes.
func TestBViewersChangeWithinAQuery(t *testing.T) {
	const question = "\x1b[5n"
	for _, leaves := range []bool{false, true} {
		for cut := range len(question) + 1 {
			s, one := newStage(t, usualSize)
			two := s.looks(readOnly)
			_, _ = io.WriteString(s.session, question[:cut])
			all := []*person{one, two}
			if leaves {
				s.leaves(one)
				all = all[1:]
			}
			three := s.looks(func(v *Viewer) { v.TakeOver = true })
			s.writes(question[cut:], append(all, three)...)
			s.leaves(three)
			s.writes("\x1b[6n", two) // answered after whatever was answered before
			two.until("it is answered", func() bool { return strings.HasSuffix(s.tape.text(), "R") })
			n := strings.Count(s.tape.text(), "\x1b[0n")
			for _, p := range []*person{one, two, three} {
				n += strings.Count(p.text(), "5n")
			}
			if n != 1 {
				t.Errorf("asked or answered %d times, cut at %d, the first has left %v", n, cut, leaves)
			}
		}
	}
}

// B: what does not ask reaches all who look, as the program wrote it.
func TestBOutputReachesAll(t *testing.T) {
	s, one := newStage(t, usualSize)
	two := s.looks(readOnly)
	const text = "plain é 日本 🎉\r\n\x1b[1;31mred\x1b[0m\x1b[5;10H\x1b[K\x1b[?1049h\x1b[2J\x1b[?1002;1006h\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\x1b]0;what?\x07\x1b]133;A\x07\x1b(0lqk\x1b(B\x1b[2;5r\x1b[3 q\x1bPq#0;2;0;0;0-\x1b\\\x1b]11;#fff\x07\x1b[22;0t"
	for i := range len(text) {
		_, _ = io.WriteString(s.session, text[i:i+1])
	}
	s.writes("", one, two)
	for _, p := range []*person{one, two} {
		if !strings.Contains(p.text(), text) {
			t.Errorf("%q is shown as %q", text, p.text())
		}
	}
	// A picture of any size passes to the one that writes.
	picture := "\x1b_G" + strings.Repeat("AAAA", 10_000) + "\x1b\\"
	s.writes(picture, one, two)
	if !strings.Contains(one.text(), picture) || strings.Contains(two.text(), "AAAA") {
		t.Error("a long string does not pass to the one that writes, and only to it")
	}
	// A viewer that begins to write within such a string does not get the rest of it.
	_, _ = io.WriteString(s.session, picture[:10_000])
	three := s.looks(func(v *Viewer) { v.TakeOver = true })
	s.writes(picture[10_000:], one, two, three)
	if strings.Contains(three.text(), "AAAA") || !strings.Contains(one.text(), "A\x18") {
		t.Error("the rest of a string went to another viewer, or the beginning was not ended")
	}
}

// B: a session's terminal does not know the mode in which each terminal that looks
// would type its size.
func TestBInBandSizesAreNotAskedFor(t *testing.T) {
	s, one := newStage(t, usualSize)
	s.writes("\x1b[?2048h\x1b[?2004;2048;25h\x1b[?02048l\x1b[?2048$p", one)
	if text := one.text(); strings.Contains(text, "2048") || !strings.Contains(text, "\x1b[?2004;25h") {
		t.Errorf("it is passed on: %q", text)
	}
	one.until("it is answered", func() bool { return strings.Contains(s.tape.text(), "\x1b[?2048;0$y") })
	s.writes("\x1b[?2048h", one)
	if two := s.looks(func(v *Viewer) { v.TakeOver = true }); strings.Contains(two.text(), "2048") {
		t.Errorf("it is asked for when one comes: %q", two.text())
	}
}
