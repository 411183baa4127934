package command

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/internal/paths"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:        "doctor [flags]",
		Short:      "check this machine and say what to do",
		SuggestFor: []string{"check", "diagnose"},
		Long: `Checks sero's directories, its daemon and the runtimes on this machine. It also works when
the daemon cannot start, and then says why.`,
		Example: `  sero doctor
  sero doctor --json`,
		Annotations: map[string]string{exitKey: "0 when nothing failed, warnings included; 1 when a check failed; 2 for a mistake in the command line"},
		Args:        arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			checks := a.checks(cmd.Context())
			healthy := true
			for _, c := range checks {
				healthy = healthy && c.GetVerdict() != apipb.CheckVerdict_CHECK_VERDICT_FAIL
			}
			if err := a.view.Checks(checks, healthy); err != nil {
				return err
			}
			if !healthy {
				return &statusError{exitFailure}
			}
			return nil
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

// checks are those that need no daemon, then the daemon's own.
func (a *app) checks(ctx context.Context) []*apipb.Check {
	home, homeErr := paths.Home()
	if homeErr == nil {
		homeErr = checkHome(home)
	}
	run, runErr := paths.Run()
	out := []*apipb.Check{check("home", home+" is writable", homeErr), check("run directory", run+" is private", runErr)}
	if homeErr != nil || runErr != nil {
		return out
	}
	c, err := a.connect(ctx)
	if err != nil {
		return append(out, check("daemon", "", err))
	}
	defer c.Close()
	out = append(out, check("daemon", "it answers, version "+c.Status.GetVersion(), nil))
	ctx, cancel := call(ctx, callTimeout)
	defer cancel()
	r, err := c.Daemon.Doctor(ctx, &apipb.DoctorRequest{})
	if err != nil {
		return append(out, check("machine", "", err))
	}
	// The daemon looks closer at what both look at.
	out = slices.DeleteFunc(out, func(mine *apipb.Check) bool {
		return slices.ContainsFunc(r.GetChecks(), func(c *apipb.Check) bool { return c.GetName() == mine.GetName() })
	})
	return append(out, r.GetChecks()...)
}

// checkHome tells whether sero's home, or what it will be made in, can be
// written. It makes nothing.
func checkHome(home string) error {
	for dir := home; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if errors.Is(err, os.ErrNotExist) && dir != filepath.Dir(dir) {
			continue
		}
		if err == nil && !info.IsDir() {
			err = unix.ENOTDIR
		}
		if err == nil {
			err = unix.Access(dir, unix.W_OK|unix.X_OK)
		}
		if err != nil {
			e := driver.Errorf(driver.PermissionDenied, "%s cannot be written: %w", dir, err)
			return e.Remedy("set " + paths.HomeVariable + " to a directory that you can write")
		}
		return nil
	}
}

func check(name, message string, err error) *apipb.Check {
	if err == nil {
		return &apipb.Check{Name: name, Verdict: apipb.CheckVerdict_CHECK_VERDICT_OK, Message: message}
	}
	e := daemonclient.Error(err)
	c := &apipb.Check{Name: name, Verdict: apipb.CheckVerdict_CHECK_VERDICT_FAIL, Message: e.Error()}
	for _, r := range e.Remedies {
		c.Remedies = append(c.Remedies, &apipb.Remedy{Text: r.Text, Command: r.Command})
	}
	return c
}
