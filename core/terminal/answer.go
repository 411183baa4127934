package terminal

import (
	"fmt"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"
)

// reply keeps an answer, unless too many wait.
func (s *screen) reply(format string, args ...any) bool {
	if len(s.answers) < maxAnswers {
		s.answers = fmt.Appendf(s.answers, format, args...)
	}
	return true
}

// answer has the questions of programs answered as an xterm of 256 colours does.
// The emulator's own answers go to a pipe without a reader, so each question that
// it knows is taken from it.
func (s *screen) answer(e *vt.Emulator) {
	csi := func(prefix, inter, final byte, f func(n int) bool) {
		e.RegisterCsiHandler(ansi.Command(prefix, inter, final), func(params ansi.Params) bool {
			n, _, _ := params.Param(0, 0)
			return f(n)
		})
	}
	csi(0, 0, 'c', func(int) bool { return s.reply("\x1b[?62;22c") })
	csi('>', 0, 'c', func(int) bool { return s.reply("\x1b[>41;0;0c") })
	csi('=', 0, 'c', func(int) bool { return s.reply("\x1bP!|00000000\x1b\\") })
	csi('>', 0, 'q', func(int) bool { return s.reply("\x1bP>|sero\x1b\\") })
	csi('?', 0, 'u', func(int) bool { return s.reply("\x1b[?%du", s.modes.Keyboard()) })
	place := func(prefix string) func(int) bool {
		return func(n int) bool {
			at := e.CursorPosition()
			switch {
			case n == 6:
				return s.reply("\x1b[%s%d;%dR", prefix, at.Y+1, at.X+1)
			case n == 5 && prefix == "":
				return s.reply("\x1b[0n")
			}
			return true
		}
	}
	csi(0, 0, 'n', place(""))
	csi('?', 0, 'n', place("?"))
	csi('?', '$', 'p', func(n int) bool {
		state := 0
		if s.modes.Known(n) {
			if state = 2; s.modes.Private(n) {
				state = 1
			}
		}
		return s.reply("\x1b[?%d;%d$y", n, state)
	})
	csi(0, '$', 'p', func(n int) bool {
		state := 2
		if s.modes.Standard(n) {
			state = 1
		}
		return s.reply("\x1b[%d;%d$y", n, state)
	})
	csi(0, 0, 't', func(n int) bool {
		if n == 18 || n == 19 {
			return s.reply("\x1b[%d;%d;%dt", n-10, s.rows, s.cols)
		}
		return true
	})
	for number, colour := range map[int]string{10: "ffff/ffff/ffff", 11: "0000/0000/0000", 12: "ffff/ffff/ffff"} {
		e.RegisterOscHandler(number, func(data []byte) bool {
			if n := len(data); n > 0 && data[n-1] == '?' {
				return s.reply("\x1b]%d;rgb:%s\x1b\\", number, colour)
			}
			return true // a viewer's own colours stay
		})
	}
	e.RegisterDcsHandler(ansi.Command(0, '+', 'q'), func(ansi.Params, []byte) bool { return s.reply("\x1bP0+r\x1b\\") })
	e.RegisterDcsHandler(ansi.Command(0, '$', 'q'), func(ansi.Params, []byte) bool { return s.reply("\x1bP0$r\x1b\\") })
}
