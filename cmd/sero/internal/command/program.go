package command

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Program is what the command line is made of besides its own commands: the
// daemon and the drivers, or else the way to the program that has them.
type Program struct {
	// Drivers are the bundled drivers by name. Each serves its driver and ends the
	// process.
	Drivers map[string]func()
	// Serve is the daemon, until it ends.
	Serve func(context.Context, Serving) error
	// Test holds a driver to the contract.
	Test func(context.Context, Trial) (Verdict, error)

	// Whole gives the path of the program that has the above, for one that has
	// not. It may put it below the directory.
	Whole func(parent string) (string, error)
}

// awaitedFlag tells a daemon that another command starts it.
const awaitedFlag = "awaited"

// besideFlag tells the whole program where the sero is that it was started by.
const besideFlag = "beside"

func (a *app) besideFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.beside, besideFlag, "", "`directory` of drivers beside sero [that of the program]")
	_ = cmd.Flags().MarkHidden(besideFlag)
}

// daemon is the command line that starts the home's daemon.
func (a *app) daemon(home string) ([]string, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, driver.Errorf(driver.Internal, "this program cannot be found: %w", err)
	}
	beside := cmp.Or(a.beside, filepath.Dir(program))
	if a.program.Whole != nil {
		if program, err = a.program.Whole(paths.Programs(home)); err != nil {
			return nil, err
		}
	}
	return []string{program, "serve", "--json", "--" + awaitedFlag, "--" + besideFlag, beside}, nil
}

// become makes this process the whole program, with the same command line. To
// one that begins with the given words it adds where this program is. It returns
// only when that fails, or when ctx has ended.
func (a *app) become(ctx context.Context, words ...string) error {
	home, err := paths.Home()
	if err != nil {
		return err
	}
	daemon, err := a.daemon(home)
	if err != nil {
		return err
	}
	if ctx.Err() != nil { // a signal, meanwhile
		return context.Cause(ctx)
	}
	args := slices.Concat([]string{"sero"}, a.args)
	if n := 1 + len(words); n > 1 && n <= len(args) && slices.Equal(args[1:n], words) && a.beside == "" {
		args = slices.Insert(args, n, daemon[len(daemon)-2:]...)
	}
	err = syscall.Exec(daemon[0], args, os.Environ()) //nolint:gosec // it is a part of this program
	return daemonclient.CannotRun(daemon[0], err)
}
