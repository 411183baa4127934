package command

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/cmd/sero/internal/session"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// The exit codes that docs/cli.md promises. exec and shell otherwise exit as
// their command does.
const (
	exitOK            = 0
	exitFailure       = 1
	exitUsage         = 2
	exitTimeout       = 124 // exec: --timeout ended the command
	exitOwnFailure    = 125 // exec, run, shell: sero's own failure
	exitNotExecutable = 126 // exec: the command cannot be executed
	exitNotFound      = 127 // exec: there is no such command
	exitSignal        = 128 // and the number of the signal that ended sero
)

// usageError is a mistake in the command line.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...)}
}

// statusError ends the process with a code and without a word, for what there
// was to say has been said.
type statusError struct{ code int }

func (e *statusError) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// exitCode is the exit code for a command's error. runner tells that the command
// runs another one, whose own codes must not be mistaken for sero's.
func exitCode(err error, runner bool) int {
	failure, usage := exitFailure, exitUsage
	if runner {
		failure, usage = exitOwnFailure, exitOwnFailure
	}
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[*statusError](err); ok {
		return e.code
	}
	if e, ok := errors.AsType[*session.Interrupted](err); ok {
		return exitSignal + int(e.Signal)
	}
	if errors.Is(err, session.ErrOutputClosed) || errors.Is(err, syscall.EPIPE) {
		return exitSignal + int(syscall.SIGPIPE)
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return usage
	}
	switch reason := daemonclient.Error(err).Reason; {
	case runner && reason == driver.CommandNotFound:
		return exitNotFound
	case runner && reason == driver.CommandNotExecutable:
		return exitNotExecutable
	default:
		return failure
	}
}

// report says what went wrong, if anything did, and returns the exit code.
func (a *app) report(cmd *cobra.Command, err error) int {
	code := exitCode(err, cmd.Annotations[runnerKey] != "")
	quiet := err == nil || code == exitSignal+int(syscall.SIGPIPE)
	if _, ok := errors.AsType[*statusError](err); ok || quiet {
		return code
	}
	if _, ok := errors.AsType[*session.Interrupted](err); ok {
		return code
	}
	if e, ok := errors.AsType[*usageError](err); ok {
		a.view.Usage(e.message, cmd.CommandPath())
		return code
	}
	a.view.Failure(daemonclient.Error(err))
	return code
}

// wantsJSON tells whether --json was given to a command that has it, also when
// another flag was wrong and parsing ended before it.
func wantsJSON(cmd *cobra.Command, args []string) bool {
	flag := cmd.Flags().Lookup("json")
	if flag == nil || flag.Value.Type() != "bool" {
		return false
	}
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	return flag.Value.String() == "true" || slices.ContainsFunc(args, func(s string) bool {
		return s == "--json" || strings.HasPrefix(s, "--json=t")
	})
}
