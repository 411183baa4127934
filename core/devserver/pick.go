package devserver

import (
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// The classes of ports that a command listens on, best first. A port of a worse
// class than the first that could be expected is taken only once it has stood
// alone for a while, and gives way when a better one comes.
const (
	classRequested = iota // the one that was asked for
	classOrdinary
	classOdd // ports of debuggers and databases, and ephemeral ones
	classNone
)

// firstEphemeral is where Linux begins to hand out ports by itself; macOS
// begins later.
const firstEphemeral = 32768

// debuggerPorts are the usual ones of node (9229 and up), Chrome, older node,
// debugpy, delve, the JVM and bun.
var debuggerPorts = []uint16{9222, 5858, 5678, 2345, 5005, 6499}

func isDebugger(port uint16) bool {
	return port >= 9229 && port <= 9239 || slices.Contains(debuggerPorts, port)
}

func classOf(port, requested uint16) int {
	switch {
	case requested != 0 && port == requested:
		return classRequested
	case port >= firstEphemeral, isDebugger(port), slices.Contains(notWeb, port):
		return classOdd
	default:
		return classOrdinary
	}
}

// bestClass is the class that a command can be expected to reach.
func bestClass(requested uint16) int {
	if requested != 0 {
		return classRequested
	}
	return classOrdinary
}

// pick chooses the port of a server among the listeners of its own processes:
// the best class; in a class the port that the server has already, else the
// lowest number.
func pick(own []driver.Listener, requested, current uint16) (port uint16, class int) {
	class = classNone
	for _, l := range own {
		c := classOf(l.Port, requested)
		switch {
		case c < class:
			port, class = l.Port, c
		case c == class && port != current && (l.Port == current || l.Port < port):
			port = l.Port
		}
	}
	return port, class
}

// listenersAt are those of a port, IPv4 first: 127.0.0.1 is what most programs
// try.
func listenersAt(listeners []driver.Listener, port uint16) []driver.Listener {
	var at []driver.Listener
	for _, l := range listeners {
		if l.Port == port {
			at = append(at, l)
		}
	}
	slices.SortStableFunc(at, func(a, b driver.Listener) int { return rankAddress(a.Address) - rankAddress(b.Address) })
	return at
}

func rankAddress(address string) int {
	ip, err := netip.ParseAddr(address)
	switch {
	case err != nil:
		return 4
	case ip.Is4() && ip.IsUnspecified():
		return 0
	case ip.Is4() && ip.IsLoopback():
		return 1
	case ip.IsUnspecified():
		return 2
	case ip.IsLoopback():
		return 3
	default:
		return 4
	}
}

// addressFor is where a server can be reached from the host: on localhost, which
// tools for development trust more than a number, if it listens there; else where
// it was seen to listen, else at the sandbox's address. With literal, localhost may
// lead to another program, and the number is needed.
func addressFor(ws workspace.Workspace, at []driver.Listener, literal bool) string {
	if ws.Choice.HostMode && len(at) > 0 {
		if ip, err := netip.ParseAddr(at[0].Address); err == nil {
			ip = ip.Unmap()
			switch local := ip.IsUnspecified() || ip == netip.IPv6Loopback() || ip == netip.AddrFrom4([4]byte{127, 0, 0, 1}); {
			case local && !literal, !ip.Is4() && ip.IsUnspecified():
				return "localhost"
			case ip.IsUnspecified():
				return "127.0.0.1"
			default:
				return ip.WithZone("").String()
			}
		}
	}
	if !ws.Choice.HostMode && len(ws.Addresses) > 0 {
		return ws.Addresses[0]
	}
	return "localhost"
}

// dialsFor are the addresses at which a server can be dialled from inside its
// sandbox, whatever it is bound to. Where that is not known, both families'
// loopback addresses are.
func dialsFor(at []driver.Listener, port uint16) []string {
	var hosts []string
	for _, l := range at {
		ip, err := netip.ParseAddr(l.Address)
		switch {
		case err != nil, ip.IsUnspecified() && !ip.Is4(): // IPv6, and as a rule IPv4 too
			hosts = append(hosts, "127.0.0.1", "::1")
		case ip.IsUnspecified():
			hosts = append(hosts, "127.0.0.1")
		default:
			hosts = append(hosts, ip.Unmap().WithZone("").String())
		}
	}
	if len(at) == 0 {
		hosts = []string{"127.0.0.1", "::1"}
	}
	var dials []string
	for _, host := range hosts {
		if dial := net.JoinHostPort(host, strconv.Itoa(int(port))); !slices.Contains(dials, dial) {
			dials = append(dials, dial)
		}
	}
	return dials
}

func (v *server) urlAt(port uint16) string {
	return v.protocol.scheme() + "://" + net.JoinHostPort(v.address, strconv.Itoa(int(port)))
}
