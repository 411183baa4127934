package terminal

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

var usualSize = driver.TerminalSize{Rows: 24, Cols: 80}

// queries are what programs ask terminals.
const queries = "\x1b[6n\x1b[?6n\x1b[5n\x1b[c\x1b[>c\x1b[=c\x1b[>q\x1b[?u\x1b[?2026$p\x1b[4$p\x1b]10;?\x07\x1b]11;?\x1b\\\x1b]12;?\x07\x1bP+q544e\x1b\\\x1bP$qm\x1b\\\x1b[18t\x1b[?2048h"

// drawn is what a terminal shows that is fed with text.
func drawn(size driver.TerminalSize, text string) *screen {
	s := newScreen(size)
	s.write([]byte(text), screenAnswers)
	s.flush()
	return s
}

// B: who comes later sees the screen, the modes and the cursor, and is asked
// nothing.
func TestBReplayIsTheScreen(t *testing.T) {
	many := ""
	for i := range 200 {
		many += fmt.Sprintf("line %d\r\n", i)
	}
	for name, text := range map[string]string{
		"empty":            "",
		"a shell":          "\x1b[?2004h$ ls\r\n\x1b[34mbin\x1b[0m  a.txt\r\n$ ",
		"scrolled":         many + "$ ",
		"full screen":      "$ vim\r\n\x1b[?1049h\x1b[22;0;0t\x1b[?1h\x1b=\x1b[2J\x1b[H\x1b[1;31mred\x1b[m\x1b[5;10Hhere\x1b[24;1H\x1b[7mstatus\x1b[m\x1b[?25l\x1b[3;4H",
		"back again":       "$ vim\r\n\x1b[?1049h\x1b[2Jgone\x1b[?1049l$ ",
		"wide":             "日本語 👩‍👩‍👧 é\r\nx\x1b[10;3H漢字\x1b[12;1H✓ ok",
		"mouse and region": "\x1b[?1002;1006;1004h\x1b[2;20r\x1b[5;5Hx\x1b[4 q\x1b[>1u",
		"charsets":         "\x1b(0lqk\x1b(B\r\nabc\x1b(0",
		"title":            "\x1b]0;mine\x07x",
		"colours are on":   "\x1b[1;38;2;1;2;3mx",
		"queries":          "a" + queries + "b",
		"hostile title":    "\x1b]2;a\x1b[6nb\x07x",
		"cleared":          many + "\x1b[H\x1b[2J\x1b[3Jx",
	} {
		s := drawn(usualSize, text)
		copied := drawn(usualSize, string(s.replay(usualSize)))
		if a, b := s.shown().Render(), copied.shown().Render(); a != b {
			t.Errorf("%s: the screen is\n%q, and its copy\n%q", name, a, b)
		}
		if a, b := s.shown().CursorPosition(), copied.shown().CursorPosition(); a != b {
			t.Errorf("%s: the cursor is at %v, and in the copy at %v", name, a, b)
		}
		if a, b := s.modes.Set(), copied.modes.Set(); a != b || s.modes.Alternate() != copied.modes.Alternate() {
			t.Errorf("%s: the modes are %q, and in the copy %q", name, a, b)
		}
		if a, b := s.main.String(), copied.main.String(); a != b {
			t.Errorf("%s: the main screen is %q, and in the copy %q", name, a, b)
		}
		if s.title != copied.title || s.modes.Pen() != copied.modes.Pen() {
			t.Errorf("%s: title %q and %q, colours %q and %q", name, s.title, copied.title, s.modes.Pen(), copied.modes.Pen())
		}
		if len(copied.answers) > 0 {
			t.Errorf("%s: the replay asks, and is answered %q", name, copied.answers)
		}
		if name == "scrolled" && (len(s.lines) != 177 || !strings.Contains(strings.Join(copied.lines, "\n"), "line 3")) {
			t.Errorf("%d lines have scrolled away, and in the copy %q", len(s.lines), copied.lines)
		}
		// A viewer of another size sees what fits, and is told.
		for _, size := range []driver.TerminalSize{{Rows: 10, Cols: 40}, {Rows: 50, Cols: 132}, {Rows: 1, Cols: 1}} {
			other := drawn(size, string(s.replay(size)))
			if all := strings.Join(other.lines, "\n") + other.main.String(); size.Cols > 1 && !strings.Contains(all, "sero: this terminal has") {
				t.Errorf("%s at %v: it is not told: %q", name, size, all)
			}
			if len(other.answers) > 0 {
				t.Errorf("%s at %v: the replay asks", name, size)
			}
		}
	}
}

// B: who comes within a sequence gets all of it.
func TestBReplayWithinASequence(t *testing.T) {
	for _, text := range []string{"a\x1b[1;31mred\x1b[5;7Hx", "\x1b]2;title\x07y", "\x1b[?1049h\x1b[2Jz"} {
		for at := range len(text) {
			s := newScreen(usualSize)
			s.write([]byte(text[:at]), screenAnswers)
			copied := newScreen(usualSize)
			copied.write(s.replay(usualSize), screenAnswers)
			rest, _ := s.write([]byte(text[at:]), viewerAnswers)
			copied.write(rest, screenAnswers)
			s.flush()
			copied.flush()
			if a, b := s.shown().Render(), copied.shown().Render(); a != b || s.title != copied.title || s.modes.Set() != copied.modes.Set() {
				t.Errorf("%q from %d: the screen is %q, and its copy %q", text, at, strings.TrimSpace(a), strings.TrimSpace(b))
			}
		}
	}
}

