package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// DefaultPorts are those of an allow rule that names none. A deny rule that
// names none is for every port.
var DefaultPorts = []uint16{80, 443}

// Rule is one line of an allow or deny list: a host, an address or a network,
// and the ports. See ParseRule.
type Rule struct {
	text  string
	name  string       // exact; empty for the others
	under string       // ".domain": every name that ends with it
	all   bool         // "*"
	block netip.Prefix // an address or a network
	port  uint16       // 0: none given
	any   bool         // every port, as ":*" says
}

// ParseRule reads a rule; anything else is an error that says what is wrong.
//
//	registry.npmjs.org      a host, exactly
//	*.github.com            every host below it, not itself
//	*                       every host and address that is public
//	140.82.112.3            an address, IPv4 or IPv6
//	140.82.112.0/20         a network
//	github.com:22           one port; [2001:db8::1]:22, [2001:db8::/32]:22
//	github.com:*            every port
func ParseRule(s string) (Rule, error) {
	r, err := parseRule(strings.ToLower(s))
	if err != nil {
		return Rule{}, fmt.Errorf("this is not a host, a *.domain, an address or a network, with or without a port: %w", err)
	}
	return r, nil
}

func parseRule(s string) (Rule, error) {
	r := Rule{text: s}
	target := r.text
	if block, ok := parseBlock(target); ok {
		r.block = block
		return r, r.checkBlock()
	}
	if colon := strings.LastIndexByte(target, ':'); colon >= 0 && !strings.HasSuffix(target, "]") {
		port := target[colon+1:]
		if target = target[:colon]; port == "*" {
			r.any = true
		} else {
			n, err := parsePort(port)
			if err != nil {
				return Rule{}, err
			}
			r.port = n
		}
	}
	inner, bracketed := strings.CutPrefix(target, "[")
	if bracketed {
		target = strings.TrimSuffix(inner, "]")
	}
	block, ok := parseBlock(target)
	switch {
	case ok && block.Addr().Is6() != bracketed, !ok && bracketed:
		return Rule{}, errors.New("brackets belong around an IPv6 address that a port follows")
	case ok:
		r.block = block
		return r, r.checkBlock()
	case target == "*":
		r.all = true
		return r, nil
	}
	domain, wild := strings.CutPrefix(target, "*.")
	name, err := parseName(domain)
	if err != nil {
		return Rule{}, err
	}
	if wild {
		r.under = "." + name
	} else {
		r.name = name
	}
	return r, nil
}

func parseBlock(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err == nil
}

func (r Rule) checkBlock() error {
	if r.block.Addr().Is4In6() {
		return errors.New("write the IPv4 address itself")
	}
	return nil
}

// String is the rule as it was written, in lower case.
func (r Rule) String() string { return r.text }

// names tells whether the rule speaks of the target as the request names it:
// names by host rules, addresses by address rules.
func (r Rule) names(t Target) bool {
	if t.Addr.IsValid() {
		return r.all || r.block.IsValid() && r.block.Contains(t.Addr)
	}
	return r.all || r.name != "" && r.name == t.Host || r.under != "" && strings.HasSuffix(t.Host, r.under)
}

// holds tells whether the rule speaks of an address by address, not by "*".
func (r Rule) holds(a netip.Addr) bool { return r.block.IsValid() && r.block.Contains(a) }

// opens tells whether the rule, in an allow list, is for this port.
func (r Rule) opens(port uint16) bool {
	return r.any || r.port == port || r.port == 0 && slices.Contains(DefaultPorts, port)
}

// closes tells whether the rule, in a deny list, is for this port.
func (r Rule) closes(port uint16) bool { return r.port == 0 || r.port == port }

// ParseRules reads a list, which must be right: package config checks it first.
func ParseRules(list []string) ([]Rule, error) {
	rules := make([]Rule, 0, len(list))
	for i, s := range list {
		r, err := ParseRule(s)
		if err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}
