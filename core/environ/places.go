package environ

import (
	"fmt"
	"strings"
)

// Places are made in a sandbox, where nothing is at their paths.
type Places struct {
	Dir   string   // the workspace's directory in the sandbox
	Links []string // paths that lead to Dir as well
}

// Script is a shell script that makes them, as root in the sandbox. It says on standard
// error what it could not make. Nothing that is there is replaced, and nothing is made
// in a directory that a link leads to: it may be one of the host's.
func (p Places) Script() string {
	if len(p.Links) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(freeScript)
	for _, link := range p.Links {
		fmt.Fprintf(&b, "if free %s; then ln -s -- %s \"$at\" || echo 'the workspace cannot be shown at its own path' >&2; fi\n", shellQuote(link), shellQuote(p.Dir))
	}
	return b.String()
}

// freeScript defines free, which makes the directories above a path, $at, at which
// nothing is. It fails where something is, or where a link is above it.
const freeScript = `free() {
	at=$1
	[ ! -e "$at" ] && [ ! -L "$at" ] || return 1
	above=${at%/*}
	while [ -n "$above" ] && [ ! -d "$above" ]; do
		[ ! -e "$above" ] && [ ! -L "$above" ] || return 1
		above=${above%/*}
	done
	[ "$(cd "${above:-/}" && pwd -P)" = "${above:-/}" ] || return 1
	mkdir -p -- "${at%/*}/"
}
`
