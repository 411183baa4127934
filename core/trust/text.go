package trust

import (
	"fmt"
	"strings"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

const hostText = "commands run on this machine with your rights, outside of any sandbox"

func fieldOf(key string, i int) string { return fmt.Sprintf("%s[%d]", key, i) }

// userText returns the text for any user: the image decides which number a name
// has, and the files of another number belong to another user on the machine.
func userText(user string) string {
	return fmt.Sprintf("commands run as %+q in the sandbox, and may leave files of that user in the workspace, also such as run with that user's rights", user)
}

func processesText(n int64) string {
	return fmt.Sprintf("commands in the sandbox may have %d processes at once, where %d is the usual limit; the machine has one number for all", n, driver.DefaultProcesses)
}

func mountText(m config.Mount) string {
	rights := "read and change"
	if m.ReadOnly {
		rights = "read"
	}
	text := fmt.Sprintf("commands in the sandbox may %s %+q", rights, m.Source)
	if m.Target != "" && m.Target != m.Source {
		text += fmt.Sprintf(", as %+q", m.Target)
	}
	return text
}

func secretText(name, reference string) string {
	if variable, ok := strings.CutPrefix(reference, config.SecretEnv); ok {
		return fmt.Sprintf("commands get the daemon's variable %s as %s", variable, name)
	}
	return fmt.Sprintf("commands get what is in the file %+q as %s", strings.TrimPrefix(reference, config.SecretFile), name)
}
