package ttymode

import (
	"math/rand/v2"
	"testing"
	"time"
)

// B: what a program switched on is known, however its output is cut, and so is
// the way back.
func TestBUndo(t *testing.T) {
	for _, c := range []struct{ name, in, undo string }{
		{"nothing", "hello\r\n\x1b[31mred\x1b[0m\x1b[2J\x1b[6n", ""},
		{"vim", "\x1b[?1049h\x1b[22;0;0t\x1b[?1h\x1b=\x1b[?2004h\x1b[?25l\x1b[1;24r\x1b[?12h", "\x1b[?2004l\x1b[?25h\x1b[?12l\x1b[?1l\x1b>\x1b[?1049l\x1b7\x1b[r\x1b8\x1b[23;0t"},
		{"vim, left by itself", "\x1b[?1049h\x1b[?1h\x1b=\x1b[?25l\x1b[?25h\x1b[?1l\x1b>\x1b[r\x1b[?1049l", ""},
		{"mouse", "\x1b[?1000;1002;1006;1004h", "\x1b[?1006l\x1b[?1004l\x1b[?1002l\x1b[?1000l"},
		{"controls of eight bits", "\u009b?1049h\xe9\x1b[?1003h", "\x1b[?1003l\x1b[?1049l"},
		{"character sets", "\x1b(0\x1b)0\x0e", "\x1b(B\x1b)B\x0f"},
		{"character sets, back", "\x1b(0\x0e\x0f\x1b(B", ""},
		{"kitty", "\x1b[>1u\x1b[>5u", "\x1b[<2u"},
		{"kitty on both screens", "\x1b[>1u\x1b[?1049h\x1b[=3u", "\x1b[=0u\x1b[?1049l\x1b[<1u"},
		{"kitty, back", "\x1b[>1u\x1b[<u", ""},
		{"modifyOtherKeys", "\x1b[>4;2m", "\x1b[>4m"},
		{"autowrap, cursor style, insert", "\x1b[?7l\x1b[4 q\x1b[4h", "\x1b[?7h\x1b[4l\x1b[0 q"},
		{"colours", "\x1b[1;31m\x1b]11;#000000\x07\x1b]4;1;red\x1b\\\x1b]10;?\x07", "\x1b[m\x1b]104\x1b\\\x1b]111\x1b\\"},
		{"link", "\x1b]8;;http://x\x07", "\x1b]8;;\x1b\\"},
		{"cut", "\x1b[?25l\x1b]0;ti", "\x18\x1b[?25h"},
		{"full reset", "\x1b[?1049h\x1b[?25l\x1bc", ""},
		{"saved", "\x1b[?1000s\x1b[?1000h\x1b[?1000r", ""},
	} {
		for _, size := range []int{1, 2, 1 << 20} {
			x := New()
			for rest := []byte(c.in); len(rest) > 0; {
				n := min(size, len(rest))
				_, _ = x.Write(rest[:n])
				rest = rest[n:]
			}
			if got := x.Undo(); got != c.undo {
				t.Errorf("%s, in pieces of %d: %q, want %q", c.name, size, got, c.undo)
			}
		}
	}
}

// B: undone is undone, and Set leads to the same state, whatever came before.
func TestBUndoLeavesNothing(t *testing.T) {
	parts := []string{
		"\x1b", "[", "?", "h", "l", "r", "m", "q", "u", " ", ">", "<", "=", "1049", "25", "2004", "1", ";", "4", "99999999999999999999",
		"\x1b[?1049h", "\x1b[?1003h", "\x1b[>1u", "\x1b(0", "\x0e", "\x1b]8;;x\x07", "\x1b]11;red\x07", "x", "é", "\xc3", "\u009b", "\x1bP", "\x1b\\", "\x1b[22t", "\x1b[2;5r",
	}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	for range 5000 {
		x, in := New(), ""
		for range random.IntN(40) {
			part := parts[random.IntN(len(parts))]
			in += part
			_, _ = x.Write([]byte(part))
		}
		undo := x.Undo()
		copied := New()
		if alternate := x.Alternate(); alternate != 0 {
			copied.set(alternate, true)
		}
		_, _ = copied.Write([]byte(x.Set()))
		if a, b := x.Set(), copied.Set(); a != b {
			t.Fatalf("seed %d: %q sets %q, then %q", seed, in, a, b)
		}
		if len(x.cleaner.part) == 0 {
			_, _ = x.Write([]byte(undo))
			if left := x.Undo(); left != "" {
				t.Fatalf("seed %d: after %q and %q there is %q to undo", seed, in, undo, left)
			}
		}
	}
}
