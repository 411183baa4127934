package policy

import "net/netip"

// Special is a block of addresses that are not public unicast.
type Special struct {
	Prefix netip.Prefix
	Name   string
	Source string // the document that reserves it
}

// Specials are the blocks that are never reached unless a rule names them: both
// special-purpose registries of IANA in full, the blocks for which the registry
// says "globally reachable" included, for what answers there is infrastructure
// and no web server; multicast; what older documents reserved; and the public
// addresses on which clouds serve metadata to their machines.
//
// Sources: https://www.iana.org/assignments/iana-ipv4-special-registry and
// https://www.iana.org/assignments/iana-ipv6-special-registry as of 2025-10.
// The first entry that contains an address names it, so the smaller block
// stands before the larger one.
var Specials = []Special{
	special("0.0.0.0/32", "this host on this network", "RFC 1122"),
	special("0.0.0.0/8", "this network", "RFC 791"),
	special("10.0.0.0/8", "private use", "RFC 1918"),
	special("100.100.100.200/32", "cloud metadata", "Alibaba Cloud"),
	special("100.64.0.0/10", "shared address space", "RFC 6598"),
	special("127.0.0.0/8", "loopback", "RFC 1122"),
	special("168.63.129.16/32", "cloud metadata", "Azure"),
	special("169.254.169.254/32", "cloud metadata", "RFC 3927"),
	special("169.254.0.0/16", "link-local", "RFC 3927"),
	special("172.16.0.0/12", "private use", "RFC 1918"),
	special("192.0.0.0/29", "IPv4 service continuity", "RFC 7335"),
	special("192.0.0.8/32", "IPv4 dummy address", "RFC 7600"),
	special("192.0.0.9/32", "Port Control Protocol anycast", "RFC 7723"),
	special("192.0.0.10/32", "TURN anycast", "RFC 8155"),
	special("192.0.0.170/31", "NAT64 discovery", "RFC 8880"),
	special("192.0.0.192/32", "cloud metadata", "Oracle Cloud"),
	special("192.0.0.0/24", "IETF protocol assignments", "RFC 6890"),
	special("192.0.2.0/24", "documentation", "RFC 5737"),
	special("192.31.196.0/24", "AS112", "RFC 7535"),
	special("192.52.193.0/24", "automatic multicast tunnels", "RFC 7450"),
	special("192.88.99.0/24", "6to4 relay anycast", "RFC 7526"),
	special("192.168.0.0/16", "private use", "RFC 1918"),
	special("192.175.48.0/24", "AS112", "RFC 7534"),
	special("198.18.0.0/15", "benchmarking", "RFC 2544"),
	special("198.51.100.0/24", "documentation", "RFC 5737"),
	special("203.0.113.0/24", "documentation", "RFC 5737"),
	special("224.0.0.0/4", "multicast", "RFC 5771"),
	special("255.255.255.255/32", "limited broadcast", "RFC 919"),
	special("240.0.0.0/4", "reserved", "RFC 1112"),

	special("::/128", "unspecified", "RFC 4291"),
	special("::1/128", "loopback", "RFC 4291"),
	special("::/96", "IPv4-compatible", "RFC 4291"),
	special("::ffff:0:0/96", "IPv4-mapped", "RFC 4291"),
	special("::ffff:0:0:0/96", "IPv4-translated", "RFC 2765"),
	special("64:ff9b::/96", "NAT64", "RFC 6052"),
	special("64:ff9b:1::/48", "local NAT64", "RFC 8215"),
	special("100::/64", "discard only", "RFC 6666"),
	special("100:0:0:1::/64", "dummy prefix", "RFC 9780"),
	special("2001::/32", "Teredo", "RFC 4380"),
	special("2001:1::1/128", "Port Control Protocol anycast", "RFC 7723"),
	special("2001:1::2/128", "TURN anycast", "RFC 8155"),
	special("2001:1::3/128", "DNS-SD registration anycast", "RFC 9665"),
	special("2001:2::/48", "benchmarking", "RFC 5180"),
	special("2001:3::/32", "automatic multicast tunnels", "RFC 7450"),
	special("2001:4:112::/48", "AS112", "RFC 7535"),
	special("2001:10::/28", "ORCHID", "RFC 4843"),
	special("2001:20::/28", "ORCHIDv2", "RFC 7343"),
	special("2001:30::/28", "drone remote id", "RFC 9374"),
	special("2001::/23", "IETF protocol assignments", "RFC 2928"),
	special("2001:db8::/32", "documentation", "RFC 3849"),
	special("2002::/16", "6to4", "RFC 3056"),
	special("2620:4f:8000::/48", "AS112", "RFC 7534"),
	special("3fff::/20", "documentation", "RFC 9637"),
	special("5f00::/16", "segment routing", "RFC 9602"),
	special("fd00:ec2::254/128", "cloud metadata", "AWS"),
	special("fd20:ce::254/128", "cloud metadata", "Google Cloud"),
	special("fc00::/7", "unique local", "RFC 4193"),
	special("fe80::/10", "link-local", "RFC 4291"),
	special("fec0::/10", "site-local", "RFC 3879"),
	special("ff00::/8", "multicast", "RFC 4291"),
}

func special(prefix, name, source string) Special {
	return Special{Prefix: netip.MustParsePrefix(prefix), Name: name, Source: source}
}

// globalUnicast is all of IPv6 that IANA has given to unicast so far.
var globalUnicast = special("2000::/3", "global unicast", "RFC 4291")

// SpecialOf says why an address is not public unicast; ok is false for one that
// is.
func SpecialOf(a netip.Addr) (s Special, ok bool) {
	for _, s := range Specials {
		if s.Prefix.Contains(a.WithZone("")) {
			return s, true
		}
	}
	if a.Is4() {
		return Special{}, false
	}
	if !globalUnicast.Prefix.Contains(a) {
		return Special{Prefix: netip.PrefixFrom(a, a.BitLen()), Name: "outside of global unicast", Source: globalUnicast.Source}, true
	}
	// ISATAP hides an IPv4 address behind any prefix: only the interface's half
	// of the address tells.
	if b := a.As16(); (b[8] == 0 || b[8] == 2) && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe {
		return Special{Prefix: netip.PrefixFrom(a, a.BitLen()), Name: "ISATAP", Source: "RFC 5214"}, true
	}
	return Special{}, false
}
