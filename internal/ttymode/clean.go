package ttymode

import "unicode/utf8"

// Cleaner makes a stream fit for a parser that trusts its input: it is valid UTF-8
// afterwards, and controls have seven bits. Characters may be cut across pieces.
type Cleaner struct {
	part []byte // the beginning of a character
	out  []byte
}

// Clean returns the next piece. It is valid until the next call, and p is not kept.
func (c *Cleaner) Clean(p []byte) []byte {
	if len(c.part) == 0 && ascii(p) {
		return p
	}
	c.out = c.out[:0]
	for _, b := range p {
		if b < utf8.RuneSelf && len(c.part) == 0 {
			c.out = append(c.out, b)
			continue
		}
		c.part = append(c.part, b)
		for len(c.part) > 0 && utf8.FullRune(c.part) {
			r, n := utf8.DecodeRune(c.part)
			switch {
			case r >= 0x80 && r <= 0x9f:
				c.out = append(c.out, 0x1b, byte(r)-0x40)
			default:
				c.out = utf8.AppendRune(c.out, r) // RuneError for what is none
			}
			c.part = c.part[:copy(c.part, c.part[n:])]
		}
	}
	return c.out
}

func ascii(p []byte) bool {
	for _, b := range p {
		if b >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
