// Package oneline makes text that others wrote fit to be shown and passed on.
package oneline

import (
	"strings"
	"unicode"
)

// Unfit tells whether a character does more than be seen: it ends a line, steers
// a terminal or turns around what is read.
func Unfit(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r)
}

// Of is a text as one line of at most limit bytes, with instead in the place of
// each unfit character.
func Of(text string, limit int, instead rune) string {
	text = strings.Map(func(r rune) rune {
		if Unfit(r) {
			return instead
		}
		return r
	}, strings.TrimSpace(strings.ToValidUTF8(text, "\uFFFD")))
	if text = strings.TrimSpace(text); len(text) > limit {
		text = text[:limit]
	}
	return strings.ToValidUTF8(text, "")
}
