package terminal

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/vt"

	"github.com/sero-labs/sero-runtime/internal/oneline"
	"github.com/sero-labs/sero-runtime/internal/ttymode"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Bounds of a screen, for what draws on it may be hostile.
const (
	maxRows    = 300
	maxCols    = 600
	feedPiece  = 4 << 10 // bytes between two looks at what has scrolled away
	maxRepeat  = 1000    // of what one sequence repeats
	maxLink    = 2 << 10
	maxAnswers = 4 << 10 // bytes that wait to be typed
)

// screen is what a session's terminal shows: an emulator for each of the two
// screens, what has scrolled away as text, and the modes. It is not safe for
// concurrent use.
type screen struct {
	rows, cols int
	cleaner    ttymode.Cleaner
	modes      *ttymode.Tracker
	main       *vt.Emulator
	other      *vt.Emulator // the alternate screen while it is shown
	title      string
	lines      []string // that have scrolled away, oldest first
	size       int      // of lines, in bytes
	pending    []byte   // that is not drawn yet
	answers    []byte   // to what the program has asked
	toWriter   []byte   // of the last write: see there
	toOthers   []byte
	skip       bool // what is left of a long string has no viewer that got its beginning
}

func newScreen(size driver.TerminalSize) *screen {
	s := &screen{modes: ttymode.New()}
	s.rows, s.cols = bounded(size)
	s.main = s.emulator()
	return s
}

func bounded(size driver.TerminalSize) (rows, cols int) {
	if size.Rows == 0 || size.Cols == 0 {
		return 24, 80
	}
	return min(int(size.Rows), maxRows), min(int(size.Cols), maxCols)
}

// shown is the emulator of the screen that is shown.
func (s *screen) shown() *vt.Emulator {
	if s.other != nil {
		return s.other
	}
	return s.main
}

// write takes output, and returns what of it the viewer that writes is to get, and
// what the others: only its terminal is asked. Both end with a
// complete sequence, and are valid until the next write.
//
// Output is drawn when a viewer wants to see it, or when the program asks for an
// answer: to draw is slow, and most output just scrolls away.
func (s *screen) write(p []byte, who asked) (toWriter, toOthers []byte) {
	s.toWriter, s.toOthers = s.toWriter[:0], s.toOthers[:0]
	for clean := s.cleaner.Clean(p); len(clean) > 0; {
		passing := s.modes.Passing()
		step := s.modes.Step(clean)
		clean = clean[step.Taken:]
		if step.Part && !passing {
			s.skip = who != viewerAnswers
		}
		if !step.Part || !s.skip {
			s.toWriter = append(s.toWriter, step.Pass...)
		}
		if step.Safe {
			s.toOthers = append(s.toOthers, step.Pass...)
		}
		s.follow(step)
		if step.Query != nil && (who == screenAnswers || who == viewerAnswers && step.Own()) {
			s.answer(step.Query)
		}
	}
	if s.other != nil {
		s.flush()
	}
	if len(s.pending) > 2*MaxBytes {
		s.trim()
	}
	return s.toWriter, s.toOthers
}

// follow takes one step of the output.
func (s *screen) follow(step ttymode.Step) {
	if step.Title != nil {
		s.title = oneline.Of(string(step.Title), 200, ' ')
	}
	if !step.Draw {
		return
	}
	s.pending = append(s.pending, step.Pass...)
	if alternate := s.modes.Alternate() != 0; alternate != (s.other != nil) {
		s.flush()
		s.other = nil
		if alternate {
			s.other = s.emulator()
		}
	}
}

// newWriter is called when another viewer writes. It reports whether the terminal of
// the one before has got only the beginning of a long string.
func (s *screen) newWriter() (cut bool) {
	cut = s.modes.Passing() && !s.skip
	s.skip = true
	return cut
}

// flush draws all output.
func (s *screen) flush() {
	for rest := s.pending; len(rest) > 0; {
		n := min(len(rest), feedPiece)
		s.draw(rest[:n])
		rest = rest[n:]
	}
	s.pending = s.pending[:0]
}

// trim forgets the output that has scrolled out of all that is kept.
func (s *screen) trim() {
	kept := s.pending[len(s.pending)-MaxBytes:]
	kept = kept[bytes.IndexByte(kept, '\n')+1:]
	if _, bottom := s.modes.Margins(); bottom > 0 || bytes.Count(kept, []byte("\n")) < 3*maxRows {
		s.flush()
		return
	}
	s.lines, s.size, s.main = nil, 0, s.emulator()
	s.pending = append(s.pending[:0], kept...)
}

// draw has the emulator draw. One that fails on what a program wrote is replaced:
// its screen is lost, and the program draws it anew.
func (s *screen) draw(p []byte) {
	defer func() {
		if recover() == nil {
			return
		}
		if s.other != nil {
			s.other = s.emulator()
		} else {
			s.main = s.emulator()
		}
	}()
	_, _ = s.shown().Write(p)
	s.drain()
}

