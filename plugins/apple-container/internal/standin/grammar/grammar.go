// Package grammar is the command line of Apple's `container` as data, version by
// version, and a parser that is as strict about it as the real one.
package grammar

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
)

//go:embed grammar.txt
var text string

// Grammar is what one version of the CLI accepts.
type Grammar struct {
	version  Version
	commands []*command
}

// command is one command with its options and positionals.
type command struct {
	path        [][]string // each part with its aliases, the name itself first
	options     []option
	positionals []positional
	span        span
}

func (c *command) name() []string {
	var names []string
	for _, part := range c.path {
		names = append(names, part[0])
	}
	return names
}

// option is one flag, with or without a value.
type option struct {
	names []string // the canonical one first
	value bool
	kind  string // "", "int", "uint" or "words"
	words []word // the accepted values of kind words
	span  span
}

type word struct {
	text string
	span span
}

// positional is an argument that is no option.
type positional struct {
	name     string
	min      int
	many     bool
	verbatim bool // captures all that follows
}

// For gives the grammar of a version.
func For(v Version) (*Grammar, error) {
	all, err := table()
	if err != nil {
		return nil, err
	}
	g := &Grammar{version: v}
	for _, c := range all {
		if !c.span.has(v) {
			continue
		}
		own := *c
		own.options = slices.DeleteFunc(slices.Clone(c.options), func(o option) bool { return !o.span.has(v) })
		g.commands = append(g.commands, &own)
	}
	return g, nil
}

// table is the embedded text, read once.
var table = sync.OnceValues(func() ([]*command, error) {
	r := reader{groups: map[string][]option{}}
	// Groups first: a command may use one that is written below it.
	for _, pass := range []bool{true, false} {
		r.inGroups = pass
		for number, line := range strings.Split(text, "\n") {
			line, _, _ = strings.Cut(line, "#")
			if err := r.line(strings.Fields(line)); err != nil {
				return nil, fmt.Errorf("grammar.txt:%d: %w", number+1, err)
			}
		}
	}
	return r.commands, nil
})

// reader turns lines into commands, in two passes.
type reader struct {
	groups   map[string][]option
	commands []*command
	inGroups bool // the pass that reads groups

	group   string   // where lines go in the first pass
	command *command // and in the second
}

func (r *reader) line(words []string) error {
	if len(words) == 0 {
		return nil
	}
	words, where, kind, err := attributes(words)
	if err != nil {
		return err
	}
	switch words[0] {
	case "group":
		r.group, r.command = words[1], nil
		return nil
	case "command":
		r.group = ""
		r.command = &command{span: where}
		for _, part := range words[1:] {
			r.command.path = append(r.command.path, strings.Split(part, "|"))
		}
		if !r.inGroups {
			r.commands = append(r.commands, r.command)
		}
		return nil
	case "use":
		return r.use(words[1:])
	case "value", "switch":
		o := option{names: words[1:], value: words[0] == "value", span: where}
		o.kind, o.words, err = parseKind(kind)
		r.add(o)
		return err
	default:
		return r.positional(words)
	}
}

func (r *reader) use(groups []string) error {
	for _, name := range groups {
		options, ok := r.groups[name]
		if !ok && !r.inGroups {
			return fmt.Errorf("no group %q", name)
		}
		for _, o := range options {
			r.add(o)
		}
	}
	return nil
}

func (r *reader) add(o option) {
	switch {
	case r.group != "" && r.inGroups:
		r.groups[r.group] = append(r.groups[r.group], o)
	case r.command != nil && !r.inGroups:
		r.command.options = append(r.command.options, o)
	}
}

func (r *reader) positional(words []string) error {
	if r.command == nil || len(words) != 2 {
		return fmt.Errorf("what is %q?", strings.Join(words, " "))
	}
	p := positional{name: words[1]}
	switch words[0] {
	case "arg":
		p.min = 1
	case "optional":
	case "args":
		p.many = true
	case "args+":
		p.min, p.many = 1, true
	case "rest":
		p.many, p.verbatim = true, true
	case "rest+":
		p.min, p.many, p.verbatim = 1, true, true
	default:
		return fmt.Errorf("what is %q?", words[0])
	}
	r.command.positionals = append(r.command.positionals, p)
	return nil
}

// attributes takes since=, until= and type= off the end of a line.
func attributes(words []string) (rest []string, where span, kind string, err error) {
	for _, w := range words {
		key, value, found := strings.Cut(w, "=")
		if !found {
			rest = append(rest, w)
			continue
		}
		switch key {
		case "since":
			where.since, err = ParseVersion(value)
		case "until":
			where.until, err = ParseVersion(value)
		case "type":
			kind = value
		default:
			err = fmt.Errorf("what is %q?", w)
		}
		if err != nil {
			return nil, where, "", err
		}
	}
	return rest, where, kind, nil
}

func parseKind(text string) (kind string, words []word, err error) {
	kind, list, _ := strings.Cut(text, ":")
	switch kind {
	case "", "int", "uint":
		return kind, nil, nil
	case "words":
	default:
		return "", nil, fmt.Errorf("what is the type %q?", text)
	}
	for item := range strings.SplitSeq(list, ",") {
		name, since, _ := strings.Cut(item, "@")
		w := word{text: name}
		if since != "" {
			if w.span.since, err = ParseVersion(since); err != nil {
				return "", nil, err
			}
		}
		words = append(words, w)
	}
	return kind, words, nil
}
