package launch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limits of what is kept and logged of a driver's output: it is untrusted.
const (
	maxTail       = 64 << 10 // of standard error, for DRIVER_CRASHED
	maxLine       = 8 << 10  // of one log line; the rest of it is dropped
	maxLinesASec  = 200      // the rest of the second is counted
	maxAttributes = 32       // of one structured line
)

// tail keeps the last bytes written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - maxTail; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

// quote is the end of what was written, for a message: from the panic if there
// is one, else the last lines. It is empty if nothing was written.
func (t *tail) quote() string {
	t.mu.Lock()
	lines := strings.Split(strings.TrimSpace(string(t.buf)), "\n")
	t.mu.Unlock()
	from := max(0, len(lines)-4)
	for i, line := range lines {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			from = i
			break
		}
	}
	var said []string
	for _, line := range lines[from:min(len(lines), from+4)] {
		if text := plain(line); text != "" {
			said = append(said, bounded(text))
		}
	}
	if len(said) == 0 {
		return ""
	}
	return "; it last said: " + strings.Join(said, " / ")
}

// plain is the message of a structured line, or the line itself.
func plain(line string) string {
	if r, ok := parseRecord([]byte(line)); ok {
		return r.message
	}
	return strings.TrimSpace(line)
}

// lineLog is an io.Writer that logs lines. It accepts anything: lines without
// end, bytes that are no text, floods.
type lineLog struct {
	log *slog.Logger

	mu      sync.Mutex
	line    []byte
	skip    bool // the rest of a line that was too long
	second  int64
	count   int
	dropped int
}

// Write never fails and never blocks but for the log.
func (l *lineLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for rest := p; len(rest) > 0; {
		piece, after, ended := bytes.Cut(rest, []byte("\n"))
		rest = after
		if room := maxLine - len(l.line); !l.skip {
			l.line = append(l.line, piece[:min(len(piece), room)]...)
			l.skip = len(piece) > room
		}
		if ended {
			l.emit()
			l.line, l.skip = l.line[:0], false
		}
	}
	return len(p), nil
}

// emit logs one line unless this second has had enough.
func (l *lineLog) emit() {
	if now := time.Now().Unix(); now != l.second {
		if l.dropped > 0 {
			l.log.Warn("driver output was dropped", "lines", l.dropped)
		}
		l.second, l.count, l.dropped = now, 0, 0
	}
	if l.count++; l.count > maxLinesASec {
		l.dropped++
		return
	}
	if r, ok := parseRecord(l.line); ok {
		l.log.LogAttrs(context.Background(), r.level, r.message, r.attrs...) //nolint:sloglint // the driver's own message
		return
	}
	if text := strings.TrimSpace(strings.ToValidUTF8(string(l.line), "?")); text != "" {
		l.log.Info("driver output", "line", text)
	}
}

// record is a structured log line.
type record struct {
	level   slog.Level
	message string
	attrs   []slog.Attr
}

// parseRecord reads a line of slog's or hclog's JSON. Every type is checked: the
// line may be anything.
func parseRecord(line []byte) (record, bool) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] != '{' {
		return record{}, false
	}
	var fields map[string]any
	if json.Unmarshal(line, &fields) != nil {
		return record{}, false
	}
	message, ok := text(fields, "msg", "@message")
	if !ok {
		return record{}, false
	}
	r := record{message: bounded(message)}
	if level, ok := text(fields, "level", "@level"); ok {
		_ = r.level.UnmarshalText([]byte(level)) // an unknown level is info
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		switch key {
		case "msg", "@message", "level", "@level", "time", "@timestamp":
		default:
			if len(r.attrs) < maxAttributes {
				r.attrs = append(r.attrs, slog.String(bounded(key), bounded(fmt.Sprint(fields[key]))))
			}
		}
	}
	return r, true
}

func text(fields map[string]any, keys ...string) (string, bool) {
	for _, key := range keys {
		if s, ok := fields[key].(string); ok {
			return s, true
		}
	}
	return "", false
}
