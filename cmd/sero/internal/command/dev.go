package command

import (
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

const startExit = `0 when it listens; 1 when it failed or ended, 124 when --wait is over and it does not
listen yet, 125 when sero itself failed, 130 for Ctrl-C, after which the server goes on`

const restartExit = `0 when it listens; 1 when it failed or ended, 2 for a mistake in the command line, 124 when
--wait is over and it does not listen yet, 130 for Ctrl-C, after which the server goes on`

// defaultWait is how long the start of a dev server waits for it to listen.
const defaultWait = time.Minute

func (a *app) runCommand() *cobra.Command {
	return a.startCommand("run", "start a dev server in the background (short for dev start)",
		`  sero run -- npm run dev
  sero run --name web --port 5173 --wait 2m -- npm run dev`)
}

func (a *app) devCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "start, watch and stop dev servers",
		Long: `A dev server is a command that listens on a port. It runs in the background, its output
is kept, and it is known by its id, its uid, its name or its port. The uid never changes; the
id has the port, which may. Each further web port of the command is listed as NAME-PORT, with
a URL of its own; what is done to it is done to the server.`,
		Example: `  sero dev ls
  sero dev logs --tail 20 web`,
	}
	return a.group(cmd,
		a.startCommand("start", "start a dev server in the background",
			`  sero dev start -- npm run dev
  sero dev start --name api --card ticket-7 -e MODE=dev -- npm run dev`),
		a.devListCommand(), a.devOpenCommand(), a.devStopCommand(), a.devRemoveCommand(), a.devRestartCommand(), a.devLogsCommand())
}

type startFlags struct {
	env                                []string
	name, scope, card, dir, driverName string
	port                               int
	byName                             bool
	wait                               time.Duration
}

