package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/api/apipb/apipbconnect"
	"github.com/sero-labs/sero-runtime/internal/paths"
)

// The storm: so many callers want so many workspaces ready at the same time.
const (
	stormWorkspaces = 10
	stormCallers    = 100
)

// api is the daemon's API, as a desktop app uses it.
func (s *sero) api() apipbconnect.WorkspaceServiceClient {
	s.Helper()
	s.ok("", "ls") // starts the daemon
	socket := ""
	for _, v := range s.env {
		if run, ok := strings.CutPrefix(v, paths.RunVariable+"="); ok {
			socket = paths.Socket(run)
		}
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		Protocols: new(http.Protocols),
	}
	transport.Protocols.SetUnencryptedHTTP2(true)
	s.Cleanup(transport.CloseIdleConnections)
	return apipbconnect.NewWorkspaceServiceClient(&http.Client{Transport: transport}, "http://sero")
}

// ups makes every workspace ready for many callers at once, and gives the error
// of each.
func (s *sero) ups(client apipbconnect.WorkspaceServiceClient, dirs []string) []error {
	s.Helper()
	ctx, cancel := context.WithTimeoutCause(s.Context(), 3*deadline, errors.New("no answer"))
	defer cancel()
	errs := make([]error, stormCallers)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			stream, err := client.Up(ctx, &apipb.UpRequest{Workspace: &apipb.WorkspaceRef{Directory: dirs[i%len(dirs)]}})
			if err != nil {
				errs[i] = err
				return
			}
			ready := false
			for stream.Receive() {
				ready = ready || stream.Msg().GetWorkspace().GetState() == apipb.WorkspaceState_WORKSPACE_STATE_RUNNING
			}
			errs[i] = stream.Err()
			if !ready && errs[i] == nil {
				errs[i] = errors.New("the answer has no workspace that runs")
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		s.Fatal("there was no answer for some")
	}
	return errs
}

func (s *sero) stormDirs() []string {
	s.Helper()
	var dirs []string
	for i := range stormWorkspaces {
		dirs = append(dirs, s.workspace(fmt.Sprintf("w%d", i)))
	}
	return dirs
}

func storm(s *sero) {
	dirs := s.stormDirs()
	client, made := s.api(), s.Count()
	for _, err := range s.ups(client, dirs) {
		if err != nil {
			s.Error(err)
		}
	}
	if n := made(); n != stormWorkspaces || len(s.Instances()) != stormWorkspaces {
		s.Errorf("%d containers were made, and there are %d", n, len(s.Instances()))
	}
	for _, dir := range dirs {
		s.runs(filepath.Base(dir))
	}
}

// stormWithRestart restarts the engine while sandboxes are being made.
func stormWithRestart(s *sero) {
	dirs := s.stormDirs()
	client := s.api()
	broke := make(chan struct{})
	go func() {
		defer close(broke)
		for begin := time.Now(); len(s.Instances()) < 2 && time.Since(begin) < deadline; {
			time.Sleep(10 * time.Millisecond)
		}
		s.Restart()
	}()
	errs := s.ups(client, dirs)
	<-broke
	succeeded := 0
	for _, err := range errs {
		if err == nil {
			succeeded++
			continue
		}
		if detail := detailOf(err); detail == nil || !detail.GetRetryable() {
			s.Errorf("neither a success nor a retryable error: %v %v", err, detail)
		}
	}
	s.Logf("%d of %d callers succeeded at once", succeeded, stormCallers)
	for _, err := range s.ups(client, dirs) {
		if err != nil {
			s.Errorf("the next one fails too: %v", err)
		}
	}
	if n := len(s.Instances()); n != stormWorkspaces {
		s.Errorf("there are %d containers", n)
	}
	for _, dir := range dirs {
		s.runs(filepath.Base(dir))
	}
}

// detailOf is the detail that every error of the API has.
func detailOf(err error) *apipb.ErrorDetail {
	if e, ok := errors.AsType[*connect.Error](err); ok {
		for _, d := range e.Details() {
			if value, err := d.Value(); err == nil {
				if detail, ok := value.(*apipb.ErrorDetail); ok {
					return detail
				}
			}
		}
	}
	return nil
}
