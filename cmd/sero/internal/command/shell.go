package command

import (
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

func (a *app) shellCommand() *cobra.Command {
	var flags execFlags
	var keys string
	cmd := &cobra.Command{
		Use:        "shell [flags]",
		Short:      "open a terminal in a workspace",
		SuggestFor: []string{"ssh", "enter", "bash", "console"},
		Long: `Runs the user's login shell in the workspace. On a terminal it is one that outlives its
viewers: Ctrl-P Ctrl-Q leaves it, or the window is closed, and sero attach goes back to it.
In a container it also outlives the daemon.`,
		Example: `  sero shell
  echo 'ls -l' | sero shell`,
		Annotations: map[string]string{runnerKey: "yes", exitKey: "the shell's own; 125 when sero itself failed"},
		Args:        arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			start, err := flags.start(a)
			if err != nil {
				return err
			}
			start.LoginShell = true
			if !term.IsTerminal(int(a.stdin.Fd())) {
				return a.runSession(cmd, start, false)
			}
			start.Session = &apipb.ExecSession{}
			return a.runTerminal(cmd, start, keys)
		},
	}
	flags.register(a, cmd)
	detachFlag(cmd, &keys)
	return cmd
}
