package command

import (
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/cmd/sero/internal/session"
	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/environ"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

const runnerExit = `the command's own; 124 when --timeout ended it, 125 when sero itself
failed, 126 when the command cannot be executed, 127 when it is not found, 128 and the
signal's number when a signal ended it`

func (a *app) execCommand() *cobra.Command {
	var flags execFlags
	cmd := &cobra.Command{
		Use:   "exec [flags] [--] <command> [<argument>...]",
		Short: "run a command in a workspace",
		Long: `Runs the command as if it were a local one: input, both outputs, signals and the exit
status come through unchanged. The command ends when sero does, however that ends.`,
		Example: `  sero exec -- npm test
  sero exec --timeout 10m -e CI=1 -- npm test
  sero exec -- wc -l < package.json`,
		Annotations: map[string]string{runnerKey: "yes", exitKey: runnerExit},
		Args:        arguments(1, -1, "the command"),
		RunE: func(cmd *cobra.Command, args []string) error {
			start, err := flags.start(a)
			if err != nil {
				return err
			}
			start.Argv = args
			return a.shellHint(a.runSession(cmd, start, flags.tty), args, "exec")
		},
	}
	flags.register(a, cmd)
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the command is its own
	f.DurationVar(&flags.timeout, "timeout", 0, "end the command after this `time` [never]")
	f.BoolVarP(&flags.tty, "tty", "t", false, "give the command a terminal")
	f.BoolP("interactive", "i", false, "no effect: input is always passed on; accepted because docker needs it")
	return cmd
}

// shellHint adds to the error of a command that is not found how to run it in a
// shell, if it is a single argument that only a shell understands.
func (a *app) shellHint(err error, argv []string, verb string) error {
	e := daemonclient.Error(err)
	if e == nil || e.Reason != driver.CommandNotFound || len(argv) != 1 || !strings.ContainsAny(argv[0], " \t\n;&|<>$`()*~") {
		return err
	}
	command := []string{"sero", verb}
	if a.workspaceSet {
		command = append(command, "-w", a.workspace)
	}
	hinted := *e
	hinted.Remedies = append([]driver.Remedy{{
		Text: "a line with operators, spaces or variables needs a shell", Command: append(command, "--", "sh", "-c", argv[0]),
	}}, e.Remedies...)
	return &hinted
}

// execFlags are the flags of the commands that run a session.
type execFlags struct {
	env     []string
	dir     string
	user    string
	driver  string
	timeout time.Duration
	tty     bool
}

func (x *execFlags) register(a *app, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVarP(&x.env, "env", "e", nil, "set a variable, `NAME=VALUE`; with NAME alone pass on this environment's")
	f.StringVar(&x.dir, "dir", "", "run in this `directory`, relative to the workspace [the current one]")
	f.StringVar(&x.user, "user", "", "run as this `user`, by name or uid[:gid]")
	a.driverFlag(cmd, &x.driver)
	a.workspaceFlag(cmd)
}

func (x *execFlags) start(a *app) (*apipb.ExecStart, error) {
	env, err := environment(x.env)
	if err != nil {
		return nil, err
	}
	if x.timeout < 0 {
		return nil, usagef("--timeout %v is in the past", x.timeout)
	}
	ref, err := a.reference()
	if err != nil {
		return nil, err
	}
	// A timeout is never rounded down to none.
	ms := (x.timeout + time.Millisecond - 1) / time.Millisecond
	return &apipb.ExecStart{
		Workspace: ref, Env: env, Caller: callerEnv(), Dir: x.dir, User: x.user, Driver: x.driver, TimeoutMs: int64(ms),
	}, nil
}

var variableName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`) })

// environment reads the values of --env. A variable that is passed on and not
// set here stays unset there.
func environment(list []string) ([]*apipb.EnvVar, error) {
	var env []*apipb.EnvVar
	for _, entry := range list {
		name, value, given := strings.Cut(entry, "=")
		if !variableName().MatchString(name) {
			return nil, usagef("--env: %q is no name for a variable", name)
		}
		if !given {
			if value, given = os.LookupEnv(name); !given {
				continue
			}
		}
		env = append(env, &apipb.EnvVar{Name: name, Value: value})
	}
	return env, nil
}

// callerEnv is what host mode takes of this process's environment.
func callerEnv() []*apipb.EnvVar {
	var env []*apipb.EnvVar
	for _, v := range environ.Caller(os.LookupEnv) {
		env = append(env, &apipb.EnvVar{Name: v.Name, Value: v.Value})
	}
	return env
}

// runSession runs a command and gives its exit status as this command's.
func (a *app) runSession(cmd *cobra.Command, start *apipb.ExecStart, terminal bool) error {
	return a.runWith(cmd, start, session.Config{Terminal: terminal})
}

func (a *app) runWith(cmd *cobra.Command, start *apipb.ExecStart, config session.Config) error {
	c, err := a.connectQuietly(cmd.Context())
	if err != nil {
		return err
	}
	defer c.Close()
	a.releaseSignals() // from here on they are the command's
	progress := a.view.Quiet()
	defer progress.Done()
	config.Start, config.Stdin, config.Stdout, config.Stderr = start, a.stdin, a.stdout, a.stderr
	if config.Terminal { // the command's to steer
		config.Stdout, config.Stderr = os.Stdout, os.Stderr
	}
	config.Pipes = c.Pipes
	config.Progress = progress.Step
	config.Started = func(s *apipb.ExecStarted) {
		progress.Done()
		a.view.HostModeNotice(s.GetDriver(), s.GetFirstOnHost())
	}
	exit, err := session.Run(cmd.Context(), c.Exec, config)
	if err != nil {
		return err
	}
	if exit.TimedOut {
		progress.Done()
		a.view.Failure(driver.Errorf(driver.Timeout, "the command was ended after %v",
			time.Duration(start.GetTimeoutMs())*time.Millisecond))
		return &statusError{exitTimeout}
	}
	if exit.OutOfMemory {
		progress.Done()
		a.view.Failure(errOutOfMemory())
	}
	if code := exit.ShellCode(); code != 0 {
		return &statusError{code}
	}
	return nil
}

func errOutOfMemory() *driver.Error {
	return driver.Errorf(driver.OutOfMemory, "the command was killed: the sandbox has no memory left").
		Remedy("give the sandbox more, with resources.memory in sero.json, and make it anew", "sero", "recreate")
}
