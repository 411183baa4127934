package loopback

import (
	"syscall"
)

// Bounds of Share.
const (
	fewest = 64
	most   = 2048
)

// Share is how many connections one door of this process may hold, so that there
// are descriptors left for the others: an eighth of what the process may open.
func Share() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fewest
	}
	return int(min(most, max(fewest, limit.Cur/8))) //nolint:gosec // it is in bounds
}
