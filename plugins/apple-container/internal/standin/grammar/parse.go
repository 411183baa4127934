package grammar

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Call is a command line that the version accepts.
type Call struct {
	Command string // the canonical name, "image list"
	Debug   bool   // --debug before the command
	Version bool   // --version: nothing else counts
	Help    bool

	options map[string][]string
	args    map[string][]string
}

// Has tells whether an option was given, by its canonical name ("--all").
func (c *Call) Has(name string) bool { return len(c.options[name]) > 0 }

// All gives the values of an option, in order.
func (c *Call) All(name string) []string { return c.options[name] }

// Last gives the value that counts where an option is not repeatable: the last.
func (c *Call) Last(name string) (string, bool) {
	values := c.options[name]
	if len(values) == 0 {
		return "", false
	}
	return values[len(values)-1], true
}

// Args gives the positionals of a name.
func (c *Call) Args(name string) []string { return c.args[name] }

// Arg gives the only positional of a name.
func (c *Call) Arg(name string) string {
	if len(c.args[name]) == 0 {
		return ""
	}
	return c.args[name][0]
}

// Options are the canonical names of all options given, in order.
func (c *Call) Options() []string {
	var names []string
	for name := range c.options {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// UsageError is what the CLI answers with exit code 64.
type UsageError struct {
	Message string
	Usage   string // the lines below it
}

func (e *UsageError) Error() string { return e.Message }

// Parse reads the arguments after the program's name. What the version does not
// accept is a [*UsageError].
func (g *Grammar) Parse(argv []string) (*Call, error) {
	call := &Call{options: map[string][]string{}, args: map[string][]string{}}
	rest := argv
	for len(rest) > 0 && strings.HasPrefix(rest[0], "-") {
		switch rest[0] {
		case "--debug":
			call.Debug = true
		case "--version":
			call.Version = true
			return call, nil
		case "--help", "-h":
			call.Help = true
			return call, nil
		default:
			return nil, g.rootUsage("unknown option '%s'", rest[0])
		}
		rest = rest[1:]
	}
	if len(rest) == 0 || rest[0] == "help" {
		call.Help = true
		return call, nil
	}
	c, used, group := g.find(rest)
	if c == nil {
		return nil, g.noCommand(rest, group)
	}
	call.Command = strings.Join(c.name(), " ")
	p := parser{grammar: g, command: c, call: call, rest: rest[used:]}
	if err := p.run(); err != nil {
		return nil, err
	}
	return call, nil
}

// find looks for the command that words begin with. Group tells that the first
// word is a group of commands.
func (g *Grammar) find(words []string) (found *command, used int, group bool) {
	for _, c := range g.commands {
		for i, part := range c.path {
			if i >= len(words) || !slices.Contains(part, words[i]) {
				break
			}
			if i == len(c.path)-1 {
				return c, len(c.path), false
			}
			group = true
		}
	}
	return nil, 0, group
}

func (g *Grammar) noCommand(words []string, group bool) error {
	if !group {
		// Root words that are no command may be plugins, which only the server knows:
		// https://github.com/apple/container, ContainerCommands/DefaultCommand.swift.
		return g.rootUsage("Plugin 'container-%s' not found.\n\n- If system services are not running, start them with: container system start", words[0])
	}
	if len(words) == 1 {
		return &UsageError{Message: "Missing subcommand", Usage: fmt.Sprintf("Usage: container %s <subcommand>", words[0])}
	}
	what := fmt.Sprintf("Unexpected argument '%s'", words[1])
	if strings.HasPrefix(words[1], "-") {
		what = fmt.Sprintf("Unknown option '%s'", words[1])
	}
	return &UsageError{Message: what, Usage: fmt.Sprintf("Usage: container %s <subcommand>\n  See 'container %s --help' for more information.", words[0], words[0])}
}

func (g *Grammar) rootUsage(format string, args ...any) error {
	return &UsageError{
		Message: fmt.Sprintf(format, args...),
		Usage:   "Usage: container [--debug] <subcommand>\n  See 'container --help' for more information.",
	}
}

// parser reads the words after a command's name.
type parser struct {
	grammar *Grammar
	command *command
	call    *Call
	rest    []string
	loose   []string // positionals so far
	literal bool     // after --
}

func (p *parser) run() error {
	for len(p.rest) > 0 {
		if p.captures() {
			p.call.args[p.last().name] = p.rest
			p.rest = nil
			break
		}
		word := p.rest[0]
		p.rest = p.rest[1:]
		var err error
		switch {
		case p.literal || word == "-" || !strings.HasPrefix(word, "-"):
			p.loose = append(p.loose, word)
		case word == "--":
			p.literal = true
		case word == "--help" || word == "-h":
			p.call.Help = true
		case strings.HasPrefix(word, "--"):
			err = p.long(word)
		default:
			err = p.short(word)
		}
		if err != nil {
			return err
		}
	}
	return p.bind()
}

// captures tells whether all that follows belongs to the guest: the first
// positional has been seen, and the command captures the rest verbatim.
func (p *parser) captures() bool {
	return len(p.command.positionals) > 0 && p.last().verbatim && len(p.loose) == len(p.command.positionals)-1
}

func (p *parser) last() positional {
	return p.command.positionals[len(p.command.positionals)-1]
}

func (p *parser) long(word string) error {
	name, value, attached := strings.Cut(word, "=")
	o, ok := p.option(name)
	if !ok {
		return p.usage("Unknown option '%s'", name)
	}
	if !o.value {
		if attached {
			return p.usage("The option '%s' does not take any value.", name)
		}
		return p.set(o, name, "")
	}
	// An empty value counts as none: ArgumentParser takes the next word.
	if attached && value != "" {
		return p.set(o, name, value)
	}
	return p.next(o, name)
}

// short reads -x, -x=VALUE and packs of switches (-it), the last of which may
// take the next word. -xVALUE is not understood.
func (p *parser) short(word string) error {
	letters, value, attached := strings.Cut(word[1:], "=")
	if attached && len(letters) == 1 {
		return p.long(word)
	}
	if attached {
		return p.usage("Unknown option '-%s'", letters+"="+value)
	}
	for i, letter := range letters {
		name := "-" + string(letter)
		o, ok := p.option(name)
		if !ok || o.value && i < len(letters)-1 {
			return p.usage("Unknown option '%s'", word)
		}
		var err error
		if o.value {
			err = p.next(o, name)
		} else {
			err = p.set(o, name, "")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) option(name string) (option, bool) {
	i := slices.IndexFunc(p.command.options, func(o option) bool { return slices.Contains(o.names, name) })
	if i < 0 {
		return option{}, false
	}
	return p.command.options[i], true
}

// next takes the value from the next word, which must not look like an option.
func (p *parser) next(o option, name string) error {
	if len(p.rest) == 0 || len(p.rest[0]) > 1 && strings.HasPrefix(p.rest[0], "-") {
		return p.usage("Missing value for '%s <%s>'", name, strings.TrimLeft(o.names[0], "-"))
	}
	value := p.rest[0]
	p.rest = p.rest[1:]
	return p.set(o, name, value)
}

func (p *parser) set(o option, name, value string) error {
	if !p.valid(o, value) {
		return p.usage("The value '%s' is invalid for '%s <%s>'", value, name, strings.TrimLeft(o.names[0], "-"))
	}
	p.call.options[o.names[0]] = append(p.call.options[o.names[0]], value)
	return nil
}

func (p *parser) valid(o option, value string) bool {
	var err error
	switch o.kind {
	case "int":
		_, err = strconv.ParseInt(value, 10, 64)
	case "uint":
		_, err = strconv.ParseUint(value, 10, 32)
	case "words":
		return slices.ContainsFunc(o.words, func(w word) bool { return w.text == value && w.span.has(p.grammar.version) })
	}
	return err == nil
}

// bind gives the loose words to the positionals.
func (p *parser) bind() error {
	if p.call.Help {
		return nil
	}
	words := p.loose
	for _, pos := range p.command.positionals {
		if pos.verbatim {
			if len(p.call.args[pos.name]) < pos.min {
				return p.usage("Missing expected argument '<%s> ...'", pos.name)
			}
			continue
		}
		n := min(len(words), 1)
		if pos.many {
			n = len(words)
		}
		if n < pos.min {
			return p.usage("Missing expected argument '<%s>'", pos.name)
		}
		p.call.args[pos.name] = words[:n]
		words = words[n:]
	}
	switch len(words) {
	case 0:
		return nil
	case 1:
		return p.usage("Unexpected argument '%s'", words[0])
	default:
		return p.usage("%d unexpected arguments: '%s'", len(words), strings.Join(words, "', '"))
	}
}

func (p *parser) usage(format string, args ...any) error {
	name := strings.Join(p.command.name(), " ")
	words := []string{"Usage: container", name}
	if len(p.command.options) > 0 {
		words = append(words, "[<options>]")
	}
	for _, pos := range p.command.positionals {
		word := "<" + pos.name + ">"
		if pos.many {
			word += " ..."
		}
		if pos.min == 0 {
			word = "[" + word + "]"
		}
		words = append(words, word)
	}
	return &UsageError{
		Message: fmt.Sprintf(format, args...),
		Usage:   strings.Join(words, " ") + "\n  See 'container " + name + " --help' for more information.",
	}
}
