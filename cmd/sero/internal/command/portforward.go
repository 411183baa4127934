package command

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func (a *app) portForwardCommand() *cobra.Command {
	request := &apipb.ForwardPortsRequest{}
	cmd := &cobra.Command{
		Use:        "forward [flags] <port>[:<local>]…",
		Short:      "lead a port of this machine into a workspace",
		SuggestFor: []string{"port-forward", "publish"},
		Long: `Leads ports of localhost to ports inside the workspace, which is made ready first: a
database, a debugger, whatever listens there, on whatever address. The number here is the
same, or the one after the colon; 0 takes a free one. A port that is taken is an error. It
goes on until it is interrupted, also while the workspace is stopped and started again.
Nothing needs to listen inside yet: a connection that cannot be made is said.`,
		Example: `  sero port forward 5432
  sero port forward --json 5432:15432 9229:0`,
		Args: arguments(1, -1, "the port"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			for _, text := range args {
				f, err := portForward(text)
				if err != nil {
					return err
				}
				request.Forwards = append(request.Forwards, f)
			}
			if request.Workspace, err = a.reference(); err != nil {
				return err
			}
			return a.forwardPorts(cmd, request)
		},
		Annotations: map[string]string{exitKey: "130 for Ctrl-C, 1 on failure, 2 for a mistake in the command line"},
	}
	a.driverFlag(cmd, &request.Driver)
	a.jsonFlag(cmd)
	a.workspaceFlag(cmd)
	return cmd
}

// portForward reads PORT or PORT:LOCAL.
func portForward(text string) (*apipb.PortForward, error) {
	inside, here, both := strings.Cut(text, ":")
	port, err := portNumber(inside)
	if err != nil {
		return nil, err
	}
	f := &apipb.PortForward{Port: port}
	if !both {
		return f, nil
	}
	local := uint32(0)
	if here != "0" {
		if local, err = portNumber(here); err != nil {
			return nil, err
		}
	}
	f.LocalPort = &local
	return f, nil
}

// portNumber reads a number from 1 to 65535.
func portNumber(text string) (uint32, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 || text[0] == '+' {
		return 0, usagef("%q is no port: one is a number from 1 to 65535", text)
	}
	return uint32(port), nil
}

// forwardPorts forwards until it is interrupted or the daemon ends it.
func (a *app) forwardPorts(cmd *cobra.Command, request *apipb.ForwardPortsRequest) error {
	c, err := a.connect(cmd.Context())
	if err != nil {
		return err
	}
	defer c.Close()
	progress := a.view.NewProgress()
	defer progress.Done()
	stream, err := c.Ports.ForwardPorts(cmd.Context(), request)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		m := stream.Msg()
		progress.Step(m.GetProgress())
		if open := m.GetOpen(); open != nil {
			progress.Done()
			if err := a.view.Forwards(open); err != nil {
				return err
			}
		}
		if text := m.GetNotice(); text != "" {
			a.view.Notice(text)
		}
	}
	if err := stream.Err(); err != nil {
		return err
	}
	return driver.Errorf(daemonclient.DaemonLost, "the daemon ended the call")
}
