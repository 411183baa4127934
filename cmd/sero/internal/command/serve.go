package command

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// Serving is what a daemon is started with.
type Serving struct {
	IdleExit time.Duration // 0: as configured; negative: never
	Beside   string        // directory of drivers found beside sero; empty: the program's own
	Awaited  bool          // standard input ends when whoever starts the daemon no longer waits for it
	Log      io.Writer
}

// ErrServed is the error of a Program's Serve when the home has a daemon already.
var ErrServed = errors.New("the daemon runs already")

func (a *app) serveCommand() *cobra.Command {
	var s Serving
	cmd := &cobra.Command{
		Use:   "serve [flags]",
		Short: "be the daemon, in the foreground",
		Long: `Serves the API on sero's socket until it is told to end, or has had nothing to do for a
while. Other commands start it by themselves; where one runs already this does nothing,
and where the home's serves in another run directory it fails.`,
		Example: `  sero serve
  sero serve --idle-exit 1h`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("idle-exit") && s.IdleExit <= 0 {
				s.IdleExit = -1 // never
			}
			s.Log, s.Beside = a.stderr, a.beside
			return a.serve(cmd.Context(), s)
		},
	}
	f := cmd.Flags()
	f.DurationVar(&s.IdleExit, "idle-exit", 0, "end after this `time` with nothing to do, 0 for never [30m]")
	a.jsonFlag(cmd) // an error that whoever started the daemon can read
	_ = f.MarkHidden("json")
	f.BoolVar(&s.Awaited, awaitedFlag, false, "do not begin once standard input has ended")
	_ = f.MarkHidden(awaitedFlag)
	a.besideFlag(cmd)
	return cmd
}

func (a *app) serve(ctx context.Context, s Serving) error {
	if a.program.Serve == nil {
		return a.become(ctx, "serve")
	}
	err := a.program.Serve(ctx, s)
	if !errors.Is(err, ErrServed) {
		return err
	}
	if a.view.Terminal {
		a.view.Notice(err.Error())
	}
	return nil
}
