package command

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// help writes a command's page to standard output.
func (a *app) help(cmd *cobra.Command, _ []string) {
	cmd.InitDefaultHelpFlag()
	var b strings.Builder
	fmt.Fprintf(&b, "usage: %s\n\n%s\n\n%s\n", usageLine(cmd), cmd.Short, cmd.Long)
	writeVerbs(&b, cmd)
	writeFlags(&b, cmd)
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	fmt.Fprintf(&b, "\nExit status: %s\n", cmp.Or(cmd.Annotations[exitKey], "0, 1 on failure, 2 for a mistake in the command line"))
	if !cmd.HasParent() {
		b.WriteString("\nHelp for one command: sero COMMAND --help\n")
	}
	_ = a.view.Raw([]byte(b.String()))
}

func usageLine(cmd *cobra.Command) string {
	if cmd.HasAvailableSubCommands() {
		return cmd.CommandPath() + " <command>"
	}
	return cmd.UseLine()
}

func writeVerbs(b *strings.Builder, cmd *cobra.Command) {
	line := func(c *cobra.Command) { fmt.Fprintf(b, "  %-12s%s\n", c.Name(), c.Short) }
	for _, g := range cmd.Groups() {
		fmt.Fprintf(b, "\n%s:\n", g.Title)
		for _, c := range cmd.Commands() {
			if c.GroupID == g.ID && c.IsAvailableCommand() {
				line(c)
			}
		}
	}
	if len(cmd.Groups()) == 0 && cmd.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n")
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				line(c)
			}
		}
	}
}

func writeFlags(b *strings.Builder, cmd *cobra.Command) {
	var rows [][2]string
	width := 0
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		kind, text := pflag.UnquoteUsage(f)
		name := "    --" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", --" + f.Name
		}
		if kind != "" {
			name += " " + kind
		}
		width = max(width, len(name))
		rows = append(rows, [2]string{name, text})
	})
	if len(rows) == 0 {
		return
	}
	b.WriteString("\nFlags:\n")
	for _, row := range rows {
		fmt.Fprintf(b, "  %-*s  %s\n", width, row[0], row[1])
	}
}

func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "help [command]",
		Short:  "show the help of a command",
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, err := cmd.Root().Find(args)
			if err != nil {
				return usagef("%s", err.Error())
			}
			if len(rest) > 0 {
				return a.verbs(target, rest)
			}
			return target.Help()
		},
	}
}
