package command

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sero-labs/sero-runtime/internal/nearest"
)

// runnerKey marks in a command's annotations that it runs another command, and
// exitKey holds what its help says about exit codes.
const (
	runnerKey = "sero.runner"
	exitKey   = "sero.exit"
)

const (
	groupWorkspace = "workspace"
	groupDevServer = "devserver"
	groupDriver    = "driver"
	groupDaemon    = "daemon"
)

func (a *app) root() *cobra.Command {
	cobra.EnableCommandSorting = false // the help's order is what a person meets first
	var showVersion bool
	root := &cobra.Command{
		Use:   "sero",
		Short: "development workspaces, in containers where there are some and on the host where not",
		Long: `A workspace is a directory, and what runs for it: commands, terminals, dev servers.
It runs in the best runtime that works on this machine; sero says which, and why.`,
		Example: `  sero up
  sero exec -- npm test
  sero run -- npm run dev`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			a.workspaceSet = cmd.Flags().Changed("workspace")
		},
		Args: a.verbs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if showVersion {
				return a.showVersion(cmd.Context())
			}
			return cmd.Help()
		},
	}
	root.Flags().BoolVar(&showVersion, "version", false, "show the versions of sero and of its daemon")
	root.AddGroup(
		&cobra.Group{ID: groupWorkspace, Title: "Workspaces"},
		&cobra.Group{ID: groupDevServer, Title: "Dev servers"},
		&cobra.Group{ID: groupDriver, Title: "Drivers and images"},
		&cobra.Group{ID: groupDaemon, Title: "Daemon and machine"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupWorkspace, a.upCommand(), a.execCommand(), a.shellCommand(), a.attachCommand(), a.terminalCommand(), a.listCommand(),
		a.inspectCommand(), a.stopCommand(), a.recreateCommand(), a.removeCommand(),
		a.pruneCommand(), a.diskCommand(), a.mountCommand(), a.trustCommand(), a.egressCommand())
	add(groupDevServer, a.runCommand(), a.devCommand(), a.portCommand())
	add(groupDriver, a.driverCommand(), a.imageCommand())
	add(groupDaemon, a.doctorCommand(), a.eventsCommand(), a.daemonCommand(), a.serveCommand(),
		a.versionCommand(), a.completionCommand())
	root.SetFlagErrorFunc(a.flagError)
	root.SetHelpFunc(a.help)
	root.SetHelpCommand(a.helpCommand())
	root.InitDefaultHelpFlag()
	return root
}

// group is a noun with verbs below it.
func (a *app) group(cmd *cobra.Command, verbs ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(verbs...)
	cmd.Args = a.verbs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return usagef("%s needs a verb: %s", cmd.CommandPath(), strings.Join(verbNames(cmd), ", "))
	}
	return cmd
}

// verbs refuses what is not one of the command's verbs, with the nearest one, or
// with the command that other tools have that word for.
func (a *app) verbs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	message := fmt.Sprintf("there is no command %q", strings.TrimPrefix(cmd.CommandPath()+" "+args[0], "sero "))
	if c := suggestedFor(cmd, args[0]); c != nil {
		message += fmt.Sprintf("; did you mean %q?", c.CommandPath())
	} else if near := nearest.Name(args[0], verbNames(cmd)); near != "" {
		message += fmt.Sprintf("; did you mean %q?", near)
	}
	return &usageError{message: message}
}

// suggestedFor is the command below cmd that a word stands for.
func suggestedFor(cmd *cobra.Command, word string) *cobra.Command {
	for _, c := range cmd.Commands() {
		if slices.Contains(c.SuggestFor, word) {
			return c
		}
		if below := suggestedFor(c, word); below != nil {
			return below
		}
	}
	return nil
}

func verbNames(cmd *cobra.Command) []string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

// arguments checks the number of arguments; names are for the message.
func arguments(low, high int, names string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < low:
			return usagef("%s is missing", names)
		case high >= 0 && len(args) > high && high == 0:
			return usagef("there is no argument to give, and %q was given", args[0])
		case high >= 0 && len(args) > high:
			return usagef("%q is one argument too many", args[high])
		}
		return nil
	}
}

// flagError is a mistake in a flag, with the nearest one that there is. After an
// unknown verb it is the verb that is wrong.
func (a *app) flagError(cmd *cobra.Command, err error) error {
	if cmd.HasSubCommands() {
		for _, word := range a.args {
			if !strings.HasPrefix(word, "-") && !slices.Contains(strings.Fields(cmd.CommandPath()), word) {
				return a.verbs(cmd, []string{word})
			}
		}
	}
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return usagef("%s", err.Error())
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if near := nearest.Name(unknown.GetSpecifiedName(), names); near != "" {
		return usagef("%s; did you mean --%s?", err.Error(), near)
	}
	return usagef("%s", err.Error())
}
