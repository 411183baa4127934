package oneline

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestOf(t *testing.T) {
	for text, want := range map[string]string{
		"npm run dev":            "npm run dev",
		" a\r\n":                 "a",
		"a\nb\tc":                "a b c",
		"\x1b[31mred\x07\x7f":    "[31mred",
		"\u009b2J":               "2J",
		"cod\u202egnp.exe":       "cod gnp.exe",
		"a\u2066b\u2069c\u200fd": "a b c d",
		"a\u061cb\u200ec":        "a b c",
		"a\u2028b\u2029c":        "a b c",
		"\xff\xfe":               "\uFFFD",
		"日本語 שלום 👩\u200d👩":      "日本語 שלום 👩\u200d👩",
	} {
		if got := Of(text, 100, ' '); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	for _, limit := range []int{0, 1, 2, 3, 10} {
		if got := Of(strings.Repeat("é\n", 50), limit, '?'); len(got) > limit || !utf8.ValidString(got) {
			t.Errorf("of %d bytes: %q", limit, got)
		}
	}
}