func (a *app) startCommand(verb, short, example string) *cobra.Command {
	var flags startFlags
	cmd := &cobra.Command{
		Use:   verb + " [flags] [--] <command or name> [<argument>...]",
		Short: short,
		Long: `Runs the command in the background, finds the port that it listens on and prints its URL.
When --wait is over, or this command is interrupted, the server goes on.
The same command is not started twice: the one that runs is shown. A single word that is
the name of an entry of devServers in sero.json starts that; after -- it is a command.`,
		Example:     example,
		Annotations: map[string]string{runnerKey: "yes", exitKey: startExit},
		Args:        arguments(1, -1, "the command"),
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.byName = cmd.ArgsLenAtDash() < 0 && len(args) == 1
			return a.startServer(cmd, &flags, args)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringVar(&flags.name, "name", "", "`name` of the server [guessed from the command]")
	f.IntVar(&flags.port, "port", 0, "`port` that it will listen on, given to it as PORT [found]")
	f.StringVar(&flags.scope, "scope", "", "`scope` of the server in its id [workspace]")
	f.StringVar(&flags.card, "card", "", "`card` of the server in its id [root]")
	f.StringVar(&flags.dir, "dir", "", "run in this `directory`, relative to the workspace [the current one; an entry's own]")
	f.StringArrayVarP(&flags.env, "env", "e", nil, "set a variable, `NAME=VALUE`; with NAME alone pass on this environment's")
	f.DurationVar(&flags.wait, "wait", defaultWait, "wait this `time` for it to listen [1m]")
	a.driverFlag(cmd, &flags.driverName)
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

func (a *app) startServer(cmd *cobra.Command, flags *startFlags, command []string) error {
	if flags.port < 0 || flags.port > math.MaxUint16 {
		return usagef("--port %d is not between 1 and 65535", flags.port)
	}
	if flags.wait <= 0 {
		return usagef("--wait must be more than nothing")
	}
	env, err := environment(flags.env)
	if err != nil {
		return err
	}
	ref, err := a.reference()
	if err != nil {
		return err
	}
	c, err := a.connect(cmd.Context())
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := call(cmd.Context(), readyTimeout+flags.wait)
	defer cancel()
	progress := a.view.NewProgress()
	defer progress.Done()
	progress.Step(&apipb.Progress{Message: "waiting for the server to listen"})
	r, err := c.DevServers.StartDevServer(ctx, &apipb.StartDevServerRequest{
		Workspace: ref, Command: command, Name: flags.name, Scope: flags.scope, CardId: flags.card,
		Port: uint32(flags.port), Dir: flags.dir, Env: env, Caller: callerEnv(), WaitMs: flags.wait.Milliseconds(), Driver: flags.driverName, ByName: flags.byName,
	})
	progress.Done()
	if err != nil {
		a.sayIfInterrupted(cmd.Context(), c, ref, flags.asks(command))
		return a.shellHint(err, command, "run")
	}
	return unlessRunning(r.GetDevServer(), a.view.DevServerStarted(r))
}

func (a *app) devListCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "ls [flags]",
		Short: "list dev servers",
		Long: `Lists the dev servers of the workspace with their status and URL.
With --all it lists those of every workspace.`,
		Example: `  sero dev ls
  sero dev ls --all --json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			request := &apipb.ListDevServersRequest{}
			if !all {
				ref, err := a.reference()
				if err != nil {
					return err
				}
				request.Workspace = ref
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := call(cmd.Context(), callTimeout)
			defer cancel()
			r, err := c.DevServers.ListDevServers(ctx, request)
			if err != nil {
				return err
			}
			return a.view.DevServers(r.GetDevServers())
		},
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "of every workspace")
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

// server names a dev server by id, or by name or port in the workspace.
func (a *app) server(target string) (*apipb.DevServerRef, error) {
	if target == "" {
		return nil, usagef("the dev server's id, uid, name or port is empty")
	}
	ref, err := a.reference()
	return &apipb.DevServerRef{Id: target, Workspace: ref}, err
}

func (a *app) devStopCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stop [flags] <server>",
		Short: "stop a dev server",
		Long: `Ends the server's command with all that descends from it, and keeps its record and its
output; one that failed is forgotten. The server is named by id, uid, name or port;
stopping a stopped one succeeds.`,
		Example: `  sero dev stop web
  sero dev stop --json web`,
		Args:              arguments(1, 1, "the server's id, uid, name or port"),
		ValidArgsFunction: a.completeServers,
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := a.server(args[0])
			if err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := call(cmd.Context(), callTimeout)
			defer cancel()
			r, err := c.DevServers.StopDevServer(ctx, &apipb.StopDevServerRequest{DevServer: ref})
			switch {
			case err != nil:
				return err
			case r.GetForgotten():
				return a.view.DevServerForgotten(r.GetDevServer())
			}
			return a.view.DevServer(r.GetDevServer())
		},
	}
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

func (a *app) devRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:        "rm [flags] <server>",
		Short:      "stop a dev server and forget it",
		SuggestFor: []string{"remove", "delete"},
		Long: `Ends the server's command as "sero dev stop" does, if it runs, and forgets the server with
its output. Its name is free then.`,
		Example: `  sero run --name old --card try -- npm run dev && sero dev rm old
  sero dev start --name old --card try -- npm run dev && sero dev rm --json old`,
		Args:              arguments(1, 1, "the server's id, uid, name or port"),
		ValidArgsFunction: a.completeServers,
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := a.server(args[0])
			if err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := call(cmd.Context(), callTimeout)
			defer cancel()
			r, err := c.DevServers.RemoveDevServer(ctx, &apipb.RemoveDevServerRequest{DevServer: ref})
			if err != nil {
				return err
			}
			return a.view.DevServerForgotten(r.GetDevServer())
		},
	}
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

func (a *app) devRestartCommand() *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:        "restart [flags] <server>",
		Short:      "stop a dev server and run its command again",
		SuggestFor: []string{"restart"},
		Long: `Stops the server, waits for its port to be free and runs the original command again, in
its directory and with its environment.`,
		Example: `  sero dev restart web
  sero dev restart --wait 30s --json web`,
		Annotations:       map[string]string{exitKey: restartExit},
		Args:              arguments(1, 1, "the server's id, uid, name or port"),
		ValidArgsFunction: a.completeServers,
		RunE: func(cmd *cobra.Command, args []string) error {
			if wait <= 0 {
				return usagef("--wait must be more than nothing")
			}
			ref, err := a.server(args[0])
			if err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := call(cmd.Context(), wait+callTimeout)
			defer cancel()
			progress := a.view.NewProgress()
			defer progress.Done()
			progress.Step(&apipb.Progress{Message: "waiting for the server to listen again"})
			r, err := c.DevServers.RestartDevServer(ctx, &apipb.RestartDevServerRequest{DevServer: ref, WaitMs: wait.Milliseconds()})
			progress.Done()
			if err != nil {
				a.sayIfInterrupted(cmd.Context(), c, ref.GetWorkspace(), func(s *apipb.DevServer) bool { return named(s, args[0]) })
				return err
			}
			return unlessRunning(r.GetDevServer(), a.view.DevServer(r.GetDevServer()))
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", defaultWait, "wait this `time` for it to listen [1m]")
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

func (a *app) devLogsCommand() *cobra.Command {
	var follow bool
	var tail int64
	cmd := &cobra.Command{
		Use:        "logs [flags] <server>",
		Short:      "show what a dev server wrote",
		SuggestFor: []string{"logs", "log"},
		Long: `Shows the server's output, both streams in the order they came. With -f it goes on with
new output until it is interrupted.`,
		Example: `  sero dev logs web
  sero dev logs --tail 5 --json web`,
		Args:              arguments(1, 1, "the server's id, uid, name or port"),
		ValidArgsFunction: a.completeServers,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch given := cmd.Flags().Changed("tail"); {
			case !given:
				tail = 0 // all, as the API has it
			case tail < 0:
				return usagef("--tail %d is less than nothing", tail)
			case tail == 0:
				tail = -1 // none
			}
			ref, err := a.server(args[0])
			if err != nil {
				return err
			}
			return a.devLogs(cmd, &apipb.DevServerLogsRequest{DevServer: ref, Follow: follow, TailLines: tail})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new output")
	cmd.Flags().Int64Var(&tail, "tail", 0, "only the last `lines` [all that is kept]")
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

func (a *app) devLogs(cmd *cobra.Command, request *apipb.DevServerLogsRequest) error {
	c, err := a.connect(cmd.Context())
	if err != nil {
		return err
	}
	defer c.Close()
	stream, err := c.DevServers.DevServerLogs(cmd.Context(), request)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	out := a.view.Log()
	for stream.Receive() {
		if err := out.Write(stream.Msg().GetData()); err != nil {
			return err
		}
	}
	if err := out.Close(); err != nil {
		return err
	}
	return stream.Err()
}
