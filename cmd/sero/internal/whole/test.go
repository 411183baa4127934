package whole

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/command"
	"github.com/sero-labs/sero-runtime/internal/inherit"
	"github.com/sero-labs/sero-runtime/sdk/conformance"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// test holds a driver to the contract and reports.
func test(ctx context.Context, t command.Trial) (command.Verdict, error) {
	if err := inherit.Restart(""); err != nil { // a driver starts as the daemon starts it
		return command.Fails, driver.Errorf(driver.Internal, "the trial cannot be started: %w", err)
	}
	report, err := conformance.Check(ctx, conformance.Config{
		Path: t.Path, Args: t.Args, Run: t.Run, Profile: conformance.Profile{StopSystem: t.StopSystem},
	})
	if err != nil {
		return command.Fails, err
	}
	if t.JSON != "-" && t.JUnit != "-" {
		if err := report.WriteText(t.Out); err != nil {
			return command.Fails, err
		}
	}
	err = errors.Join(writeFile(t.JSON, t.Out, report.WriteJSON), writeFile(t.JUnit, t.Out, report.WriteJUnit))
	switch report.Verdict {
	case conformance.Conformant, conformance.ConformantWithWaivers:
		return command.Conforms, err
	case conformance.Incomplete:
		return command.NotAllTried, err
	case conformance.NotConformant:
	}
	return command.Fails, err
}

// writeFile writes to the named file; "-" is out, "" is nowhere.
func writeFile(name string, out io.Writer, write func(io.Writer) error) error {
	switch name {
	case "":
		return nil
	case "-":
		return write(out)
	}
	f, err := os.Create(name)
	if err != nil {
		return driver.Errorf(driver.InvalidArgument, "the report cannot be written: %w", err)
	}
	return errors.Join(write(f), f.Close())
}
