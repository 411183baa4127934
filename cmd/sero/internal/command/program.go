package command

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"syscall"

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

// besideFlag tells a daemon where the sero is that started it.
const besideFlag = "beside"

// daemon is the command line that starts the home's daemon.
func (p Program) daemon(home string) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, driver.Errorf(driver.Internal, "this program cannot be found: %w", err)
	}
	if p.Whole == nil {
		return []string{self, "serve", "--json"}, nil
	}
	whole, err := p.Whole(paths.Programs(home))
	if err != nil {
		return nil, err
	}
	return []string{whole, "serve", "--json", "--" + besideFlag, filepath.Dir(self)}, nil
}

// become makes this process the whole program, with the same command line. It
// returns only when that fails.
func (a *app) become() error {
	home, err := paths.Home()
	if err != nil {
		return err
	}
	whole, err := a.program.Whole(paths.Programs(home))
	if err != nil {
		return err
	}
	err = syscall.Exec(whole, slices.Concat([]string{"sero"}, a.args), os.Environ()) //nolint:gosec // it is a part of this program
	return driver.Errorf(driver.Internal, "the daemon's program cannot be run: %w", err).About(whole).
		Remedy("set " + paths.HomeVariable + " to a directory that programs may run from")
}
