package conformance

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// hostProcesses lists the host's processes but for zombies.
func hostProcesses() []process {
	ctx, cancel := context.WithTimeoutCause(context.Background(), 5*time.Second, errDeadline)
	defer cancel()
	text, err := exec.CommandContext(ctx, "/bin/ps", "-axww", "-o", "pid=,ppid=,stat=,lstart=,args=").Output()
	if err != nil {
		return nil
	}
	var out []process
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line) // lstart is five words
		if len(f) < 9 || strings.HasPrefix(f[2], "Z") {
			continue
		}
		pid, _ := strconv.Atoi(f[0])
		parent, _ := strconv.Atoi(f[1])
		out = append(out, process{pid: pid, parent: parent, born: strings.Join(f[3:8], " "), line: strings.Join(f[8:], " ")})
	}
	return out
}
