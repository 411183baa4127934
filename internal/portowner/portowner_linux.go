package portowner

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// find looks for the port among the kernel's sockets, then for the process that
// holds the socket's descriptor.
func find(ctx context.Context, port uint16) (Owner, bool) {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if inode, listens := listener(line, port); listens {
				inodes["socket:["+inode+"]"] = true
			}
		}
	}
	if len(inodes) == 0 {
		return Owner{}, false
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return Owner{}, false
	}
	for _, process := range processes {
		if ctx.Err() != nil {
			return Owner{}, false
		}
		if !holds(process, inodes) {
			continue
		}
		name, err := os.ReadFile(filepath.Join(process, "comm"))
		if err != nil {
			continue
		}
		return Owner{PID: number(filepath.Base(process)), Command: strings.TrimSpace(string(name))}, true
	}
	return Owner{}, false
}

// listener is the inode of a line of the kernel's table, if it is that of a
// socket that listens on the port.
func listener(line string, port uint16) (inode string, listens bool) {
	const stateListen = "0A"
	fields := strings.Fields(line)
	if len(fields) < 10 || fields[3] != stateListen {
		return "", false
	}
	_, hex, _ := strings.Cut(fields[1], ":")
	n, err := strconv.ParseUint(hex, 16, 16)
	return fields[9], err == nil && n == uint64(port)
}

func holds(process string, inodes map[string]bool) bool {
	descriptors := filepath.Join(process, "fd")
	entries, err := os.ReadDir(descriptors)
	if err != nil {
		return false // of another user, or gone
	}
	for _, entry := range entries {
		if link, err := os.Readlink(filepath.Join(descriptors, entry.Name())); err == nil && inodes[link] {
			return true
		}
	}
	return false
}
