// Package policy decides what a workspace may reach: rules, the addresses that
// are not public, and the decision on a name and on each of its addresses. It is
// pure: it resolves nothing and dials nothing.
package policy

import (
	"fmt"
	"net/netip"
	"slices"
)

// Mode is how far a workspace is open.
type Mode string

// The modes.
const (
	Open      Mode = "open"      // everything public that no deny rule names
	Observe   Mode = "observe"   // the same, and what is reached is written down
	Allowlist Mode = "allowlist" // what an allow rule names, and nothing else
)

// Modes are all of them.
var Modes = []string{string(Open), string(Observe), string(Allowlist)}

// List is what one file says.
type List struct {
	File  string // for messages: "sero.json"
	Mode  Mode   // empty: Open
	Allow []Rule
	Deny  []Rule
}

// Policy is all that decides about one workspace. A target must pass both lists,
// so that a workspace's file can close what the machine's leaves open, and never
// the other way round.
type Policy struct {
	Machine   List
	Workspace List
	// Granted are the person's own exceptions for this workspace, made with the
	// command line. Only a deny rule is stronger.
	Granted []Rule
	// Own tells whether an address is the host's.
	Own func(netip.Addr) bool
}

// Refusal is why something is not let through.
type Refusal struct {
	Why string
	// Rule is what decided, as "egress.deny of sero.json: 10.0.0.0/8".
	Rule string
	// Allow is the rule whose grant would let it through; empty where a deny rule
	// must go first.
	Allow string
}

// Error is one line.
func (r *Refusal) Error() string { return r.Why + " (" + r.Rule + ")" }

// Mode is the stricter one of the two lists, for people.
func (p Policy) Mode() Mode {
	for _, m := range []Mode{Allowlist, Observe} {
		if p.Machine.Mode == m || p.Workspace.Mode == m {
			return m
		}
	}
	return Open
}

// CheckTarget decides on a target as the request names it, before anything is
// resolved: a name that may not be reached is not looked up either, for a lookup
// can carry data out.
func (p Policy) CheckTarget(t Target) *Refusal {
	for _, l := range []List{p.Machine, p.Workspace} {
		for _, r := range l.Deny {
			if r.names(t) && r.closes(t.Port) {
				return denied(t.String(), l, r)
			}
		}
	}
	opens := func(r Rule) bool { return r.names(t) && r.opens(t.Port) }
	if slices.ContainsFunc(p.Granted, opens) {
		return nil
	}
	for _, l := range []List{p.Machine, p.Workspace} {
		if l.Mode == Allowlist && !slices.ContainsFunc(l.Allow, opens) {
			return &Refusal{
				Why:   fmt.Sprintf("%s is not in the allow list", t),
				Rule:  fmt.Sprintf("mode allowlist of %s, %d rules", l.File, len(l.Allow)),
				Allow: t.Rule(),
			}
		}
	}
	return nil
}

// CheckAddr decides on one address that a target has, which is the address that
// will be dialled.
func (p Policy) CheckAddr(t Target, a netip.Addr) *Refusal {
	what := t.String()
	if !t.Addr.IsValid() {
		what += " at " + a.String()
	}
	for _, l := range []List{p.Machine, p.Workspace} {
		for _, r := range l.Deny {
			if r.holds(a) && r.closes(t.Port) {
				return denied(what, l, r)
			}
		}
	}
	named := func(r Rule) bool { return r.holds(a) && r.opens(t.Port) }
	if slices.ContainsFunc(p.Granted, named) || slices.ContainsFunc(p.Machine.Allow, named) {
		return nil
	}
	allow := Target{Host: a.String(), Addr: a, Port: t.Port}.Rule()
	if s, ok := SpecialOf(a); ok {
		return &Refusal{
			Why:   what + " is not a public address",
			Rule:  fmt.Sprintf("%s, %s, %s", s.Name, s.Prefix, s.Source),
			Allow: allow,
		}
	}
	if p.Own == nil || p.Own(a) {
		return &Refusal{Why: what + " is this machine itself", Rule: "an address of the host", Allow: allow}
	}
	return nil
}

func denied(what string, l List, r Rule) *Refusal {
	return &Refusal{Why: what + " is in the deny list", Rule: fmt.Sprintf("egress.deny of %s: %s", l.File, r)}
}
