package command

import (
	"bufio"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func (a *app) pruneCommand() *cobra.Command {
	var dryRun, yes bool
	var unused time.Duration
	cmd := &cobra.Command{
		Use:        "prune [flags]",
		Short:      "remove what nobody needs any more",
		SuggestFor: []string{"clean", "cleanup", "gc"},
		Long: `Removes workspaces whose directory is gone, sandboxes whose workspace is not known or uses
another driver, and images that sero built and that a newer one has replaced. It shows them
first and asks. Only what this sero made is looked at.`,
		Example: `  sero prune --dry-run
  sero prune --unused 720h --yes`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if unused < 0 {
				return usagef("--unused must not be negative")
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			request := &apipb.PruneRequest{DryRun: true, UnusedMs: unused.Milliseconds()}
			found, err := a.prune(cmd, c, request)
			if err != nil {
				return err
			}
			if dryRun || len(found.GetItems()) == 0 {
				return a.view.Prunable(found)
			}
			if !a.view.JSON {
				if err := a.view.Prunable(found); err != nil {
					return err
				}
			}
			if !yes {
				if err := a.confirm("remove these?", "nothing was removed", "prune", "--yes"); err != nil {
					return err
				}
			}
			request.DryRun = false
			for _, item := range found.GetItems() {
				request.Only = append(request.Only, item.GetKey())
			}
			done, err := a.prune(cmd, c, request)
			if err != nil {
				return err
			}
			return a.pruned(done)
		},
	}
	cmd.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "show what would be removed, and remove nothing")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().DurationVar(&unused, "unused", 0, "also sandboxes that are stopped and were last started longer ago than this `time`")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) prune(cmd *cobra.Command, c *daemonclient.Client, request *apipb.PruneRequest) (*apipb.PruneResponse, error) {
	ctx, cancel := call(cmd.Context(), 10*callTimeout)
	defer cancel()
	return c.Lifecycle.Prune(ctx, request)
}

// pruned shows what came of it. One thing that could not be removed makes the
// command fail.
func (a *app) pruned(done *apipb.PruneResponse) error {
	if err := a.view.Pruned(done); err != nil {
		return err
	}
	for _, item := range done.GetItems() {
		if item.GetError() != nil {
			return &statusError{code: exitFailure}
		}
	}
	return nil
}

// confirm asks a person, who must be there. Otherwise says what has become of it
// if not, and command is what does it without asking.
func (a *app) confirm(question, otherwise string, command ...string) error {
	remedy := append([]string{"sero"}, command...)
	if a.view.JSON || !a.view.Terminal || !term.IsTerminal(int(a.stdin.Fd())) {
		return driver.Errorf(driver.InvalidArgument, "nobody can be asked here, so %s", otherwise).Remedy("do it without asking", remedy...)
	}
	a.view.Ask(question)
	answer, err := bufio.NewReader(a.stdin).ReadString('\n')
	if word := strings.ToLower(strings.TrimSpace(answer)); err == nil && (word == "y" || word == "yes") {
		return nil
	}
	return driver.Errorf(driver.Canceled, "%s", otherwise).Remedy("do it without asking", remedy...)
}
