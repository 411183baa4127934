package command

import (
	"errors"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/sdk/conformance"
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
		RunE: func(_ *cobra.Command, args []string) error { // the drivers there are never come here
			e := driver.Errorf(driver.DriverNotFound, "no driver named %q is part of sero", args[0])
			return e.Remedy("name one of these: " + strings.Join(slices.Sorted(maps.Keys(a.program.Drivers)), ", "))
		},
	}
}

// exitIncomplete tells that no case failed and not all could be tried.
const exitIncomplete = 3

func (a *app) driverTestCommand() *cobra.Command {
	var run, jsonFile, junitFile string
	config := conformance.Config{}
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
				if config.Run, err = regexp.Compile(run); err != nil {
					return usagef("--run: %v", err)
				}
			}
			if err := a.locate(cmd, args[0], &config); err != nil {
				return err
			}
			report, err := conformance.Check(cmd.Context(), config)
			if err != nil {
				return err
			}
			if err := a.writeReport(report, jsonFile, junitFile); err != nil {
				return err
			}
			return verdict(report.Verdict, run != "")
		},
	}
	f := cmd.Flags()
	f.StringVar(&run, "run", "", "only cases whose id matches this `expression` [all]")
	f.BoolVar(&config.Profile.StopSystem, "stop-system", false, "also cases that stop the driver's whole system, and all that others run in it")
	f.StringVar(&jsonFile, "json", "", "write the report as JSON to this `file`, - for standard output")
	f.StringVar(&junitFile, "junit", "", "write the report as JUnit's XML to this `file`, - for standard output")
	return cmd
}

// verdict is the exit code for a report. What was not asked for is not missing.
func verdict(v conformance.Overall, partial bool) error {
	switch v {
	case conformance.Conformant, conformance.ConformantWithWaivers:
		return nil
	case conformance.Incomplete:
		if partial {
			return nil
		}
		return &statusError{exitIncomplete}
	case conformance.NotConformant:
	}
	return &statusError{exitFailure}
}

// locate finds the binary of a driver: the path that was given, one that is part
// of sero, or one that the daemon has found.
func (a *app) locate(cmd *cobra.Command, target string, c *conformance.Config) error {
	if strings.ContainsRune(target, os.PathSeparator) {
		c.Path = target
		return nil
	}
	if a.program.Drivers[target] != nil {
		self, err := os.Executable()
		c.Path, c.Args = self, []string{"driver", "serve", target}
		return err
	}
	client, err := a.connect(cmd.Context())
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := call(cmd.Context(), callTimeout)
	defer cancel()
	r, err := client.Drivers.GetDriver(ctx, &apipb.GetDriverRequest{Name: target})
	if err != nil {
		return err
	}
	c.Path = r.GetDriver().GetPath()
	return nil
}

func (a *app) writeReport(r conformance.Report, jsonFile, junitFile string) error {
	if jsonFile != "-" && junitFile != "-" {
		if err := r.WriteText(a.stdout); err != nil {
			return err
		}
	}
	return errors.Join(a.writeFile(jsonFile, r.WriteJSON), a.writeFile(junitFile, r.WriteJUnit))
}

// writeFile writes to the named file; "-" is standard output, "" is nowhere.
func (a *app) writeFile(name string, write func(io.Writer) error) error {
	switch name {
	case "":
		return nil
	case "-":
		return write(a.stdout)
	}
	f, err := os.Create(name)
	if err != nil {
		return driver.Errorf(driver.InvalidArgument, "the report cannot be written: %w", err)
	}
	return errors.Join(write(f), f.Close())
}
