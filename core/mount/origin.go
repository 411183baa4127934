package mount

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// origin is where on a file system something is, whatever it is mounted as.
type origin struct {
	device string // as the kernel numbers it; empty: not known
	path   string // from the file system's own root
}

// isIn reports whether o is other, or below it.
func (o origin) isIn(other origin) bool {
	return o.device != "" && o.device == other.device && below(o.path, other.path)
}

// mounted is one line of the kernel's table of mounts.
type mounted struct {
	origin
	at string
}

// mountTable is what is mounted where, later ones over earlier ones. It is empty
// where the system does not say.
type mountTable []mounted

// of is the origin of a path without links.
func (t mountTable) of(resolved string) origin {
	for _, m := range slices.Backward(t) {
		if m.at == resolved {
			return m.origin
		}
	}
	best := mounted{}
	for _, m := range t {
		if below(resolved, m.at) && len(m.at) >= len(best.at) {
			best = m
		}
	}
	if best.device == "" {
		return origin{}
	}
	rest := strings.TrimPrefix(strings.TrimPrefix(resolved, best.at), "/")
	return origin{best.device, path.Join(best.path, rest)}
}

// under are the mounts below a path without links: a sandbox that is shown the
// path sees them too.
func (t mountTable) under(resolved string) []mounted {
	var found []mounted
	for _, m := range t {
		if m.at != resolved && below(m.at, resolved) {
			found = append(found, m)
		}
	}
	return found
}

// parseMounts reads the text of /proc/self/mountinfo; see proc_pid_mountinfo(5).
func parseMounts(text string) mountTable {
	var t mountTable
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		const device, root, at = 2, 3, 4
		if len(fields) <= at {
			continue
		}
		t = append(t, mounted{origin{fields[device], unescaped(fields[root])}, unescaped(fields[at])})
	}
	return t
}

// unescaped undoes the octal escapes of the kernel's tables.
func unescaped(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		const digits = 3
		if s[i] == '\\' && i+digits < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+1+digits], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += digits
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
