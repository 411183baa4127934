package host

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// killCounter is the file that tells how often the kernel has killed a process
// of this control group for memory; empty where there is none.
type killCounter string

// findKillCounter finds the one of the control group that this process is in. In
// a container it is shown as the root of its hierarchy.
func findKillCounter() killCounter {
	files := []string{"/sys/fs/cgroup/memory/memory.oom_control", "/sys/fs/cgroup/memory.events"}
	if groups, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		for line := range strings.Lines(string(groups)) {
			if own, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/"); ok && own != "" {
				files = append(files, "/sys/fs/cgroup/"+own+"/memory.events")
			}
		}
	}
	for _, file := range files {
		if _, err := os.Stat(file); err == nil {
			return killCounter(file)
		}
	}
	return ""
}

// read is how often; 0 where it is not told.
func (c killCounter) read() int {
	if c == "" {
		return 0
	}
	text, err := os.ReadFile(string(c))
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(text) {
		if n, ok := bytes.CutPrefix(line, []byte("oom_kill ")); ok {
			kills, _ := strconv.Atoi(string(bytes.TrimSpace(n)))
			return kills
		}
	}
	return 0
}

// wasKilled tells of a command that was killed, or that says so of what it ran,
// as shells do.
func wasKilled(s driver.ExitStatus) bool { return s.Signal == "SIGKILL" || s.Code == 137 }
