package command

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

// completionVariable names the environment variable that says how long a press
// of the Tab key may take; completionBudget is what it takes without.
const (
	completionVariable = "SERO_COMPLETION_TIMEOUT"
	completionBudget   = 100 * time.Millisecond
)

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion {bash | zsh | fish}",
		Short: "write a completion script for a shell",
		Long: `Writes a script that makes the shell complete sero's commands, flags, workspaces and
dev servers. Load it from the shell's start file.`,
		Example: `  sero completion bash > sero.bash
  sero completion fish | head -n 1`,
		Args:      arguments(1, 1, "the shell (bash, zsh or fish)"),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			var script strings.Builder
			var err error
			switch args[0] {
			case "bash":
				err = cmd.Root().GenBashCompletionV2(&script, true)
				script.WriteString(bashWords)
			case "zsh":
				err = cmd.Root().GenZshCompletion(&script)
			case "fish":
				err = cmd.Root().GenFishCompletion(&script, true)
			default:
				return usagef("there is no completion for %q, but for bash, zsh and fish", args[0])
			}
			if err != nil {
				return err
			}
			return a.view.Raw([]byte(script.String()))
		},
	}
}

// bashWords replaces a function of cobra's script, which needs the package
// bash-completion. Without that package it joins the words that bash has split at
// "=" and ":" itself.
const bashWords = `
__sero_init_completion()
{
    COMPREPLY=()
    if declare -F _get_comp_words_by_ref >/dev/null 2>&1; then
        _get_comp_words_by_ref "$@" cur prev words cword
        return
    fi
    local rest=${COMP_LINE:0:COMP_POINT} word bare i
    words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        bare=${rest#"${rest%%[![:space:]]*}"}
        word=${COMP_WORDS[i]}
        if ((i == COMP_CWORD)); then
            word=$bare # up to the cursor
        fi
        if [[ ${#words[@]} -gt 0 && $bare == "$rest" && ($word == [=:]* || ${words[-1]} == *[=:]) ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
        rest=${bare#"$word"}
    done
    cword=$((${#words[@]} - 1))
    cur=${words[cword]}
    prev=${words[cword > 0 ? cword - 1 : 0]}
}
`

// complete offers what the running daemon knows. It starts none, and offers
// nothing rather than letting a person wait.
func complete(cmd *cobra.Command, ask func(context.Context, *daemonclient.Client) []string) ([]string, cobra.ShellCompDirective) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	budget, err := time.ParseDuration(os.Getenv(completionVariable))
	if err != nil || budget <= 0 {
		budget = completionBudget
	}
	ctx, cancel := call(ctx, budget)
	defer cancel()
	c, err := daemonclient.Find(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer c.Close()
	return ask(ctx, c), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeWorkspaces(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return complete(cmd, func(ctx context.Context, c *daemonclient.Client) (out []string) {
		r, _ := c.Workspaces.ListWorkspaces(ctx, &apipb.ListWorkspacesRequest{})
		for _, w := range r.GetWorkspaces() {
			out = append(out, w.GetId())
		}
		return out
	})
}

func (a *app) completeServers(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	a.workspaceSet = cmd.Flags().Changed("workspace")
	return complete(cmd, func(ctx context.Context, c *daemonclient.Client) (out []string) {
		ref, err := a.reference()
		if err != nil {
			return nil
		}
		r, _ := c.DevServers.ListDevServers(ctx, &apipb.ListDevServersRequest{Workspace: ref})
		for _, s := range r.GetDevServers() {
			out = append(out, s.GetName())
		}
		return out
	})
}

func (a *app) completeDrivers(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return complete(cmd, func(ctx context.Context, c *daemonclient.Client) (out []string) {
		r, _ := c.Drivers.ListDrivers(ctx, &apipb.ListDriversRequest{})
		for _, d := range r.GetDrivers() {
			out = append(out, d.GetName())
		}
		return out
	})
}
