package conformance

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// hostProcesses lists the host's processes but for zombies.
func hostProcesses() []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		// pid (name) state ppid …: the name may have spaces and parentheses
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
			continue
		}
		line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline") // empty when it has just ended
		parent, _ := strconv.Atoi(fields[1])
		text := strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))
		out = append(out, process{pid: pid, parent: parent, born: fields[19], line: text})
	}
	return out
}
