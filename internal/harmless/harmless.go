// Package harmless makes what others wrote fit for a person's terminal: text and
// colours pass, and nothing that steers the terminal does.
//
// A terminal obeys what is written to it. It can be made to fill the clipboard,
// to type answers to questions into the shell, to rename its window, or to show
// another line than the one that is there. What passes here is characters, tabs,
// ends of lines, and the sequences that choose colours and weight (SGR).
package harmless

import (
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/sero-labs/sero-runtime/internal/oneline"
)

// Bounds of one sequence. What is longer ends there, and what follows is text.
const (
	maxParams = 128      // bytes of parameters
	maxString = 64 << 10 // bytes of a string, such as a title or an image
	maxValue  = 65535    // of a parameter
)

// reset is the sequence that ends all colours.
const reset = "\x1b[0m"

// Writer passes on what is written to it, without what steers a terminal. It
// keeps sequences and characters together that are cut across writes. It is safe
// for concurrent use.
type Writer struct {
	writing sync.Mutex // orders what goes to the terminal
	to      io.Writer

	part    []byte // the beginning of a character
	state   state
	params  []byte // of a control sequence
	length  int    // of a string
	cr      bool   // a carriage return waits for what follows it
	written bool   // there is something on this line
	painted bool   // colours are on
	out     []byte
}

// state is where in a sequence a Writer is.
type state int

const (
	ground state = iota
	escape       // after ESC
	designation
	control // in a control sequence
	ignored // in a control sequence that cannot be a colour
	text    // in a string: OSC, DCS, SOS, PM, APC
)

// NewWriter makes a Writer to a terminal.
func NewWriter(to io.Writer) *Writer { return &Writer{to: to} }

// Write passes p on. All of p is taken, unless the terminal takes no more.
func (w *Writer) Write(p []byte) (int, error) {
	w.writing.Lock()
	defer w.writing.Unlock()
	rest := p
	for len(rest) > 0 {
		if len(w.part) == 0 && w.state == ground && !w.cr {
			n := plain(rest)
			w.out, rest = append(w.out, rest[:n]...), rest[n:]
			w.written = w.written || n > 0
			if len(rest) == 0 {
				break
			}
		}
		w.collect(rest[0])
		rest = rest[1:]
	}
	if err := w.flush(); err != nil {
		return 0, err
	}
	return len(p), nil
}

// plain is how many bytes at the beginning of p are visible ASCII.
func plain(p []byte) int {
	for i, b := range p {
		if b < ' ' || b > '~' {
			return i
		}
	}
	return len(p)
}

// Steer writes the program's own bytes, which may steer the terminal.
func (w *Writer) Steer(p string) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	w.out = append(w.out, p...)
	return w.flush()
}

// Settle ends what is unfinished: a cut character, a sequence, colours.
func (w *Writer) Settle() error {
	w.writing.Lock()
	defer w.writing.Unlock()
	if len(w.part) > 0 {
		w.part = w.part[:0]
		w.next(utf8.RuneError)
	}
	w.state, w.cr = ground, false
	if w.painted {
		w.painted = false
		w.out = append(w.out, reset...)
	}
	return w.flush()
}

func (w *Writer) flush() error {
	if len(w.out) == 0 {
		return nil
	}
	_, err := w.to.Write(w.out)
	if w.out = w.out[:0]; cap(w.out) > 1<<20 {
		w.out = nil
	}
	return err
}

// collect makes characters of bytes. A byte that belongs to none may be a control of eight
// bits, which some terminals obey.
func (w *Writer) collect(b byte) {
	w.part = append(w.part, b)
	for len(w.part) > 0 && utf8.FullRune(w.part) {
		r, n := utf8.DecodeRune(w.part)
		if r == utf8.RuneError && n == 1 && w.part[0] < 0xa0 {
			r = rune(w.part[0])
		}
		w.part = w.part[:copy(w.part, w.part[n:])]
		w.next(r)
	}
}

// The controls that begin or end sequences, of seven and of eight bits.
const (
	bel = 0x07
	can = 0x18
	sub = 0x1a
	esc = 0x1b
	dcs = 0x90
	sos = 0x98
	csi = 0x9b
	st  = 0x9c
	osc = 0x9d
	pm  = 0x9e
	apc = 0x9f
)

