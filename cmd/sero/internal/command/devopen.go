package command

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/internal/inherit"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func (a *app) devOpenCommand() *cobra.Command {
	var printOnly bool
	cmd := &cobra.Command{
		Use:        "open [flags] [<server>]",
		Short:      "open a dev server's preview",
		SuggestFor: []string{"open", "preview", "browse"},
		Long: `Prints the address of the server's preview and, on a terminal, opens it with the system's
browser. Without a name it is the workspace's only server.`,
		Example: `  sero dev open web
  sero dev open --print web
  sero dev open --json web`,
		Args:              arguments(0, 1, "the server's id, uid, name or port"),
		ValidArgsFunction: a.completeServers,
		RunE: func(cmd *cobra.Command, args []string) error {
			server, err := a.oneServer(cmd.Context(), slices.Concat(args, []string{""})[0])
			if err != nil {
				return err
			}
			url := cmp.Or(server.GetPreviewUrl(), server.GetUrl())
			if url == "" {
				return driver.Errorf(driver.NotRunning, "%s has no address yet: it is %s", server.GetName(), a.view.Status(server)).
					Remedy("see why", "sero", "dev", "logs", server.GetName())
			}
			if err := a.view.DevServerURL(server, url); err != nil || printOnly || a.view.JSON || !onTerminal() {
				return err
			}
			return openBrowser(cmd.Context(), url)
		},
	}
	cmd.Flags().BoolVar(&printOnly, "print", false, "only print the address")
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

// oneServer is the dev server that a person means; without a name, the only one
// that runs, or that there is.
func (a *app) oneServer(ctx context.Context, name string) (*apipb.DevServer, error) {
	ref, err := a.reference()
	if err != nil {
		return nil, err
	}
	c, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ctx, cancel := call(ctx, callTimeout)
	defer cancel()
	if strings.Contains(name, ":") || strings.HasPrefix(name, "ds_") { // an id or a uid says which workspace
		ref = nil
	}
	r, err := c.DevServers.ListDevServers(ctx, &apipb.ListDevServersRequest{Workspace: ref})
	if err != nil {
		return nil, err
	}
	servers := slices.DeleteFunc(r.GetDevServers(), func(s *apipb.DevServer) bool {
		isPart := s.GetParentUid() != ""
		return name == "" && isPart || name != "" && !named(s, name)
	})
	if running := slices.DeleteFunc(slices.Clone(servers), func(s *apipb.DevServer) bool {
		return s.GetStatus() != apipb.DevServerStatus_DEV_SERVER_STATUS_RUNNING
	}); len(running) > 0 {
		servers = running
	}
	switch {
	case len(servers) == 1:
		return servers[0], nil
	case len(servers) == 0 && name != "":
		return nil, driver.Errorf(driver.NotFound, "there is no dev server %q", name).Remedy("see the dev servers there are", "sero", "dev", "ls")
	case len(servers) == 0:
		return nil, driver.Errorf(driver.NotFound, "the workspace has no dev server").Remedy("start one", "sero", "run", "--", "npm", "run", "dev")
	}
	var names []string
	for _, s := range servers {
		names = append(names, s.GetName())
	}
	return nil, driver.Errorf(driver.InvalidArgument, "which one? there are %s", strings.Join(names, ", ")).
		Remedy("name one", "sero", "dev", "open", names[0])
}

func named(s *apipb.DevServer, name string) bool {
	return s.GetId() == name || s.GetUid() == name || s.GetName() == name || s.GetPort() > 0 && name == portText(s.GetPort())
}

// onTerminal tells whether a person sees the output.
func onTerminal() bool { return term.IsTerminal(int(os.Stdout.Fd())) }

// openers are the systems' own programs for a URL, by their full paths: what is
// on the PATH of a workspace's shell may be the workspace's.
var openers = map[string][]string{
	"darwin": {"/usr/bin/open"},
	"linux":  {"/usr/bin/xdg-open", "/run/current-system/sw/bin/xdg-open"},
}

// openBrowser opens a URL with the system's opener. A machine without one, or
// without a screen, has the URL printed, and that is all.
func openBrowser(ctx context.Context, url string) error {
	screen := runtime.GOOS == "darwin" || os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != ""
	i := slices.IndexFunc(openers[runtime.GOOS], func(path string) bool { _, err := os.Stat(path); return err == nil })
	if !screen || i < 0 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, errors.New("the browser does not open"))
	defer cancel()
	cmd := exec.CommandContext(ctx, openers[runtime.GOOS][i], url)
	cmd.Dir = "/"
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == "PATH" || name == "BROWSER"
	}), "PATH=/usr/local/bin:/usr/bin:/bin:/run/current-system/sw/bin")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the browser outlives this command
	cmd.WaitDelay = time.Second
	inherit.CloseOnExec()
	defer inherit.DefaultSignals()()
	if err := cmd.Run(); err != nil {
		return driver.Errorf(driver.Internal, "the browser could not be opened: %w", err).Remedy("open the address yourself")
	}
	return nil
}
