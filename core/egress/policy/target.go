package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Target is what a request wants to reach.
type Target struct {
	Host string     // a name in lower case without the final dot, or an address as Addr spells it
	Addr netip.Addr // valid if the request named an address
	Port uint16
}

// String is "host:port", with brackets where they belong.
func (t Target) String() string {
	if t.Addr.IsValid() {
		return netip.AddrPortFrom(t.Addr, t.Port).String()
	}
	return t.Host + ":" + strconv.Itoa(int(t.Port))
}

// Rule is the rule that would allow just this target.
func (t Target) Rule() string { return t.String() }

// ParseAuthority reads "host:port" as it stands in a request. It knows one
// spelling of each address and of each name: what a resolver somewhere would
// take for an address and we for a name (127.1, 2130706433, 0x7f.1), zones,
// user information, escapes and bytes that no name has are errors. defaultPort
// is for an authority without a port; 0 means that there must be one.
func ParseAuthority(s string, defaultPort uint16) (Target, error) {
	host, port := s, ""
	if end := strings.LastIndexByte(s, ']'); strings.HasPrefix(s, "[") {
		if end < 0 || end+1 < len(s) && s[end+1] != ':' {
			return Target{}, errors.New("the brackets are not those of an IPv6 address")
		}
		host, port = s[:end+1], s[end+1:]
	} else if colon := strings.IndexByte(s, ':'); colon >= 0 {
		host, port = s[:colon], s[colon:]
	}
	t := Target{Port: defaultPort}
	if port != "" {
		n, err := parsePort(port[1:])
		if err != nil {
			return Target{}, err
		}
		t.Port = n
	}
	if t.Port == 0 {
		return Target{}, errors.New("there is no port")
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		a, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !a.Is6() || a.Zone() != "" {
			return Target{}, errors.New("there is no plain IPv6 address in the brackets")
		}
		t.Host, t.Addr = a.String(), a
		return t, nil
	}
	if a, err := netip.ParseAddr(host); err == nil && a.Is4() {
		t.Host, t.Addr = a.String(), a
		return t, nil
	}
	name, err := parseName(host)
	t.Host = name
	return t, err
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '0' || s[0] == '+' {
		return 0, fmt.Errorf("the port is not a number from 1 to 65535")
	}
	return uint16(n), nil
}

const (
	maxName  = 253
	maxLabel = 63
)

// parseName gives a host name in lower case, without its final dot.
func parseName(s string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	if name == "" || len(name) > maxName {
		return "", errors.New("the host is empty or longer than a name can be")
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > maxLabel {
			return "", errors.New("a part of the name is empty or too long")
		}
		for i := range len(label) {
			switch c := label[i]; {
			case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_':
			case c == '-' && i > 0 && i < len(label)-1:
			case c >= 0x80:
				return "", errors.New("the name is not in ASCII: write it as xn--…")
			default:
				return "", errors.New("there is a character in the host that no name has")
			}
		}
	}
	if last := labels[len(labels)-1]; numeric(last) {
		return "", errors.New("it is neither a name nor an address in its usual spelling")
	}
	return name, nil
}

// numeric tells whether a name's last part makes some resolvers take the whole
// for an IPv4 address.
func numeric(label string) bool {
	digits, hex := label, false
	if rest, ok := strings.CutPrefix(label, "0x"); ok {
		digits, hex = rest, true
	}
	for i := range len(digits) {
		c := digits[i]
		if isDigit := c >= '0' && c <= '9' || hex && c >= 'a' && c <= 'f'; !isDigit {
			return false
		}
	}
	return true
}
