package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/tailscale/hujson"

	"github.com/sero-labs/sero-runtime/internal/brief"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// MaxSize is the largest configuration file, in bytes.
const MaxSize = 1 << 20

// maxDepth is how deep brackets may nest; the parser recurses.
const maxDepth = 500

// Warning is something in a file that is not an error, and where it is.
type Warning struct {
	File    string
	Line    int // from 1
	Column  int // from 1, in characters
	Message string
}

// String is "file:line:column: message".
func (w Warning) String() string {
	return fmt.Sprintf("%s:%d:%d: %s", w.File, w.Line, w.Column, w.Message)
}

// document is one file: its text, its syntax tree, where each key stands, and
// what was odd about it.
type document struct {
	file      string
	text      []byte
	root      hujson.Value
	positions map[string]int // path such as "mounts[2].target" to offset
	warnings  []Warning      // at most maxWarnings
	omitted   int            // warnings that there was no room for
}

// maxWarnings is enough for any file that a person wrote.
const maxWarnings = 50

var (
	byteOrderMark    = []byte("\xef\xbb\xbf")
	conflictBrackets = []string{"<<<<<<< ", ">>>>>>> ", "||||||| "}
)

// readFile reads a configuration file that is open, and closes it.
func readFile(f *os.File, name string) ([]byte, error) {
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, unreadable(name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, driver.Errorf(driver.ConfigInvalid, "%s is not a regular file", name).About(name).
			Remedy("replace it with a file, or remove it")
	}
	text, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, unreadable(name, err)
	}
	return text, nil
}

// openFlags never wait for the other end of a pipe.
const openFlags = os.O_RDONLY | syscall.O_NONBLOCK

// unreadable says why a file cannot be read. A directory that cannot be read, or is
// gone, is no fault of the file's.
func unreadable(name string, err error) error {
	dir := filepath.Dir(name)
	if filepath.IsAbs(name) {
		switch _, closed := os.ReadDir(dir); {
		case errors.Is(closed, fs.ErrPermission):
			return driver.Errorf(driver.PermissionDenied, "the directory %s cannot be read", brief.Text(dir)).About(dir).
				Remedy("change its mode or owner")
		case errors.Is(closed, fs.ErrNotExist):
			return driver.Errorf(driver.NotFound, "there is no directory %s", brief.Text(dir)).About(dir).
				Remedy("make the directory first", "mkdir", "-p", dir)
		}
	}
	return driver.Errorf(driver.ConfigInvalid, "%s cannot be read: %w", name, err).About(name).
		Remedy("make it readable, or remove it")
}

// parse makes a document of a file's text, or says where it is broken.
func parse(file string, text []byte) (*document, error) {
	d := &document{file: file, text: bytes.TrimPrefix(text, byteOrderMark), positions: map[string]int{}}
	if len(d.text) > MaxSize {
		return nil, driver.Errorf(driver.ConfigInvalid, "%s is larger than %d bytes", file, MaxSize).About(file).
			Remedy("keep only configuration in it")
	}
	if err := d.checkText(); err != nil {
		return nil, err
	}
	root, err := hujson.Parse(d.text)
	if err != nil {
		return nil, d.syntaxError(err)
	}
	d.root = root
	return d, nil
}

// checkText finds what the parser would describe badly, or not survive.
func (d *document) checkText() error {
	if i := bytes.IndexByte(d.text, 0); i >= 0 {
		return d.errorAtOffset(i, "", "there is a NUL byte").Remedy("save the file as UTF-8 text")
	}
	if !utf8.Valid(d.text) {
		i := 0
		for i < len(d.text) {
			r, n := utf8.DecodeRune(d.text[i:])
			if r == utf8.RuneError && n <= 1 {
				break
			}
			i += n
		}
		return d.errorAtOffset(i, "", "this is not UTF-8").Remedy("save the file as UTF-8 text")
	}
	if i, found := conflictMarker(d.text); found {
		return d.errorAtOffset(i, "", "there is a merge-conflict marker").Remedy("resolve the conflict and save the file")
	}
	depth := 0
	for i, c := range d.text {
		switch c {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		if depth > maxDepth {
			return d.errorAtOffset(i, "", fmt.Sprintf("brackets nest deeper than %d", maxDepth)).Remedy("nest less")
		}
	}
	return nil
}

// conflictMarker is the offset of the first line that only a merge writes.
func conflictMarker(text []byte) (int, bool) {
	offset := 0
	for line := range bytes.Lines(text) {
		trimmed := strings.TrimRight(string(line[:min(len(line), 16)]), "\r\n")
		for _, marker := range conflictBrackets {
			if strings.HasPrefix(trimmed+" ", marker) {
				return offset, true
			}
		}
		offset += len(line)
	}
	return 0, false
}

// syntaxError puts the parser's finding in our form. The parser gives its
// position only as text.
func (d *document) syntaxError(err error) *driver.Error {
	var line, column int
	message := err.Error()
	if n, _ := fmt.Sscanf(message, "hujson: line %d, column %d:", &line, &column); n != 2 {
		line, column = 1, 1
	} else if _, rest, ok := strings.Cut(message, ": "); ok {
		_, message, _ = strings.Cut(rest, ": ")
	}
	message = strings.ReplaceAll(message, "unexpected EOF", "the file ends too early")
	return driver.Errorf(driver.ConfigInvalid, "%s:%d:%d: %s", d.file, line, column, message).About(d.file).
		Remedy("correct the file: it is JSON, with comments and trailing commas allowed")
}

// place is the line and column of an offset, both from 1.
func (d *document) place(offset int) (line, column int) {
	before := d.text[:min(offset, len(d.text))]
	line = 1 + bytes.Count(before, []byte("\n"))
	column = 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return line, column
}

func (d *document) errorAtOffset(offset int, path, message string) *driver.Error {
	line, column := d.place(offset)
	err := driver.Errorf(driver.ConfigInvalid, "%s:%d:%d: %s", d.file, line, column, message).About(d.file)
	err.Field = path
	return err
}

// errorAt is a ConfigInvalid error about the value at a path.
func (d *document) errorAt(path, format string, args ...any) *driver.Error {
	return d.errorAtOffset(d.positions[path], path, path+": "+fmt.Sprintf(format, args...))
}

func (d *document) isFull() bool { return len(d.warnings) >= maxWarnings }

// allWarnings are the warnings, and one that counts those that were left out.
func (d *document) allWarnings() []Warning {
	if d.omitted == 0 {
		return d.warnings
	}
	return append(d.warnings, Warning{File: d.file, Line: 1, Column: 1, Message: fmt.Sprintf("%d more warnings are left out", d.omitted)})
}

func (d *document) warn(offset int, format string, args ...any) {
	if d.isFull() {
		d.omitted++
		return
	}
	line, column := d.place(offset)
	d.warnings = append(d.warnings, Warning{File: d.file, Line: line, Column: column, Message: fmt.Sprintf(format, args...)})
}
