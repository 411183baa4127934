package main

import (
	"strings"
	"testing"
)

// B: leaving a full-screen program, by any way, gives one's own terminal back.
func TestBLeavingGivesTheTerminalBack(t *testing.T) {
	m := newMachine(t)
	m.ok("up", "--driver", "host")
	m.env = append(m.env, "SHELL=/bin/sh", "ENV=", "PS1=prompt> ")
	const fullScreen = `printf '\033[?1049h\033[?1002h\033[?1006h\033[?25l\033[?2004h\033=fu''ll'; sleep 600`
	const undo = "\x1b[?2004l\x1b[?1006l\x1b[?1002l\x1b[?25h\x1b>\x1b[?1049l"
	for _, c := range []struct {
		name string
		args []string
		end  func(v *viewer)
	}{
		{"detach", []string{"shell"}, func(v *viewer) { v.write(detachKeys) }},
		{"kill", []string{"shell"}, func(*viewer) { m.ok("terminal", "kill") }},
		{"timeout", []string{"exec", "-t", "--timeout", "2s", "--", "sh", "-c", fullScreen}, func(*viewer) {}},
		{"daemon dies", []string{"shell"}, func(*viewer) { _ = m.command("kill", "-KILL", m.pid()).Run() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m.sero("terminal", "kill")
			v := m.view(t, c.args...)
			if c.args[0] == "shell" {
				v.await("no isolation")
				v.write(fullScreen + "\n")
			}
			v.await("full")
			c.end(v)
			v.end()
			v.await(undo)
			if text := v.text(); strings.LastIndex(text, "\x1b[?1049h") > strings.LastIndex(text, "\x1b[?1049l") {
				t.Errorf("the terminal is left in the alternate screen: %q", text)
			}
		})
	}
}
