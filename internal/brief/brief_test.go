package brief_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sero-labs/sero-runtime/internal/brief"
)

func TestText(t *testing.T) {
	long := "/home/ada/" + strings.Repeat("deep/", 40)
	for s, want := range map[string]string{
		"":                       `""`,
		"/src/shop":              `"/src/shop"`,
		"a\x1b[2Jb\xff":          `"a\x1b[2Jb\xff"`,
		"/src/caf\u00e9":         `"/src/caf\u00e9"`,
		long + "shop":            `"` + long[:40] + "…" + (long + "shop")[94:] + `" (214 bytes)`,
		strings.Repeat("x", 160): `"` + strings.Repeat("x", 160) + `"`,
	} {
		if got := brief.Text(s); got != want {
			t.Errorf("%q is shown as\n%s, want\n%s", s, got, want)
		}
	}
}

// Two directories that differ in their last name are told apart, and no letter
// is cut in two, wherever the cuts are.
func TestTextTellsPathsApart(t *testing.T) {
	for n := range 8 {
		parent := "/" + strings.Repeat("a", n) + strings.Repeat("é𝄞語", 60) + "/"
		one, other := brief.Text(parent+"one"), brief.Text(parent+"other")
		if !strings.Contains(one, `/one" (`) || !strings.Contains(other, `/other" (`) {
			t.Errorf("%s and %s", one, other)
		}
		for _, text := range []string{one, other} {
			if strings.Contains(text, `\x`) || strings.Contains(text, `\ufffd`) {
				t.Errorf("a letter is cut: %s", text)
			}
		}
	}
	garbage := strings.Repeat("\x80", 1000)
	if got := brief.Text(garbage); len(got) > 5*brief.Most || !strings.HasSuffix(got, fmt.Sprintf("(%d bytes)", len(garbage))) {
		t.Errorf("garbage is shown as %s", got)
	}
}

// E: a text that is cut ends with a whole character, wherever the cut is.
func TestEHeadCutsBetweenCharacters(t *testing.T) {
	text := "aé𝄞語" + strings.Repeat("語", 4)
	for most := range len(text) + 2 {
		head := brief.Head(text, most)
		if !utf8.ValidString(head) || !strings.HasPrefix(text, head) || len(head) > most || len(head) < min(most, len(text))-3 {
			t.Errorf("of %d bytes: %q", most, head)
		}
	}
}