// B: while nobody is there the screen answers, and what it answers is typed; a
// viewer who comes is not asked.
func TestBQueriesAreAnsweredOnce(t *testing.T) {
	s := drawn(usualSize, "ab"+queries)
	for _, want := range []string{"\x1b[1;3R", "\x1b[?1;3R", "\x1b[0n", "\x1b[?62;22c", "\x1b[>41;0;0c", "\x1bP>|sero", "\x1b[?0u", "\x1b[?2026;0$y", "\x1b[4;2$y", "\x1b]10;rgb:", "\x1b]11;rgb:", "\x1bP0+r", "\x1b[8;24;80t"} {
		if !strings.Contains(string(s.answers), want) {
			t.Errorf("%q is missing in %q", want, s.answers)
		}
	}
	stage, one := newStage(t, usualSize)
	stage.writes("x\x1b[6n", one) // a viewer is there: its terminal answers
	one.sees("x\x1b[6n")
	stage.leaves(one)
	_, _ = io.WriteString(stage.session, "\x1b[5n") // no viewer is there
	one.until("the answer is typed", func() bool { return stage.tape.text() != "" })
	two := stage.looks(nil)
	stage.writes("", two)
	if out := two.text(); strings.Contains(out, "[6n") || strings.Contains(out, "[5n") {
		t.Errorf("who comes later is asked: %q", out)
	}
	stage.leaves(two)
	stage.writes("\x1b[c") // answered after whatever was answered before
	two.until("the answer is typed", func() bool { return strings.HasSuffix(stage.tape.text(), "c") })
	if typed := stage.tape.text(); typed != "\x1b[0n\x1b[?62;22c" {
		t.Errorf("typed is %q", typed)
	}
}

// B: what a hostile program draws breaks nothing, is bounded, and its replay asks
// nothing.
func TestBHostileScreens(t *testing.T) {
	parts := []string{
		"\x1b[", "\x1b]", "\x1bP", "\x1b\\", "?", ">", "1", "9", ";", "0", "25", "1049", "2048", "999999999", "h", "l", "r", "m", "H", "J", "K", "L", "M", "P", "@", "b", "I", "Z", "S", "T", "X", "n", "c", "q", "u", "s", "t", "d", "G",
		"\x1b[?1049h", "\x1b[?1049l", "\x1b[5;500r", "\x1b[2147483647b", "\x1b[99999999999I", "\x1b[?69h\x1b[3;2000s", "\x1b[?6h", "\x1b7", "\x1b8", "\x1bc", "\x1bM", "\x1b(0", "\x0e", "日", "👩‍👩‍👧", "e\u0301", "\xff", "\u009b", "\r", "\n", "\t", "\b", "text", "\x1b]8;;x\x07", "\x1b]2;t\x07",
	}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 3))
	for i := range 500 {
		size := driver.TerminalSize{Rows: uint16(1 + random.IntN(30)), Cols: uint16(1 + random.IntN(90))}
		s, all := newScreen(size), ""
		for range random.IntN(60) {
			part := parts[random.IntN(len(parts))]
			all += part
			s.write([]byte(part), screenAnswers)
			if random.IntN(20) == 0 {
				s.resize(driver.TerminalSize{Rows: uint16(1 + random.IntN(30)), Cols: uint16(1 + random.IntN(90))})
			}
		}
		if copied := drawn(usualSize, string(s.replay(usualSize))); len(copied.answers) > 0 {
			t.Fatalf("seed %d, %d: the replay of %q asks: %q", seed, i, all, copied.answers)
		}
		if len(s.answers) > maxAnswers+256 {
			t.Fatalf("%d bytes of answers", len(s.answers))
		}
	}
	s := newScreen(driver.TerminalSize{Rows: 65535, Cols: 65535})
	for range 20 {
		s.write([]byte(strings.Repeat("\x1b[6n", 100)+strings.Repeat("long ", 1000)+strings.Repeat("short\r\n", 100)), screenAnswers)
	}
	s.flush()
	if len(s.lines) > MaxLines || s.size > MaxBytes {
		t.Errorf("%d lines of %d bytes are kept", len(s.lines), s.size)
	}
}

// B: of much output the end is kept, and drawn as it was.
func TestBMuchOutput(t *testing.T) {
	s := newScreen(usualSize)
	for i := range 200_000 {
		s.write(fmt.Appendf(nil, "a line of much output: %d\r\n", i), screenAnswers)
	}
	if len(s.pending) > 3*MaxBytes {
		t.Errorf("%d bytes wait", len(s.pending))
	}
	copied := drawn(usualSize, string(s.replay(usualSize)))
	if !strings.Contains(copied.main.String(), "output: 199999") || len(s.lines) < 9_000 || !strings.HasSuffix(s.lines[len(s.lines)-1], "output: 199976") {
		t.Errorf("%d lines; the screen is %q", len(s.lines), copied.main.String())
	}
}

// BenchmarkScreen is how fast output is drawn.
func BenchmarkScreen(b *testing.B) {
	text := []byte(strings.Repeat("2026-11-30 12:00:00 \x1b[32mINFO\x1b[0m a line of a log, as servers write them\r\n", 400))
	s := newScreen(usualSize)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		s.write(text, screenAnswers)
	}
}
