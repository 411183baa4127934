package ttymode

import (
	"bytes"
	"strconv"
)

// kind is what a piece of output is.
type kind byte

const (
	text    kind = iota // characters and controls of one byte
	escape              // ESC and what follows it
	control             // CSI
	command             // OSC
	device              // DCS
	other               // SOS, PM, APC
	part                // of a string that is too long to be held
)

// maxHeld is how much of one sequence is held until it is complete.
const maxHeld = 4 << 10

// piece is a part of the output that is complete in itself.
type piece struct {
	kind  kind
	bytes []byte // valid until the next piece is taken
}

// state is where in a sequence the output is.
type state byte

const (
	ground       state = iota
	inEscape           // ESC, and intermediate bytes
	inControl          // CSI, and parameters
	inString           // OSC, DCS, SOS, PM, APC
	inStringEsc        // ESC in one of them
	inPassing          // in a string that is passed on as it comes
	inPassingEsc       // ESC in one of them
)

// splitter cuts output that is clean into pieces, wherever it was cut before. What
// a terminal would not obey, such as a sequence that is broken off, it leaves out.
type splitter struct {
	state state
	kind  kind
	held  []byte
}

const (
	enq = 0x05
	bel = 0x07
	so  = 0x0e
	si  = 0x0f
	can = 0x18
	sub = 0x1a
	esc = 0x1b
	del = 0x7f
)

// next takes n bytes; ok reports whether there is a piece.
func (s *splitter) next(p []byte) (out piece, n int, ok bool) {
	for n < len(p) {
		b := p[n]
		switch {
		case s.state == ground:
			if i := plain(p[n:]); i > 0 {
				return piece{text, p[n : n+i]}, n + i, true
			}
			n++
			if b != esc {
				return piece{text, p[n-1 : n]}, n, true
			}
			s.begin()
		case s.state >= inPassing:
			if out, n, ok = s.pass(p, n); ok {
				return out, n, true
			}
		case s.state >= inString:
			if out, n, ok = s.string(p, n); ok {
				return out, n, true
			}
		case b == esc:
			n++
			s.begin()
		case b == can || b == sub:
			n++
			s.state = ground
		case b < 0x20: // obeyed at once
			return piece{text, p[n : n+1]}, n + 1, true
		case b >= 0x80: // a character ends what it is in
			s.state = ground
		default:
			n++
			if s.sequence(b) {
				return piece{s.kind, s.held}, n, true
			}
		}
	}
	return piece{}, n, false
}

// plain is how many bytes at the beginning are text.
func plain(p []byte) int {
	for i, b := range p {
		if b == esc || b == enq || b == so || b == si {
			return i
		}
	}
	return len(p)
}

func (s *splitter) begin() { s.state, s.held = inEscape, append(s.held[:0], esc) }

// sequence takes a byte of an escape or control sequence, and reports whether it
// is the last.
func (s *splitter) sequence(b byte) bool {
	if b == del || len(s.held) > maxHeld {
		if b >= 0x40 && b != del {
			s.state = ground // no real one is that long
		}
		return false
	}
	s.held = append(s.held, b)
	if s.state == inControl {
		if b < 0x40 {
			return false
		}
		s.state, s.kind = ground, control
		return true
	}
	if len(s.held) == 2 {
		s.state, s.kind = inString, other
		switch b {
		case '[':
			s.state = inControl
			return false
		case ']':
			s.kind = command
			return false
		case 'P':
			s.kind = device
			return false
		case 'X', '^', '_':
			return false
		}
		s.state = inEscape
	}
	if b < 0x30 {
		return false
	}
	s.state, s.kind = ground, escape
	return true
}

// string takes what is in a string.
func (s *splitter) string(p []byte, from int) (out piece, n int, ok bool) {
	for n = from; n < len(p); {
		b := p[n]
		if s.state == inStringEsc {
			out = piece{s.kind, append(s.held, esc, '\\')}
			if s.held = nil; b == '\\' {
				s.state = ground
				return out, n + 1, true
			}
			s.begin() // of another sequence, which ends the string, too
			return out, n, true
		}
		n++
		switch {
		case b == esc:
			s.state = inStringEsc
		case b == bel && s.kind == command:
			s.state, s.held = ground, append(s.held, b)
			return piece{s.kind, s.held}, n, true
		case b == can || b == sub:
			s.state = ground
			return piece{}, n, false
		default:
			if s.held = append(s.held, b); len(s.held) >= maxHeld {
				s.state = inPassing
				return piece{part, s.held}, n, true
			}
		}
	}
	return piece{}, n, false
}

// pass takes what is in a long string.
func (s *splitter) pass(p []byte, from int) (out piece, n int, ok bool) {
	if s.state == inPassingEsc {
		n = from
		if p[n] == '\\' {
			n++
			s.state = ground
		} else {
			s.begin()
		}
		return piece{part, []byte("\x1b\\")}, n, true
	}
	for n = from; n < len(p); n++ {
		switch b := p[n]; {
		case b == esc:
			s.state = inPassingEsc
			return piece{part, p[from:n]}, n + 1, n > from
		case b == bel && s.kind == command || b == can || b == sub:
			s.state = ground
			return piece{part, p[from : n+1]}, n + 1, true
		}
	}
	return piece{part, p[from:n]}, n, true
}

// osc cuts the number off the data of an OSC; -1 where there is none.
func osc(data []byte) (number int, argument []byte) {
	digits, argument, _ := bytes.Cut(data, []byte(";"))
	number, err := strconv.Atoi(string(digits))
	if err != nil {
		return -1, argument
	}
	return number, argument
}

// body is the data of a string, without what begins and ends it.
func body(b []byte) []byte {
	b = b[2:]
	if end := len(b) - 1; end >= 0 && b[end] == bel {
		return b[:end]
	}
	return bytes.TrimSuffix(b, []byte("\x1b\\"))
}
