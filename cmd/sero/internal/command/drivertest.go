package command

import (
	"context"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// servedDriver is the bundled driver that this process was started to serve.
// Such a process is a driver and nothing else: it reads no more of the command
// line than this.
func (p Program) servedDriver(args []string) func() {
	if len(args) < 3 || args[0] != "driver" || args[1] != "serve" {
		return nil
	}
	return p.Drivers[args[2]]
}

func (a *app) driverServeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve <driver> [describe]",
		Short: "be a bundled driver, for the daemon",
		Long: `Serves a driver that is part of sero to the daemon that started this process. Run by hand
it says what the driver is; with describe it says so in JSON.`,
		Example: `  sero driver serve host
  sero driver serve host describe`,
		Args: arguments(1, 2, "the driver's name"),
		RunE: func(cmd *cobra.Command, args []string) error { // the drivers there are never come here
			if a.program.Whole != nil {
				return a.become(cmd.Context())
			}
			e := driver.Errorf(driver.DriverNotFound, "no driver named %q is part of sero", args[0])
			names := slices.Sorted(maps.Keys(a.program.Drivers))
			names = slices.DeleteFunc(names, func(name string) bool { return name == "fake" }) // for tests only
			return e.Remedy("name one of these: " + strings.Join(names, ", "))
		},
	}
}

// exitIncomplete tells that no case failed and not all could be tried.
const exitIncomplete = 3

// Trial is a driver to hold to the contract, and where the report goes.
type Trial struct {
	Path        string         // of the driver's program
	Args        []string       // that make it serve the driver
	Run         *regexp.Regexp // only cases whose id matches; nil: all
	StopSystem  bool           // also cases that stop the driver's whole system
	JSON, JUnit string         // files for the report, "-" for Out; empty: none
	Out         io.Writer      // the report as text, unless a file of the others is "-"
}

// Verdict is what a trial came to.
type Verdict int

// The verdicts.
const (
	Fails       Verdict = iota
	Conforms            // all cases that apply hold
	NotAllTried         // none fails, and some could not be tried on this machine
)

func (a *app) driverTestCommand() *cobra.Command {
	var run string
	trial := Trial{Out: a.stdout}
	cmd := &cobra.Command{
		Use:   "test [flags] <driver>",
		Short: "hold a driver to the contract",
		Long: `Runs the conformance suite against a driver: a name, or the path of a binary in any
language. Capabilities that it does not declare are skipped, all others must hold.`,
		Example: `  sero driver test --run '^WIRE-' host
  sero driver test --run '^WIRE-' --json - --junit report.xml host`,
		Annotations: map[string]string{exitKey: "0 when the driver conforms, 1 when not, 2 for a mistake in the command line,\n3 when nothing failed and not all could be tried on this machine"},
		Args:        arguments(1, 1, "the driver's name or path"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if run != "" {
				var err error
				if trial.Run, err = regexp.Compile(run); err != nil {
					return usagef("--run: %v", err)
				}
			}
			return a.test(cmd.Context(), args[0], trial)
		},
	}
	f := cmd.Flags()
	f.StringVar(&run, "run", "", "only cases whose id matches this `expression` [all]")
	f.BoolVar(&trial.StopSystem, "stop-system", false, "also cases that stop the driver's whole system, and all that others run in it")
	f.StringVar(&trial.JSON, "json", "", "write the report as JSON to this `file`, - for standard output")
	f.StringVar(&trial.JUnit, "junit", "", "write the report as JUnit's XML to this `file`, - for standard output")
	a.besideFlag(cmd)
	return cmd
}

func (a *app) test(ctx context.Context, target string, trial Trial) error {
	if a.program.Test == nil {
		return a.become(ctx, "driver", "test")
	}
	var err error
	if trial.Path, trial.Args, err = a.locate(ctx, target); err != nil {
		return err
	}
	verdict, err := a.program.Test(ctx, trial)
	switch {
	case err != nil:
		return err
	case verdict == Fails:
		return &statusError{exitFailure}
	case verdict == NotAllTried && trial.Run == nil: // what was not asked for is not missing
		return &statusError{exitIncomplete}
	}
	return nil
}

// locate finds the binary of a driver: the path that was given, one that is part
// of sero, or one that the daemon has found.
func (a *app) locate(ctx context.Context, target string) (path string, args []string, err error) {
	if strings.ContainsRune(target, os.PathSeparator) {
		return target, nil, nil
	}
	if a.program.Drivers[target] != nil {
		self, err := os.Executable()
		return self, []string{"driver", "serve", target}, err
	}
	client, err := a.connect(ctx)
	if err != nil {
		return "", nil, err
	}
	defer client.Close()
	ctx, cancel := call(ctx, callTimeout)
	defer cancel()
	r, err := client.Drivers.GetDriver(ctx, &apipb.GetDriverRequest{Name: target})
	return r.GetDriver().GetPath(), nil, err
}
