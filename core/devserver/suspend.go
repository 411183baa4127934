package devserver

import (
	"context"
	"errors"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// SuspendWorkspace stops every server of a workspace, as StopWorkspace does.
// resume runs the commands of those again, without waiting until they listen,
// and says in one line each which ones; it goes on where one does not start.
func (s *Supervisor) SuspendWorkspace(ctx context.Context, workspaceID string) (ended []string, resume func(context.Context) ([]string, error), err error) {
	s.mu.Lock()
	var live []*server
	for _, v := range s.servers {
		if v.workspaceID == workspaceID && v.live() && v.parent == nil && len(v.command) > 0 {
			live = append(live, v)
		}
	}
	s.mu.Unlock()
	ended, err = s.StopWorkspace(ctx, workspaceID)
	return ended, func(ctx context.Context) ([]string, error) { return s.resume(ctx, live) }, err
}

// resume starts servers that were stopped, unless somebody else did.
func (s *Supervisor) resume(ctx context.Context, stopped []*server) (started []string, err error) {
	for _, v := range stopped {
		select {
		case v.turn <- struct{}{}:
		case <-ctx.Done():
			return started, errors.Join(err, driver.AsError(context.Cause(ctx)))
		}
		s.mu.Lock()
		skip := v.removed || v.live()
		s.mu.Unlock()
		if !skip {
			if failure := s.again(ctx, v, nil); failure != nil {
				err = errors.Join(err, failure)
			} else {
				started = append(started, "dev server "+v.name)
			}
		}
		<-v.turn
	}
	return started, err
}

// Commands are the exec ids of the commands that servers of a workspace run as
// and that can be run again.
func (s *Supervisor) Commands(workspaceID string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, v := range s.servers {
		if v.workspaceID == workspaceID && v.live() && v.found == nil && v.parent == nil && len(v.command) > 0 {
			ids = append(ids, v.run.execID)
		}
	}
	return ids
}
