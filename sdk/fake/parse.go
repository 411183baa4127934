package fake

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The small part of the shell's language that the fake understands.
type (
	// list is commands one after the other.
	list []statement
	// statement is commands joined by && and ||, perhaps in the background.
	statement struct {
		parts      []command
		joins      []string // between the parts
		background bool
		text       string
	}
	// command is a loop, or words with assignments and redirections.
	command struct {
		cond, body list
		assigns    []assign
		args       []word
		redirects  []redirect
	}
	assign struct {
		name  string
		value word
	}
	redirect struct {
		fd   int
		op   string // > >> < or >&
		file word
	}
	// word is text and variables, joined.
	word []segment
	// segment is a literal, or a variable's name.
	segment struct {
		text     string
		variable bool
	}
)

var errSyntax = errors.New("syntax error")

// token is a word, an operator, or a redirection with its descriptor.
type token struct {
	op   string
	word word
	raw  string
	fd   int
}

type parser struct {
	src    string
	pos    int
	tokens []token
	at     int
}

// parse reads a script.
func parse(src string) (list, error) {
	p := &parser{src: src}
	if err := p.scan(); err != nil {
		return nil, err
	}
	l, err := p.list()
	if err == nil && p.at < len(p.tokens) {
		err = fmt.Errorf("%w near %q", errSyntax, p.tokens[p.at].raw)
	}
	return l, err
}

func (p *parser) scan() error {
	for p.pos < len(p.src) {
		switch c := p.src[p.pos]; {
		case c == ' ' || c == '\t':
			p.pos++
		case c == '#' && (p.pos == 0 || strings.ContainsRune(" \t\n;", rune(p.src[p.pos-1]))):
			for p.pos < len(p.src) && p.src[p.pos] != '\n' {
				p.pos++
			}
		case p.operator():
		default:
			if err := p.word(); err != nil {
				return err
			}
		}
	}
	return nil
}

// operators, longest first.
var operators = []string{"&&", "||", ">>", ">&", ";", "\n", "&", ">", "<"}

func (p *parser) operator() bool {
	rest, fd := p.src[p.pos:], -1
	if len(rest) > 1 && (rest[0] == '1' || rest[0] == '2') && rest[1] == '>' {
		fd, rest = int(rest[0]-'0'), rest[1:]
	}
	for _, op := range operators {
		if strings.HasPrefix(rest, op) {
			p.pos += len(p.src[p.pos:]) - len(rest) + len(op)
			if fd < 0 && strings.HasPrefix(op, ">") {
				fd = 1
			}
			if op == "\n" {
				op = ";"
			}
			p.tokens = append(p.tokens, token{op: op, raw: op, fd: fd})
			return true
		}
	}
	return false
}

func (p *parser) word() error {
	var w word
	start := p.pos
	for p.pos < len(p.src) && !strings.ContainsRune(" \t\n;&<>|", rune(p.src[p.pos])) {
		switch c := p.src[p.pos]; c {
		case '\'':
			end := strings.IndexByte(p.src[p.pos+1:], '\'')
			if end < 0 {
				return fmt.Errorf("%w: unclosed quote", errSyntax)
			}
			w = append(w, segment{text: p.src[p.pos+1 : p.pos+1+end]})
			p.pos += end + 2
		case '"':
			if err := p.quoted(&w); err != nil {
				return err
			}
		case '$':
			p.variable(&w)
		case '\\':
			p.pos++
			fallthrough
		default:
			if p.pos < len(p.src) {
				w = append(w, segment{text: p.src[p.pos : p.pos+1]})
				p.pos++
			}
		}
	}
	if p.pos == start {
		return fmt.Errorf("%w near %q", errSyntax, p.src[start:])
	}
	p.tokens = append(p.tokens, token{word: w, raw: p.src[start:p.pos]})
	return nil
}

