package command

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/internal/version"
)

// versionBudget is how long "sero version" waits for a daemon that may be busy.
const versionBudget = 250 * time.Millisecond

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version [flags]",
		Short: "show the versions of sero and of its daemon",
		Long: `Shows this program's version, and the daemon's if one runs.
It never starts a daemon.`,
		Example: `  sero version
  sero version --json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.showVersion(cmd.Context())
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) showVersion(ctx context.Context) error {
	return a.view.Version(version.Version, version.Commit, statusWithin(ctx, versionBudget))
}

// statusWithin is the running daemon's status, or nil when it does not tell in
// time.
func statusWithin(ctx context.Context, budget time.Duration) *apipb.GetStatusResponse {
	ctx, cancel := call(ctx, budget)
	defer cancel()
	c, err := daemonclient.Find(ctx)
	if err != nil {
		return nil
	}
	defer c.Close()
	return c.Status
}