// next takes the next character, in whatever sequence there is.
func (w *Writer) next(r rune) {
	switch w.state {
	case ground:
		w.show(r)
	case text:
		w.length += utf8.RuneLen(r)
		switch {
		case r == esc:
			w.state = escape // the string ends, also where something else follows
		case r == bel || r == can || r == sub || r == st:
			w.state = ground
		case r == '\n' || w.length > maxString: // what never ends hides no more than its line
			w.state = ground
			w.show(r)
		}
	case escape:
		w.escaped(r)
	case designation:
		switch {
		case r >= ' ' && r <= '/':
		case r >= '0' && r <= '~':
			w.state = ground
		default:
			w.abort(r)
		}
	case control, ignored:
		w.controlled(r)
	}
}

// abort shows a character that cannot be part of the sequence that it is in.
func (w *Writer) abort(r rune) {
	w.state = ground
	w.show(r)
}

func (w *Writer) escaped(r rune) {
	switch {
	case r == '[':
		w.begin(control)
	case r == ']' || r == 'P' || r == 'X' || r == '^' || r == '_':
		w.begin(text)
	case r >= ' ' && r <= '/':
		w.state = designation
	case r >= '0' && r <= '~':
		w.state = ground
	default:
		w.abort(r)
	}
}

func (w *Writer) begin(s state) {
	w.state, w.params, w.length = s, w.params[:0], 0
}

// controlled takes a character of a control sequence, and passes a whole one on
// that chooses colours.
func (w *Writer) controlled(r rune) {
	switch {
	case r >= '0' && r <= ';':
		w.params = append(w.params, byte(r))
	case r >= ' ' && r <= '?':
		w.params = append(w.params, byte(r))
		w.state = ignored
	case r >= '@' && r <= '~':
		if r == 'm' && w.state == control {
			w.paint(string(w.params))
		}
		w.state = ground
		return
	default:
		w.abort(r)
		return
	}
	if len(w.params) > maxParams {
		w.state = ground
	}
}

// show passes on a character outside of sequences, or begins one.
func (w *Writer) show(r rune) {
	if w.cr && r != '\r' {
		w.cr = false
		if r == '\n' {
			w.out = append(w.out, '\r')
		} else if w.written { // what was there stays to be read
			w.newline()
		}
	}
	switch r {
	case '\n', '\v', '\f', 0x85, '\u2028', '\u2029':
		w.newline()
	case '\r':
		w.cr = true
	case '\t':
		w.out = append(w.out, '\t')
	case esc:
		w.state = escape
	case csi:
		w.begin(control)
	case dcs, sos, osc, pm, apc:
		w.begin(text)
	default:
		if !oneline.Unfit(r) {
			w.out = utf8.AppendRune(w.out, r)
			w.written = true
		}
	}
}

func (w *Writer) newline() {
	w.out = append(w.out, '\n')
	w.written = false
}

// paint writes a sequence of colours, without what hides text and without values
// that no terminal has.
func (w *Writer) paint(params string) {
	var kept []string
	list := strings.Split(params, ";")
	for i := 0; i < len(list); i++ {
		n := 1
		if list[i] == "38" || list[i] == "48" || list[i] == "58" { // a colour by its number, or by red, green and blue
			if n = 3; i+1 < len(list) && list[i+1] == "2" {
				n = 5
			}
			n = min(n, len(list)-i)
		}
		if n == 1 && strings.TrimLeft(list[i], "0") == "8" { // concealed
			continue
		}
		kept = append(kept, list[i:i+n]...)
		i += n - 1
	}
	for _, p := range kept {
		for value := range strings.SplitSeq(p, ":") {
			if n, err := strconv.Atoi(value); value != "" && (err != nil || n > maxValue) {
				return
			}
		}
	}
	if len(kept) == 0 {
		return
	}
	sequence := strings.Join(kept, ";")
	w.painted = strings.Trim(sequence, "0;") != ""
	w.out = append(append(append(w.out, "\x1b["...), sequence...), 'm')
}
