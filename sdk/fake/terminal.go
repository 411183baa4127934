package fake

import (
	"bytes"
	"io"
	"sync"
)

// terminal is the line discipline of a command that asked for one: it echoes
// what is typed, ends lines with \r\n, and turns ^C into SIGINT and ^D into the
// end of input.
type terminal struct {
	x       *execution
	writing sync.Mutex // orders what goes to the screen
	to      io.Writer  // the screen
}

// typed is what the command gets of what the caller sent.
func (t *terminal) typed(b []byte) []byte {
	if t.x.spec.Terminal == nil {
		return b
	}
	b = bytes.ReplaceAll(b, []byte("\r"), []byte("\n"))
	if i := bytes.IndexByte(b, 0x03); i >= 0 {
		t.show([]byte("^C"))
		t.x.sb.signalGroup(t.x.main.pid, "SIGINT")
		b = b[i+1:]
	}
	t.show(b)
	return b
}

func (t *terminal) show(b []byte) {
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.to != nil && len(b) > 0 {
		_, _ = t.to.Write(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")))
	}
}

// screen is w for both outputs of the command.
func (t *terminal) screen(w io.Writer) io.Writer {
	t.writing.Lock()
	defer t.writing.Unlock()
	t.to = w
	return (*screen)(t)
}

type screen terminal

// Write shows b.
func (s *screen) Write(b []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.to == nil {
		return len(b), nil
	}
	if _, err := s.to.Write(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(b), nil
}
