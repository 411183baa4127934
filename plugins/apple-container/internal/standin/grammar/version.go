package grammar

import (
	"fmt"
	"strconv"
	"strings"
)

// Version is a released version of the CLI: major, minor, patch.
type Version [3]int

// ParseVersion reads "1.2.2"; missing parts are zero.
func ParseVersion(text string) (Version, error) {
	var v Version
	parts := strings.Split(text, ".")
	if len(parts) > len(v) {
		return v, fmt.Errorf("%q is not a version such as 1.2.2", text)
	}
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return v, fmt.Errorf("%q is not a version such as 1.2.2", text)
		}
		v[i] = n
	}
	return v, nil
}

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

// Before tells whether v is older than other.
func (v Version) Before(other Version) bool {
	for i := range v {
		if v[i] != other[i] {
			return v[i] < other[i]
		}
	}
	return false
}

// AtLeast tells whether v is major.minor or newer.
func (v Version) AtLeast(major, minor int) bool {
	return !v.Before(Version{major, minor, 0})
}

// span is a range of versions: since is in it, until is not.
type span struct {
	since, until Version // zero: no bound
}

func (s span) has(v Version) bool {
	return !v.Before(s.since) && (s.until == Version{} || v.Before(s.until))
}
