package ttymode

import (
	"bytes"
	"slices"
	"strings"
)

// Query is what a program asks its terminal.
type Query struct {
	Key    string // of a control sequence: what is not a parameter; "Z" and "\x05" for those of one byte, "P" for a device control string
	Params []int  // of a control sequence; -1 for one that is left out
	OSC    int    // of an operating system command, 0 for none
	Data   string // of a command, after its number, or of a device control string
}

// Param returns a parameter, or def.
func (q *Query) Param(i, def int) int {
	if i >= len(q.Params) || q.Params[i] < 0 {
		return def
	}
	return q.Params[i]
}

// own reports whether the question is about a mode that a session's terminal does
// not know, whatever terminal looks at it.
func (q *Query) own() bool { return q.Key == "?$p" && q.Param(0, 0) == inBand }

// asking are the control sequences that terminals answer.
var asking = []string{
	"c", ">c", "=c", "n", "?n", ">q", "?u", "?$p", "$p", "x", "?m", "?g", "?S", // in use
	"#R", "#|", "#S", "*y", "$w", "$u", "&u", "\"v", "'|", "+x", // of old or rare terminals
}

// csiAsks reports whether a control sequence is a question.
func csiAsks(key string, n int) bool {
	if key == "t" {
		return n >= 11 && n <= 21 && n != 12 && n != 17
	}
	return slices.Contains(asking, key)
}

// drawing are the control sequences that draw, move the cursor or set modes, and
// that no terminal answers. An unknown one is not among them.
var drawing = []string{
	"@", "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "P", "S", "T", "X", "Z",
	"`", "a", "b", "d", "e", "f", "g", "h", "l", "m", "r", "s", "u",
	"?J", "?K", "?h", "?l", "?r", "?s", "?W", ">m", ">n", ">u", "<u", "=u", "!p", " q", " @", " A", "'}", "'~",
	"\"q", "*x", "$r", "$t", "$v", "$x", "$z", "${", "#{", "#}", "#p", "#q",
}

// csiDraws reports whether a control sequence draws, moves the cursor or sets modes.
func csiDraws(key string) bool { return slices.Contains(drawing, key) }

// plainOSC are commands without a form that is a question: titles, directories,
// links, notifications, marks of prompts, sizes of text. A title may be "?".
var plainOSC = []int{0, 1, 2, 7, 8, 9, 66, 133, 633, 777}

// colourOSC reports whether a command is about colours, the pointer's shape or the
// clipboard: its argument "?" is a question.
func colourOSC(number int) bool {
	return number == 4 || number == 5 || number >= 10 && number <= 19 || number == 22 || number == 52 || number >= 104 && number <= 119
}

// oscAsks reports whether a command is a question, or has one in it.
func oscAsks(number int, argument []byte) bool {
	switch {
	case slices.Contains(plainOSC, number):
		return false
	case number == 60 || number == 61 || number == 5522:
		return true
	case number == 99:
		options, _, _ := bytes.Cut(argument, []byte(";"))
		return bytes.Contains(options, []byte("p=?"))
	case number == 1337:
		name, _, _ := bytes.Cut(argument, []byte("="))
		return bytes.HasPrefix(name, []byte("Report")) || bytes.HasPrefix(name, []byte("Request")) || bytes.HasPrefix(name, []byte("Capabilities"))
	}
	for field := range bytes.SplitSeq(argument, []byte(";")) {
		if field = bytes.TrimSpace(field); bytes.HasPrefix(field, []byte("?")) || bytes.HasSuffix(field, []byte("=?")) {
			return true
		}
	}
	return false
}

// oscSafe reports whether no terminal answers a command, now or later.
func oscSafe(number int, argument []byte) bool {
	return slices.Contains(plainOSC, number) || colourOSC(number) && !oscAsks(number, argument)
}

// dcsAsks reports whether a device control string is a question.
func dcsAsks(data []byte) bool {
	head := bytes.TrimLeft(data, dcsParams)
	for _, asks := range []string{"+q", "+Q", "$q"} {
		if bytes.HasPrefix(head, []byte(asks)) {
			return true
		}
	}
	return false
}

// dcsSafe reports whether no terminal answers a device control string: it is a
// picture. Others may carry a question to the terminal that a terminal runs in.
func dcsSafe(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(data, dcsParams), []byte("q"))
}

const dcsParams = "0123456789;:<=>?"

// without is a sequence that sets modes, less one of them; nil if that leaves none.
func without(sequence []byte, mode string) []byte {
	head, final := sequence[:3], sequence[len(sequence)-1]
	var kept []string
	for param := range strings.SplitSeq(string(sequence[3:len(sequence)-1]), ";") {
		if strings.TrimLeft(param, "0") != mode {
			kept = append(kept, param)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return append(append(slices.Clone(head), strings.Join(kept, ";")...), final)
}
