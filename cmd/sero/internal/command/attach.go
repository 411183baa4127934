package command

import (
	"errors"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/session"
	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

func (a *app) attachCommand() *cobra.Command {
	var takeOver, readOnly bool
	var keys string
	cmd := &cobra.Command{
		Use:   "attach [flags] [<terminal>]",
		Short: "look at a terminal that is open",
		Long: `Shows a terminal that sero shell has opened, its screen as it is, and writes to it while
nobody else does. Without an id it is the only one of the workspace. Ctrl-P Ctrl-Q leaves it, and it goes on; so it does when its window is closed.`,
		Example: `  sero attach
  sero attach --take-over k3f9qa`,
		Annotations: map[string]string{runnerKey: "yes", exitKey: "the shell's own; 0 when it was left, 125 when sero itself failed"},
		Args:        arguments(0, 1, "the terminal"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if takeOver && readOnly {
				return usagef("only one of --take-over and --read-only can be given")
			}
			if !term.IsTerminal(int(a.stdin.Fd())) {
				return usagef("a terminal can be looked at on a terminal only")
			}
			ref, err := a.reference()
			if err != nil {
				return err
			}
			asked := &apipb.ExecSession{Attach: true, TakeOver: takeOver, ReadOnly: readOnly}
			if len(args) == 1 {
				asked.Id = args[0]
			}
			return a.runTerminal(cmd, &apipb.ExecStart{Workspace: ref, LoginShell: true, Session: asked}, keys)
		},
	}
	cmd.Flags().BoolVar(&takeOver, "take-over", false, "write to it, even if another one does")
	cmd.Flags().BoolVar(&readOnly, "read-only", false, "only look")
	detachFlag(cmd, &keys)
	a.workspaceFlag(cmd)
	return cmd
}

func detachFlag(cmd *cobra.Command, keys *string) {
	cmd.Flags().StringVar(keys, "detach-keys", session.DefaultDetachKeys, "leave the terminal by these `keys`")
}

// runTerminal is runSession for a terminal that goes on when it is left.
func (a *app) runTerminal(cmd *cobra.Command, start *apipb.ExecStart, keys string) error {
	detach, err := session.ParseDetachKeys(keys)
	if err != nil {
		return usagef("--detach-keys: %v", err)
	}
	id, wrote := "", true
	err = a.runWith(cmd, start, session.Config{
		Terminal: true, DetachKeys: detach,
		Attached: func(at *apipb.ExecAttached) {
			id = at.GetId()
			if start.GetSession().GetReadOnly() || at.GetDetached() || at.GetWrites() == wrote {
				return
			}
			if wrote = at.GetWrites(); !wrote {
				a.view.RawNotice("another viewer writes to terminal " + id + "; sero attach --take-over " + id + " takes over")
			} else {
				a.view.RawNotice("this viewer writes to terminal " + id)
			}
		},
	})
	if errors.Is(err, session.ErrDetached) {
		a.view.Notice("left terminal " + id + "; sero attach " + id + " goes back to it")
		return nil
	}
	return err
}
