package command

import (
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func (a *app) shellCommand() *cobra.Command {
	var flags execFlags
	cmd := &cobra.Command{
		Use:   "shell [flags]",
		Short: "open a terminal in a workspace",
		Long: `Runs the user's login shell in the workspace, on a terminal if this is one. When it
ends, or sero is ended, the terminal is as it was before.`,
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
			return a.runSession(cmd, start, term.IsTerminal(int(a.stdin.Fd())))
		},
	}
	flags.register(a, cmd)
	return cmd
}
