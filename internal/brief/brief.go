// Package brief makes text from outside short enough, and harmless, for a
// message.
package brief

import (
	"strconv"
	"unicode/utf8"
)

// Most is how many bytes of a text are shown.
const Most = 160

// Text is s in quotes, without control bytes or look-alikes. Of a long one both
// ends are left, more of the last one: that is what tells paths apart.
func Text(s string) string {
	if len(s) <= Most {
		return strconv.QuoteToASCII(s)
	}
	head, tail := Most/4, len(s)-Most*3/4
	for head > Most/4-utf8.UTFMax && !utf8.RuneStart(s[head]) {
		head--
	}
	for tail < len(s)-Most*3/4+utf8.UTFMax && !utf8.RuneStart(s[tail]) {
		tail++
	}
	first, last := strconv.QuoteToASCII(s[:head]), strconv.QuoteToASCII(s[tail:])
	return first[:len(first)-1] + "…" + last[1:] + " (" + strconv.Itoa(len(s)) + " bytes)"
}

// Head is the beginning of s, of at most so many bytes, that ends with a whole
// character.
func Head(s string, most int) string {
	if len(s) <= most {
		return s
	}
	end := most
	for end > 0 && end > most-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
