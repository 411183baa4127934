package view

import "bytes"

// Log shows output that was kept: as it was written, or as JSON a line.
type Log struct {
	view    *View
	pending []byte // the beginning of a line, with JSON
}

// Log makes a Log on standard output.
func (v *View) Log() *Log { return &Log{view: v} }

// Write shows the next piece.
func (l *Log) Write(p []byte) error {
	if !l.view.JSON {
		return l.view.Raw(p)
	}
	l.pending = append(l.pending, p...)
	for {
		line, rest, found := bytes.Cut(l.pending, []byte("\n"))
		if !found {
			return nil
		}
		if err := l.line(line); err != nil {
			return err
		}
		l.pending = rest
	}
}

// Close shows a last line that has no end.
func (l *Log) Close() error {
	if len(l.pending) == 0 {
		return nil
	}
	return l.line(l.pending)
}

func (l *Log) line(line []byte) error {
	return l.view.Value(map[string]string{"line": string(bytes.TrimSuffix(line, []byte("\r")))})
}
