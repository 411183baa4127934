package proc

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode"
)

// markerIn finds MarkerEnv among NUL-terminated assignments.
func markerIn(environ []byte) string {
	for assignment := range bytes.SplitSeq(environ, []byte{0}) {
		if value, ok := bytes.CutPrefix(assignment, []byte(MarkerEnv+"=")); ok {
			return string(value)
		}
	}
	return ""
}

// splitProcargs takes macOS's kern.procargs2 apart: a count, the program's
// path, padding, count arguments, the environment; all strings end with NUL.
func splitProcargs(data []byte) (argv, environ []byte) {
	if len(data) < 4 {
		return nil, nil
	}
	count := int(binary.LittleEndian.Uint32(data))
	rest := data[4:]
	end := bytes.IndexByte(rest, 0)
	if end < 0 {
		return nil, nil
	}
	rest = bytes.TrimLeft(rest[end:], "\x00")
	size := 0
	for range count {
		end := bytes.IndexByte(rest[size:], 0)
		if end < 0 {
			return nil, nil
		}
		size += end + 1
	}
	return rest[:size], rest[size:]
}

// commandLimit is how much of a command line is shown, in bytes.
const commandLimit = 120

// joinArguments makes one short printable line of NUL-terminated arguments.
func joinArguments(argv []byte) string {
	line := strings.Join(strings.FieldsFunc(strings.ToValidUTF8(string(argv), "?"), func(r rune) bool {
		return unicode.IsControl(r) || unicode.IsSpace(r)
	}), " ")
	if len(line) <= commandLimit {
		return line
	}
	cut := strings.ToValidUTF8(line[:commandLimit], "")
	return cut + "…"
}
