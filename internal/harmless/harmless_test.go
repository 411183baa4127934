package harmless

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// cases are what is written and what is shown of it.
var cases = []struct{ name, in, want string }{
	{"text", "hello\n\tworld\r\nend", "hello\n\tworld\r\nend"},
	{"characters", "日本語 é 👩‍👩‍👧 שלום", "日本語 é 👩‍👩‍👧 שלום"},
	{"colours", "\x1b[1;31mred\x1b[0m \x1b[38;2;8;8;8mx\x1b[m\x1b[38:5:8my\x1b[39m", "\x1b[1;31mred\x1b[0m \x1b[38;2;8;8;8mx\x1b[m\x1b[38:5:8my\x1b[39m" + reset},
	{"palette 8", "\x1b[38;5;8;1mx\x1b[m", "\x1b[38;5;8;1mx\x1b[m"},
	{"clipboard", "a\x1b]52;c;ZXZpbA==\x07b", "ab"},
	{"clipboard, ST", "a\x1b]52;c;ZXZpbA==\x1b\\b", "ab"},
	{"clipboard, 8 bits", "a\x9d52;c;ZXZpbA==\x9cb", "ab"},
	{"clipboard, C1 in UTF-8", "a\u009d52;c;ZXZpbA==\u009cb", "ab"},
	{"title", "\x1b]0;mine\x07\x1b]2;mine\x1b\\x", "x"},
	{"link", "\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\", "click"},
	{"queries", "a\x1b[6n\x1b[c\x1b[>c\x1b[=c\x1b[?6n\x1b[5n\x1b[>q\x1b[?u\x1b[?2026$p\x1b[21t\x1b]10;?\x07\x1bP+q544e\x1b\\\x1bZ\x05b", "ab"},
	{"movement", "a\x1b[2J\x1b[H\x1b[1A\x1b[K\x1b[3;4Hb\x1b7\x1b8\x1bc\x1bM\x1bD", "ab"},
	{"modes", "\x1b[?1049h\x1b[?25l\x1b[?1000;1006h\x1b[?2004h\x1b=\x1b>\x1b(0\x1b)B\x1b#8\x1b%Gx", "x"},
	{"raw CSI", "a\x9b2Jb\x9b31mc", "ab\x1b[31mc" + reset},
	{"C1 CSI", "a\u009b2Jb\u009b31mc", "ab\x1b[31mc" + reset},
	{"other C1", "a\u0084b\u008dc\u009ad", "abcd"},
	{"DCS, APC, PM, SOS", "a\x1bPq#0\x1b\\b\x1b_Gi=1\x1b\\c\x1b^x\x1b\\d\x1bXy\x1b\\e", "abcde"},
	{"strings of 8 bits", "a\x90q\x9cb\x9fG\x9cc\x9ex\x9cd\x98y\x9ce", "abcde"},
	{"bidi", "a\u202eb\u202ac\u2066d\u2069e\u200ef\u200fg\u061ch", "abcdefgh"},
	{"carriage return", "rm -rf /\recho ok\n", "rm -rf /\necho ok\n"},
	{"progress", "\r10%\r20%\r\n", "10%\n20%\r\n"},
	{"several returns", "a\r\r\nb", "a\r\nb"},
	{"backspace", "evil\b\b\b\bgood\x7f\x00\x07", "evilgood"},
	{"other ends of lines", "a\vb\fc\u0085d\u2028e", "a\nb\nc\nd\ne"},
	{"string without an end", "a\x1b]0;hidden\nb\x1bPhidden\nc", "a\nb\nc"},
	{"string in a string", "a\x1b]0;x\x1b]52;c;eA==\x07b\x1bPx\x1b[31mc", "ab\x1b[31mc" + reset},
	{"cancelled", "a\x1b]0;x\x18b\x1b[3\x18c\x1b[3\x1b[31md", "abc\x1b[31md" + reset},
	{"absurd colours", "a\x1b[99999999999999999999mb\x1b[1;70000mc\x1b[1:2:99999999mnd", "abcnd"},
	{"colours that are none", "a\x1b[>4;2mb\x1b[?4mc\x1b[1 md\x1b[1!me", "abcde"},
	{"concealed", "a\x1b[8mb\x1b[1;8mc\x1b[008md", "ab\x1b[1mcd" + reset},
	{"parameters without an end", "a\x1b[" + strings.Repeat("1;", 200) + "31mb", "a" + strings.Repeat("1;", 200)[maxParams+1:] + "31mb"},
	{"line in a sequence", "a\x1b[3\nb\x1b\nc\x1b(\nd", "a\nb\nc\nd"},
	{"unfinished", "a\x1b[31", "a"},
	{"character in a sequence", "a\x1b[3éb", "aéb"},
	{"not UTF-8", "caf\xe9 \xff\xfe", "caf� ��"},
	{"cut character", "a\xe6\x97", "a�"},
	{"overlong escape", "a\xc0\x9bb\xe0\x80\x9bc", "a��"}, // 0x9b begins a sequence, and b and c end it
}

// A7: whatever others wrote, a terminal gets text and colours, however the bytes
// are cut.
func TestA7OnlyTextAndColours(t *testing.T) {
	for _, c := range cases {
		for _, size := range []int{1, 2, 3, 7, 1 << 20} {
			var got bytes.Buffer
			w := NewWriter(&got)
			for rest := []byte(c.in); len(rest) > 0; {
				n := min(size, len(rest))
				if taken, err := w.Write(rest[:n]); taken != n || err != nil {
					t.Fatal(taken, err)
				}
				rest = rest[n:]
			}
			if err := w.Settle(); err != nil {
				t.Fatal(err)
			}
			if got.String() != c.want {
				t.Errorf("%s, in pieces of %d: %q is %q, want %q", c.name, size, c.in, got.String(), c.want)
			}
		}
	}
}

// fit reports whether text is made of nothing but characters, ends of lines and
// colours, by another way than the Writer's own.
func fit(text string) bool {
	for len(text) > 0 {
		if rest, ok := strings.CutPrefix(text, "\x1b["); ok {
			i := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != ';' && r != ':' })
			if i < 0 || rest[i] != 'm' {
				return false
			}
			text = rest[i+1:]
			continue
		}
		r, n := utf8.DecodeRuneInString(text)
		switch {
		case r == '\r' && !strings.HasPrefix(text, "\r\n"), r == utf8.RuneError && n == 1:
			return false
		case r == '\n' || r == '\r' || r == '\t':
		case r < ' ', r >= 0x7f && r < 0xa0, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f, r == 0x61c:
			return false
		}
		text = text[n:]
	}
	return true
}

