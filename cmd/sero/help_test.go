package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// page is a command's help, in sections.
type page struct {
	verbs    []string
	examples []string
}

var verbLine = regexp.MustCompile(`^  ([a-z]+) +\S`)

func parsePage(text string) (p page) {
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch verb := verbLine.FindStringSubmatch(line); {
		case line != "" && line[0] != ' ' && strings.HasSuffix(line, ":"):
			section = strings.TrimSuffix(line, ":")
		case line == "":
			section = ""
		case section == "Examples":
			p.examples = append(p.examples, strings.TrimSpace(line))
		case section != "" && section != "Flags" && verb != nil:
			p.verbs = append(p.verbs, verb[1])
		}
	}
	return p
}

// TestExamples runs every example of every command's help in a workspace like
// the ones that they speak of.
func TestExamples(t *testing.T) {
	m := newMachine(t)
	m.engine()
	var walk func(path []string)
	walk = func(path []string) {
		help := m.ok(append(path, "--help")...)
		if !strings.HasPrefix(help, "usage: sero") {
			t.Errorf("%v: the help begins %.40q", path, help)
		}
		p := parsePage(help)
		if len(p.examples) < 2 {
			t.Errorf("%v: %d examples, want two at least", path, len(p.examples))
		}
		for _, example := range p.examples {
			t.Run(strings.ReplaceAll(example, "/", "|"), func(t *testing.T) {
				// As in the examples' project: a workspace with a server named web.
				m.ok("up", "--driver", "host")
				m.ok("run", "--name", "web", "--", "npm", "run", "dev")
				if strings.HasPrefix(example, "sero attach") || strings.HasPrefix(example, "sero terminal") {
					example = strings.ReplaceAll(example, "k3f9qa", m.openTerminal(t))
				}
				if strings.HasPrefix(example, "sero attach") {
					v := m.view(t, strings.Fields(example)[1:]...)
					v.await("its 42")
					v.write("exit\n")
					if code := v.end(); code != 0 {
						t.Errorf("exit code %d: %s", code, v.text())
					}
					return
				}
				if strings.HasPrefix(example, "sero port forward") { // the workspace is in host mode
					if _, stderr, code := m.sero(strings.Fields(example)[1:]...); code != 1 || !strings.Contains(stderr, "is on localhost:") {
						t.Errorf("exit code %d: %s", code, stderr)
					}
					return
				}
				if strings.HasPrefix(example, "sero driver restart") { // Apple's is on a Mac only
					example = strings.ReplaceAll(example, "apple-container", "fake")
				}
				out, stderr, code := m.outcome(m.command("sh", "-c", "set -e; mkdir -p ../shop images/shop; echo '{}' > package.json; echo FROM sero-node:latest > images/shop/Dockerfile; "+example))
				if code != 0 {
					t.Errorf("exit code %d: %s%s", code, out, stderr)
				}
				if out == "" && !strings.Contains(example, ">") && example != "sero shell" && !strings.HasPrefix(example, "sero serve") {
					t.Errorf("it prints nothing: %s", stderr)
				}
			})
		}
		for _, verb := range p.verbs {
			walk(append(slices.Clip(path), verb))
		}
	}
	walk(nil)
}
