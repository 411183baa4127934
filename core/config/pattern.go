package config

import (
	"regexp"
	"sync"
)

// pattern is a regular expression that is compiled when it is first used: most
// runs of sero use none, and long ones take milliseconds.
type pattern func() *regexp.Regexp

func newPattern(text string) pattern {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

// MatchString tells whether the text matches.
func (p pattern) MatchString(text string) bool { return p().MatchString(text) }

// FindStringSubmatch gives what the groups match, or nil.
func (p pattern) FindStringSubmatch(text string) []string { return p().FindStringSubmatch(text) }

// String is the expression's text.
func (p pattern) String() string { return p().String() }
