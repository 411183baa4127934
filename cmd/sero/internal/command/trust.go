package command

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

func (a *app) trustCommand() *cobra.Command {
	var show, yes, revoke bool
	cmd := &cobra.Command{
		Use:   "trust [flags] [<workspace>]",
		Short: "allow what a workspace's sero.json asks of this machine",
		Long: `Shows what the workspace's sero.json asks of this machine, directories outside of the
workspace and secrets, and allows it until the file changes. Without that the workspace
works, and they are left out.`,
		Example: `  sero trust --show
  sero trust --yes
  sero trust --revoke`,
		Args:              arguments(0, 1, "the workspace"),
		ValidArgsFunction: a.completeWorkspaces,
		RunE: func(cmd *cobra.Command, args []string) error {
			if show && (yes || revoke) || yes && revoke {
				return usagef("only one of --show, --yes and --revoke can be given")
			}
			ref, err := a.reference(args...)
			if err != nil {
				return err
			}
			return a.trust(cmd, ref, show, yes, revoke)
		},
	}
	cmd.Flags().BoolVar(&show, "show", false, "only show what is asked for")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "allow it without asking")
	cmd.Flags().BoolVar(&revoke, "revoke", false, "take back what was allowed")
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

func (a *app) trust(cmd *cobra.Command, ref *apipb.WorkspaceRef, show, yes, revoke bool) error {
	c, err := a.connect(cmd.Context())
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := call(cmd.Context(), callTimeout)
	defer cancel()
	if revoke {
		r, err := c.Trust.SetTrust(ctx, &apipb.SetTrustRequest{Workspace: ref})
		if err != nil {
			return err
		}
		return a.view.Trust(r.GetTrust())
	}
	r, err := c.Trust.GetTrust(ctx, &apipb.GetTrustRequest{Workspace: ref})
	if err != nil {
		return err
	}
	t := r.GetTrust()
	if show || t.GetTrusted() || len(t.GetItems()) == 0 {
		return a.view.Trust(t)
	}
	if !yes {
		if !term.IsTerminal(int(a.stdin.Fd())) || a.view.JSON {
			return usagef("there is nobody to ask; see what it is with --show, and allow it with --yes")
		}
		if err := a.view.Trust(t); err != nil {
			return err
		}
		if !a.agree("allow this until the file changes? [y/N] ") {
			return nil
		}
	}
	set, cancelSet := call(cmd.Context(), callTimeout) // a person may have taken long
	defer cancelSet()
	s, err := c.Trust.SetTrust(set, &apipb.SetTrustRequest{Workspace: ref, Hash: t.GetHash(), Trusted: true})
	if err != nil {
		return err
	}
	return a.view.Trust(s.GetTrust())
}

// agree asks a person at the terminal.
func (a *app) agree(question string) bool {
	_, _ = fmt.Fprint(a.stderr, question)
	answer, _ := bufio.NewReader(a.stdin).ReadString('\n')
	return strings.EqualFold(strings.TrimSpace(answer), "y") || strings.EqualFold(strings.TrimSpace(answer), "yes")
}
