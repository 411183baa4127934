package terminal

import (
	"fmt"
	"strings"

	"github.com/sero-labs/sero-runtime/internal/ttymode"
)

// asked is who answers what a program asks its terminal.
type asked int

const (
	viewerAnswers asked = iota // the terminal of the viewer that writes
	screenAnswers              // no viewer writes
	wasAnswered                // what was written long ago is repeated
)

// reply keeps an answer, unless too many wait.
func (s *screen) reply(format string, args ...any) {
	if len(s.answers) < maxAnswers {
		s.answers = fmt.Appendf(s.answers, format, args...)
	}
}

// answer answers a question as an xterm of 256 colours does.
func (s *screen) answer(q *ttymode.Query) {
	switch q.Key {
	case "":
		s.answerColours(q)
	case "c", "Z":
		s.reply("\x1b[?62;22c")
	case ">c":
		s.reply("\x1b[>41;0;0c")
	case "=c":
		s.reply("\x1bP!|00000000\x1b\\")
	case ">q":
		s.reply("\x1bP>|sero\x1b\\")
	case "?u":
		s.reply("\x1b[?%du", s.modes.Keyboard())
	case "n", "?n":
		s.answerStatus(q)
	case "?$p":
		mode, state := q.Param(0, 0), 0
		if s.modes.Known(mode) {
			state = modeState(s.modes.Private(mode))
		}
		s.reply("\x1b[?%d;%d$y", mode, state)
	case "$p":
		mode := q.Param(0, 0)
		s.reply("\x1b[%d;%d$y", mode, modeState(s.modes.Standard(mode)))
	case "t":
		if n := q.Param(0, 0); n == 18 || n == 19 {
			s.reply("\x1b[%d;%d;%dt", n-10, s.rows, s.cols)
		}
	case "P":
		if strings.Contains(q.Data, "$q") {
			s.reply("\x1bP0$r\x1b\\")
		} else {
			s.reply("\x1bP0+r\x1b\\")
		}
	}
}

// modeState is how a report says whether a mode is on.
func modeState(on bool) int {
	if on {
		return 1
	}
	return 2
}

// answerStatus answers where the cursor is, and that all is well.
func (s *screen) answerStatus(q *ttymode.Query) {
	switch n := q.Param(0, 0); {
	case n == 6:
		s.flush()
		at := s.shown().CursorPosition()
		s.reply("\x1b[%s%d;%dR", strings.TrimSuffix(q.Key, "n"), at.Y+1, at.X+1)
	case n == 5 && q.Key == "n":
		s.reply("\x1b[0n")
	}
}

// answerColours answers which colours text, background and cursor have: each
// further "?" asks for the next one.
func (s *screen) answerColours(q *ttymode.Query) {
	for i, field := range strings.Split(q.Data, ";") {
		if colour, known := colours[q.OSC+i]; known && field == "?" {
			s.reply("\x1b]%d;rgb:%s\x1b\\", q.OSC+i, colour)
		}
	}
}

var colours = map[int]string{10: "ffff/ffff/ffff", 11: "0000/0000/0000", 12: "ffff/ffff/ffff"}