// drain takes what has scrolled away from the emulator.
func (s *screen) drain() {
	back := s.shown().Scrollback()
	if back.Len() == 0 {
		return
	}
	if s.other == nil {
		for _, line := range back.Lines() {
			text := line.Render()
			s.lines, s.size = append(s.lines, text), s.size+len(text)+2
		}
		drop := 0
		for len(s.lines)-drop > MaxLines || s.size > MaxBytes {
			s.size -= len(s.lines[drop]) + 2
			drop++
		}
		if s.lines = s.lines[drop:]; drop > 0 && cap(s.lines) > 4*MaxLines {
			s.lines = append([]string(nil), s.lines...)
		}
	}
	back.Clear()
}

// resize changes the size. Lines that no longer fit above the cursor scroll away.
func (s *screen) resize(size driver.TerminalSize) {
	rows, cols := bounded(size)
	if rows == s.rows && cols == s.cols {
		return
	}
	s.flush()
	if over := s.main.CursorPosition().Y - rows + 1; over > 0 && s.other == nil {
		s.draw(fmt.Appendf(nil, "\x1b7\x1b[r\x1b8\x1b[%dS\x1b[%dA", over, over))
	}
	s.rows, s.cols = rows, cols
	for _, e := range []*vt.Emulator{s.main, s.other} {
		if e != nil {
			func() {
				defer func() { _ = recover() }() // its next output finds it broken
				e.Resize(cols, rows)
			}()
		}
	}
}

// replay draws the whole on the terminal of a viewer that comes: what has scrolled
// away, the screen, modes, title and cursor. It asks nothing.
func (s *screen) replay(viewer driver.TerminalSize) []byte {
	s.flush()
	rows, cols := s.rows, s.cols
	if viewer.Rows > 0 && viewer.Cols > 0 {
		rows, cols = int(viewer.Rows), int(viewer.Cols)
	}
	var b strings.Builder
	// What was on the viewer's terminal scrolls away, and the drawing starts at its top.
	fmt.Fprintf(&b, "\x1b[%d;1H%s\x1b[H", rows, strings.Repeat("\n", rows))
	if rows != s.rows || cols != s.cols {
		fmt.Fprintf(&b, "sero: this terminal has %d rows and %d columns, the session's %d and %d\r\n", rows, cols, s.rows, s.cols)
	}
	for _, line := range s.lines {
		b.WriteString(line + "\x1b[m\r\n")
	}
	first := s.paint(&b, s.main, rows, cols)
	if s.other != nil {
		fmt.Fprintf(&b, "\x1b[?%dh\x1b[H\x1b[2J", s.modes.Alternate())
		first = s.paint(&b, s.other, rows, cols)
	}
	if s.title != "" {
		b.WriteString("\x1b]2;" + s.title + "\x1b\\")
	}
	b.WriteString(s.modes.Set())
	at := s.shown().CursorPosition()
	row := at.Y - first
	if top, _ := s.modes.Margins(); s.modes.Private(6) && top > 0 {
		row -= top - 1
	}
	fmt.Fprintf(&b, "\x1b[%d;%dH%s", min(max(row, 0), rows-1)+1, min(at.X, cols-1)+1, s.modes.Pen())
	return []byte(b.String())
}

// paint draws the lines of a screen that fit, those around the cursor first, and
// gives the first that it drew.
func (s *screen) paint(b *strings.Builder, e *vt.Emulator, rows, cols int) (first int) {
	b.WriteString("\x1b[?7l") // a line that is too long is cut
	lines := strings.Split(e.Render(), "\n")
	if over := len(lines) - rows; over > 0 {
		first = min(max(e.CursorPosition().Y-rows+1, 0), over)
		lines = lines[first : first+rows]
	}
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(strings.TrimRight(ansi.Truncate(line, cols, ""), "\r") + "\x1b[m")
	}
	if e == s.main { // what is above ends at the last line, where a smaller screen ends
		b.WriteString(strings.Repeat("\r\n", max(0, min(rows, s.rows)-len(lines))))
	}
	b.WriteString("\x1b[?7h")
	return first
}

// emulator makes an empty screen. It gets what draws, and no questions: its own
// answers would wait for a reader that there is not.
func (s *screen) emulator() *vt.Emulator {
	e := vt.NewEmulator(s.cols, s.rows)
	e.SetScrollbackSize(2 * feedPiece)
	for _, final := range []byte("bIZ") {
		e.RegisterCsiHandler(int(final), func(params ansi.Params) bool {
			n, _, _ := params.Param(0, 1)
			return n > maxRepeat || n < 0 // and is ignored
		})
	}
	for _, final := range []byte("hl") {
		e.RegisterCsiHandler(ansi.Command('?', 0, final), func(params ansi.Params) bool {
			for i := range params {
				switch n, _, _ := params.Param(i, 0); n {
				case 47, 1047, 1049, 2048: // of which there is another emulator, and none
					return true
				}
			}
			return false
		})
	}
	e.RegisterOscHandler(8, func(data []byte) bool { return len(data) > maxLink })
	return e
}
