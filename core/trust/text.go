package trust

import (
	"fmt"
	"strings"

	"github.com/sero-labs/sero-runtime/core/config"
)

const hostText = "commands run on this machine with your rights, outside of any sandbox"

func fieldOf(key string, i int) string { return fmt.Sprintf("%s[%d]", key, i) }

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
