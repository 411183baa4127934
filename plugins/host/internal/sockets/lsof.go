package sockets

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// parseLsof reads the output of lsof -Fpn: a line "p<pid>" for each process, and
// under it lines "f<descriptor>" and "n<address>:<port>". An endpoint that
// several processes hold goes to the first of pids.
func parseLsof(out string, pids []int) []Socket {
	holders := make(map[Socket]int) // index in pids, by endpoint
	holder := -1
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		if line == "" {
			continue
		}
		switch value := line[1:]; line[0] {
		case 'p':
			pid, err := strconv.Atoi(value)
			holder = slices.Index(pids, pid)
			if err != nil {
				holder = -1
			}
		case 'n':
			at, ok := parseEndpoint(value)
			if !ok || holder < 0 {
				continue
			}
			if earlier, held := holders[at]; !held || holder < earlier {
				holders[at] = holder
			}
		}
	}
	var found []Socket
	for at, holder := range holders {
		at.PID = pids[holder]
		found = append(found, at)
	}
	return found
}

// parseEndpoint reads "127.0.0.1:80", "[::1]:80" and "*:80". For the last, lsof
// does not say of which family the socket is; 0.0.0.0 is right for both, as a
// wildcard socket of IPv6 takes IPv4 too.
func parseEndpoint(s string) (Socket, bool) {
	host, port, ok := cutLast(s, ":")
	if !ok {
		return Socket{}, false
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return Socket{}, false
	}
	if host == "*" {
		host = "0.0.0.0"
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return Socket{}, false
	}
	return Socket{Address: address.WithZone("").Unmap(), Port: uint16(number)}, true
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+len(sep):], true
}
