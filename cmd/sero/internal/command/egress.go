package command

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

func (a *app) egressCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:        "egress",
		Short:      "show and change what a workspace may reach",
		SuggestFor: []string{"network"},
		Long: `A workspace whose sero.json, or a machine whose config.json, has egress rules reaches the
network through a proxy of sero's. These commands show its rules, what it did not let
through and what a workspace needs, and make exceptions on this machine.`,
		Example: `  sero egress log
  sero egress allow registry.npmjs.org`,
	}
	return a.group(cmd, a.egressListCommand(), a.egressLogCommand(), a.egressObservedCommand(), a.egressAllowCommand(), a.egressRevokeCommand())
}

// egressView is a command that reads a workspace's egress and shows a part.
func (a *app) egressView(cmd *cobra.Command, show func(*apipb.Egress) error) *cobra.Command {
	cmd.Args = arguments(0, 0, "")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.egress(cmd, func(ctx context.Context, c *daemonclient.Client, ref *apipb.WorkspaceRef) error {
			r, err := c.Egress.GetEgress(ctx, &apipb.GetEgressRequest{Workspace: ref})
			if err != nil {
				return err
			}
			return show(r.GetEgress())
		})
	}
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

// egress connects, and gives what every command about egress needs.
func (a *app) egress(cmd *cobra.Command, do func(context.Context, *daemonclient.Client, *apipb.WorkspaceRef) error) error {
	ref, err := a.reference()
	if err != nil {
		return err
	}
	c, err := a.connect(cmd.Context())
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := call(cmd.Context(), callTimeout)
	defer cancel()
	return do(ctx, c, ref)
}

func (a *app) egressListCommand() *cobra.Command {
	return a.egressView(&cobra.Command{
		Use:   "ls [flags]",
		Short: "show the rules of a workspace, and whether they are the only way out",
		Example: `  sero egress ls
  sero egress ls --json`,
	}, func(e *apipb.Egress) error { return a.view.Egress(e) })
}

func (a *app) egressLogCommand() *cobra.Command {
	return a.egressView(&cobra.Command{
		Use:   "log [flags]",
		Short: "show what was not let through, and what would allow it",
		Long: `Shows the last refusals of the workspace's proxy since the daemon started, each once with
how often there was the same, the latest last. 'sero events -f' shows them as they come.`,
		Example: `  sero egress log
  sero egress log --json`,
	}, func(e *apipb.Egress) error { return a.view.EgressLog(e) })
}

func (a *app) egressObservedCommand() *cobra.Command {
	return a.egressView(&cobra.Command{
		Use:   "observed [flags]",
		Short: "print the allow list that a workspace would need",
		Long: `Prints what the workspace reached while its mode was observe, as the egress section of a
sero.json that allows just this. Look at it before you use it: what was reached is not
always what should be.`,
		Example: `  sero egress observed
  sero egress observed --json`,
	}, func(e *apipb.Egress) error { return a.view.EgressObserved(e) })
}

func (a *app) egressAllowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "allow [flags] <rule>…",
		Short: "let a workspace reach more, on this machine",
		Long: `Grants the workspace what the rules name, at once and until it is revoked or the workspace
removed. The grant is kept on this machine; sero.json is not changed. It is stronger than
any mode and allow list, and weaker than a deny rule. An address that is not public is
opened only by a rule that names it or its network.

A rule is a host, a *.domain, an address or a network; then :PORT, :* for every port, or
nothing for the ports 80 and 443.`,
		Example: `  sero egress allow registry.npmjs.org '*.github.com:443'
  sero egress allow 192.168.1.20:5432`,
		Args: arguments(1, -1, "the rule"),
		RunE: func(cmd *cobra.Command, rules []string) error {
			return a.egress(cmd, func(ctx context.Context, c *daemonclient.Client, ref *apipb.WorkspaceRef) error {
				r, err := c.Egress.AllowEgress(ctx, &apipb.AllowEgressRequest{Workspace: ref, Rules: rules})
				if err != nil {
					return err
				}
				return a.view.EgressGranted(r.GetEgress(), rules)
			})
		},
	}
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

func (a *app) egressRevokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke [flags] <rule>…",
		Short: "take back what was allowed on this machine",
		Example: `  sero egress revoke registry.npmjs.org
  sero egress revoke 192.168.1.20:5432`,
		Args: arguments(1, -1, "the rule"),
		RunE: func(cmd *cobra.Command, rules []string) error {
			return a.egress(cmd, func(ctx context.Context, c *daemonclient.Client, ref *apipb.WorkspaceRef) error {
				r, err := c.Egress.RevokeEgress(ctx, &apipb.RevokeEgressRequest{Workspace: ref, Rules: rules})
				if err != nil {
					return err
				}
				return a.view.Egress(r.GetEgress())
			})
		},
	}
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}