// A7: random bytes, made of what sequences are made of, come out harmless.
func TestA7RandomBytes(t *testing.T) {
	parts := []string{
		"\x1b", "[", "]", "P", "_", "^", "X", "\\", "\x07", "\x9b", "\x9d", "\x90", "\u009b", "\u009d", "\xc2", "\xe2", "\x80", "\xae",
		"m", "n", "c", "J", "h", "?", ">", ";", ":", "0", "8", "38", "52", "99999", "\r", "\n", "\b", "\x18", "a", "é", "\u202e", " ", "$", "\xff", "\x00",
	}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 7))
	for range 20000 {
		var in, out bytes.Buffer
		w := NewWriter(&out)
		for range 1 + random.IntN(30) {
			part := parts[random.IntN(len(parts))]
			in.WriteString(part)
			_, _ = io.WriteString(w, part)
		}
		if _ = w.Settle(); !fit(out.String()) {
			t.Fatalf("seed %d: %q is shown as %q", seed, in.String(), out.String())
		}
	}
}

func TestSteerIsTheProgramsOwn(t *testing.T) {
	var got bytes.Buffer
	w := NewWriter(&got)
	_, _ = io.WriteString(w, "a\x1b[K")
	if err := w.Steer("\r\x1b[K"); err != nil || got.String() != "a\r\x1b[K" {
		t.Errorf("%q, %v", got.String(), err)
	}
}

// A string without an end is not kept, and hides a bounded part.
func TestLongString(t *testing.T) {
	var got bytes.Buffer
	w := NewWriter(&got)
	_, _ = io.WriteString(w, "\x1b]52;c;"+strings.Repeat("A", maxString)+strings.Repeat("B", 100))
	if n := strings.Count(got.String(), "B"); n != 100 {
		t.Errorf("%d of 100 bytes are shown", n)
	}
	if cap(w.params) > 2*maxParams {
		t.Errorf("%d bytes are kept", cap(w.params))
	}
}
