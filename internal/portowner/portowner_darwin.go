package portowner

import (
	"bytes"
	"context"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// find asks the system's lsof.
func find(ctx context.Context, port uint16) (Owner, bool) {
	cmd := exec.CommandContext(ctx, "/usr/sbin/lsof", "-nP", "-iTCP:"+strconv.Itoa(int(port)), "-sTCP:LISTEN", "-Fpc")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		return Owner{}, false
	}
	var owner Owner
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "p") && owner.PID == 0:
			owner.PID = number(line[1:])
		case strings.HasPrefix(line, "c") && owner.Command == "":
			owner.Command = line[1:]
		}
	}
	return owner, true
}
