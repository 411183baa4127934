// Package view shows what commands found: as text for people, or as JSON for
// programs. Nothing else in the CLI prints.
//
// Standard output gets what was asked for and standard error everything else.
// The JSON shapes are promised in docs/cli.md: they may gain fields and never
// lose one.
package view

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"github.com/sero-labs/sero-runtime/internal/harmless"
	"github.com/sero-labs/sero-runtime/internal/oneline"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// View is where a command's results go, and in which form.
type View struct {
	// Out and Err are a harmless.Writer where they are a terminal.
	Out, Err io.Writer
	// JSON chooses the form for programs.
	JSON bool
	// Terminal tells that Err is one, so that notices and progress have a reader.
	Terminal bool
	// Plain asks for progress as lines, on a terminal too.
	Plain bool
}

// Text writes lines of text to standard output, one for each argument.
func (v *View) Text(lines ...string) error {
	for _, line := range lines {
		if _, err := fmt.Fprintln(v.Out, line); err != nil {
			return err
		}
	}
	return nil
}

// Raw writes bytes to standard output, which keeps from a terminal what would
// steer it.
func (v *View) Raw(p []byte) error {
	_, err := v.Out.Write(p)
	return err
}

// Value writes one JSON value on a line of its own.
func (v *View) Value(value any) error {
	return writeJSON(v.Out, value)
}

// writeJSON writes a value with all characters escaped that do more than be seen,
// so that a terminal gets what a program does.
func writeJSON(w io.Writer, value any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return err
	}
	var out []byte
	for _, r := range b.String() { // valid UTF-8, and only strings have such characters
		if r != '\n' && oneline.Unfit(r) {
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	_, err := w.Write(out)
	return err
}

// steer writes sero's own sequence to a terminal.
func steer(w io.Writer, sequence string) {
	if h, ok := w.(*harmless.Writer); ok {
		_ = h.Steer(sequence)
		return
	}
	_, _ = io.WriteString(w, sequence)
}

// Notice writes one line for people to standard error.
func (v *View) Notice(text string) {
	_, _ = fmt.Fprintln(v.Err, "sero: "+clean(text))
}

// RawNotice is Notice on a terminal that is in raw mode, on a line of its own.
func (v *View) RawNotice(text string) {
	_, _ = fmt.Fprint(v.Err, "\r\nsero: "+clean(text)+"\r\n")
}

// Failure writes an error to standard error: a line, then what can be done.
func (v *View) Failure(e *driver.Error) {
	if v.JSON {
		_ = writeJSON(v.Err, map[string]any{"error": errorOf(e)})
		return
	}
	line := e.Error()
	if e.Reason == driver.CommandNotFound || e.Reason == driver.CommandNotExecutable {
		line = e.Message // it is about the caller's words, not the driver
	}
	if e.Resource != "" && !strings.Contains(e.Message, e.Resource) {
		line += " (" + e.Resource + ")"
	}
	v.Notice(line)
	for _, r := range e.Remedies {
		_, _ = fmt.Fprintln(v.Err, "hint: "+remedyText(r))
	}
}

// Usage writes a mistake in the command line to standard error, and where its
// help is: two lines.
func (v *View) Usage(message, command string) {
	if v.JSON {
		e := driver.Errorf(driver.InvalidArgument, "%s", message)
		v.Failure(e.Remedy("read the command's help", append(strings.Fields(command), "--help")...))
		return
	}
	v.Notice(message)
	_, _ = fmt.Fprintln(v.Err, "try: "+command+" --help")
}

// table writes rows in columns; the first row is the heading.
func (v *View) table(rows [][]string) error {
	w := tabwriter.NewWriter(v.Out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = clean(cell)
			if cell == "" {
				cells[i] = "-"
			}
		}
		_, _ = fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// field is a line of a description.
type field struct{ name, value string }

// fields writes a description, leaving out what is empty.
func (v *View) fields(title string, list []field) error {
	if err := v.Text(clean(title)); err != nil {
		return err
	}
	w := tabwriter.NewWriter(v.Out, 0, 0, 2, ' ', 0)
	for _, f := range list {
		if f.value != "" {
			_, _ = fmt.Fprintf(w, "  %s\t%s\n", f.name, clean(f.value))
		}
	}
	return w.Flush()
}

// clean keeps a name from a workspace to its line and its place in it, in a file
// too. What a terminal must not get, Out and Err keep from it.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if oneline.Unfit(r) {
			return '?'
		}
		return r
	}, s)
}

func remedyText(r driver.Remedy) string {
	if len(r.Command) == 0 {
		return clean(r.Text)
	}
	return clean(r.Text + ": " + Quote(r.Command))
}

// Quote writes an argument vector as a line that a shell reads back the same.
func Quote(argv []string) string {
	words := make([]string, len(argv))
	for i, word := range argv {
		words[i] = word
		if word == "" || strings.ContainsFunc(word, isSpecial) {
			words[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

func isSpecial(r rune) bool {
	plain := r == '-' || r == '_' || r == '.' || r == '/' || r == ':' || r == '=' || r == ',' || r == '@' || r == '+' || r == '%'
	return !plain && (r > unicode.MaxASCII || (!unicode.IsLetter(r) && !unicode.IsDigit(r)))
}
