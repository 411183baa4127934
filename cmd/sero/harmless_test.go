package main

import (
	"strings"
	"syscall"
	"testing"
)

// hostile is a shell command that writes what steers a terminal: the clipboard,
// a title, a query, modes, C1 controls of both kinds, bidi controls, a line over
// another, a sequence in two pieces, and a colour.
const hostile = `printf 'begin\033]52;c;ZXZpbA==\007 \033]0;title\033\\ \033[6n\033[?1049h\033[?25l \302\2332J \2332J \342\200\256 \342\201\246 rm evil\recho good\b\b\n';` +
	`printf '\033[3'; sleep 0.2; printf '1mred\033[0m \033Pq'; sleep 0.2; printf 'x\033\\end of it\n'; `

// steering is what of it must not reach a terminal.
var steering = []string{"\x1b]", "\x1bP", "\x1b[6n", "\x1b[?1049", "\x1b[?25", "\u009b", "\x9b", "\u202e", "\u2066", "\recho", "\b", "\x07"}

// A7: whatever command shows it, a sandbox's text reaches a terminal as text and
// colours; a pipe gets it as it is.
func TestA7TerminalsGetTextAndColours(t *testing.T) {
	m := newMachine(t)
	m.ok("up", "--driver", "host")
	m.sero("run", "--name", "loud", "--wait", "100ms", "--", "sh", "-c", hostile+"sleep 600")
	for _, args := range [][]string{
		{"dev", "logs", "-f", "loud"},
		{"exec", "--", "sh", "-c", hostile},
		{"exec", "--", "sh", "-c", "exec >&2; " + hostile},
	} {
		v := m.view(t, args...)
		v.await("end of it")
		if args[0] == "dev" {
			_ = v.cmd.Process.Signal(syscall.SIGINT)
		}
		v.end()
		shown := v.text()
		for _, s := range steering {
			if strings.Contains(strings.ReplaceAll(shown, "\r\n", "\n"), s) {
				t.Errorf("%q: %q reaches the terminal: %q", args, s, shown)
			}
		}
		for _, s := range []string{"\x1b[31mred\x1b[0m", "rm evil\r\necho good"} {
			if !strings.Contains(shown, s) {
				t.Errorf("%q: %q is missing: %q", args, s, shown)
			}
		}
	}
	raw := "begin\x1b]52;c;ZXZpbA==\x07 \x1b]0;title\x1b\\ \x1b[6n\x1b[?1049h"
	if out := m.ok("dev", "logs", "loud"); !strings.HasPrefix(out, raw) {
		t.Errorf("a pipe gets %q", out)
	}
	if out := m.ok("exec", "--", "sh", "-c", hostile); !strings.HasPrefix(out, raw) {
		t.Errorf("a pipe gets %q", out)
	}

	v := m.view(t, "exec", "-t", "--", "sh", "-c", hostile) // the command has the terminal
	v.await("end of it")
	v.end()
	if !strings.Contains(v.text(), raw) {
		t.Errorf("a terminal of its own gets %q", v.text())
	}
}

// A7: what people see of names, errors and last lines is of the same kind; JSON
// says what there is, escaped.
func TestA7NamesErrorsAndJSON(t *testing.T) {
	m := newMachine(t)
	m.ok("up", "--driver", "host")
	name := "a\x1b]0;x\x07\u009b2J\u202eb"
	m.sero("run", "--name", "named", "--wait", "100ms", "--", "sh", "-c", "sleep 600", name)
	for _, args := range [][]string{
		{"run", "--name", "fails", "--wait", "10s", "--", "sh", "-c", hostile + "exit 3"},
		{"exec", "--", name},
		{"exec", "--dir", name, "--", "true"},
		{"dev", "logs", name},
		{"dev", "ls"},
		{"dev", "ls", "--json"},
		{"inspect"},
		{"ls"},
		{"events"},
		{"up", "--" + name},
	} {
		v := m.view(t, args...)
		v.end()
		for _, s := range steering {
			if strings.Contains(strings.ReplaceAll(v.text(), "\x1b[K", ""), s) {
				t.Errorf("%q: %q reaches the terminal: %q", args, s, v.text())
			}
		}
	}
	out := m.ok("dev", "ls", "--json")
	if !strings.Contains(out, `a\u001b]0;x\u0007\u009b2J\u202eb`) {
		t.Errorf("as JSON: %s", out)
	}
}