func (p *parser) quoted(w *word) error {
	*w = append(*w, segment{}) // "" is a word
	for p.pos++; p.pos < len(p.src); {
		switch c := p.src[p.pos]; {
		case c == '"':
			p.pos++
			return nil
		case c == '$':
			p.variable(w)
		case c == '\\' && p.pos+1 < len(p.src) && strings.ContainsRune("\\\"$`", rune(p.src[p.pos+1])):
			*w = append(*w, segment{text: p.src[p.pos+1 : p.pos+2]})
			p.pos += 2
		default:
			*w = append(*w, segment{text: p.src[p.pos : p.pos+1]})
			p.pos++
		}
	}
	return fmt.Errorf("%w: unclosed quote", errSyntax)
}

func (p *parser) variable(w *word) {
	rest := p.src[p.pos+1:]
	name := ""
	switch {
	case rest != "" && strings.ContainsRune("$!?", rune(rest[0])):
		name = rest[:1]
	default:
		n := 0
		for n < len(rest) && isNameByte(rest[n]) {
			n++
		}
		name = rest[:n]
	}
	p.pos += 1 + len(name)
	if name == "" {
		*w = append(*w, segment{text: "$"})
		return
	}
	*w = append(*w, segment{text: name, variable: true})
}

func isNameByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// peek is the next token's text; empty at the end.
func (p *parser) peek() string {
	if p.at == len(p.tokens) {
		return ""
	}
	return p.tokens[p.at].raw
}

func (p *parser) list() (list, error) {
	var l list
	for p.at < len(p.tokens) {
		if p.peek() == ";" {
			p.at++
			continue
		}
		if p.peek() == "do" || p.peek() == "done" {
			return l, nil
		}
		s, err := p.statement()
		if err != nil {
			return nil, err
		}
		l = append(l, s)
	}
	return l, nil
}

func (p *parser) statement() (statement, error) {
	var s statement
	start := p.at
	for {
		c, err := p.command()
		if err != nil {
			return s, err
		}
		s.parts = append(s.parts, c)
		if next := p.peek(); next == "&&" || next == "||" {
			s.joins = append(s.joins, next)
			p.at++
			continue
		}
		break
	}
	var text []string
	for _, t := range p.tokens[start:p.at] {
		text = append(text, t.raw)
	}
	s.text = strings.Join(text, " ")
	if p.peek() == "&" {
		s.background = true
		p.at++
	}
	return s, nil
}

func (p *parser) command() (command, error) {
	if p.peek() == "while" {
		return p.loop()
	}
	var c command
	for p.at < len(p.tokens) {
		t := p.tokens[p.at]
		if t.op == "" {
			p.at++
			if name, value, ok := assignment(t); ok && len(c.args) == 0 {
				c.assigns = append(c.assigns, assign{name, value})
				continue
			}
			c.args = append(c.args, t.word)
			continue
		}
		if !slices.Contains([]string{">", ">>", "<", ">&"}, t.op) {
			break
		}
		if p.at++; p.at == len(p.tokens) || p.tokens[p.at].op != "" {
			return c, fmt.Errorf("%w: a redirection needs a file", errSyntax)
		}
		c.redirects = append(c.redirects, redirect{fd: t.fd, op: t.op, file: p.tokens[p.at].word})
		p.at++
	}
	if len(c.args)+len(c.assigns)+len(c.redirects) == 0 {
		return c, fmt.Errorf("%w near %q", errSyntax, p.peek())
	}
	return c, nil
}

// assignment splits NAME=value.
func assignment(t token) (string, word, bool) {
	name, _, ok := strings.Cut(t.raw, "=")
	if !ok || name == "" || strings.IndexFunc(name, func(r rune) bool { return r > 'z' || !isNameByte(byte(r)) }) >= 0 {
		return "", nil, false
	}
	var value word
	skipped := 0
	for _, s := range t.word { // the name and = came byte by byte
		if skipped <= len(name) {
			skipped++
			continue
		}
		value = append(value, s)
	}
	return name, value, true
}

func (p *parser) loop() (command, error) {
	var c command
	var err error
	p.at++ // while
	if c.cond, err = p.list(); err != nil {
		return c, err
	}
	if p.peek() != "do" {
		return c, fmt.Errorf("%w: while without do", errSyntax)
	}
	p.at++
	if c.body, err = p.list(); err != nil {
		return c, err
	}
	if p.peek() != "done" {
		return c, fmt.Errorf("%w: while without done", errSyntax)
	}
	p.at++
	return c, nil
}
