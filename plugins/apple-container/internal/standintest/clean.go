package standintest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standin/engine"
)

// stateLabel is on all that a stand-in makes on the engine.
const stateLabel = "dev.sero.standin"

// checkForeign fails the test when another person's container is not as it was.
func (s *Standin) checkForeign(ctx context.Context, client *engine.Client) {
	if _, err := os.Stat(filepath.Join(s.State(), "containers", foreign, "config.json")); err != nil {
		s.t.Errorf("another person's container is gone from the system: %v", err)
		return
	}
	id, err := os.ReadFile(filepath.Join(s.State(), "id"))
	if err != nil {
		s.t.Error(err)
		return
	}
	var below struct {
		State        struct{ Running bool }
		RestartCount int
	}
	if err := client.Call(ctx, http.MethodGet, "/containers/standin-"+string(id)+"-"+foreign+"/json", nil, nil, &below); err != nil {
		s.t.Errorf("another person's container was removed: %v", err)
		return
	}
	if !below.State.Running {
		s.t.Error("another person's container was stopped")
	}
}

// checkProcesses fails the test when calls of the CLI are still under way, and
// ends them. A call that is just ending has a moment for it.
func (s *Standin) checkProcesses() {
	for _, call := range s.Journal() {
		deadline := time.Now().Add(2 * time.Second)
		for s.alive(call.PID) && time.Now().Before(deadline) {
			time.Sleep(10 * time.Millisecond)
		}
		if s.alive(call.PID) {
			s.t.Errorf("still under way: container %s", strings.Join(call.Argv, " "))
			if process, err := os.FindProcess(call.PID); err == nil {
				_ = process.Kill() // it may have ended
			}
		}
	}
}

// alive tells whether a process is one of this stand-in.
func (s *Standin) alive(pid int) bool {
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && path == s.Path
}

// Clean removes from an engine all that the stand-in of a state made there.
func Clean(ctx context.Context, client *engine.Client, id string) error {
	c := cleaner{client: client, id: id}
	c.remove(ctx, "/containers/", c.list(ctx, "/containers/json", "label", stateLabel+"="+id)...)
	c.remove(ctx, "/networks/", c.list(ctx, "/networks", "label", stateLabel+"="+id)...)
	c.remove(ctx, "/images/", c.list(ctx, "/images/json", "reference", "standin-"+id)...)
	var volumes struct{ Volumes []struct{ Name string } }
	c.call(ctx, "/volumes", "label", stateLabel+"="+id, &volumes)
	for _, volume := range volumes.Volumes {
		c.remove(ctx, "/volumes/", volume.Name)
	}
	return errors.Join(c.errs...)
}

// cleaner removes what it can, and remembers what it could not.
type cleaner struct {
	client *engine.Client
	id     string
	errs   []error
}

func (c *cleaner) call(ctx context.Context, path, filter, value string, out any) {
	encoded, err := json.Marshal(map[string][]string{filter: {value}})
	if err == nil {
		err = c.client.Call(ctx, http.MethodGet, path, url.Values{"all": {"1"}, "filters": {string(encoded)}}, nil, out)
	}
	c.errs = append(c.errs, err)
}

// list gives the ids of things, and of images their tags: another name may be
// somebody else's.
func (c *cleaner) list(ctx context.Context, path, filter, value string) []string {
	var things []struct {
		Id       string //nolint:revive // the engine's spelling
		RepoTags []string
	}
	c.call(ctx, path, filter, value, &things)
	var names []string
	for _, thing := range things {
		if filter != "reference" {
			names = append(names, thing.Id)
		}
		for _, tag := range thing.RepoTags {
			if strings.HasPrefix(tag, value+":") {
				names = append(names, tag)
			}
		}
	}
	return names
}

func (c *cleaner) remove(ctx context.Context, path string, names ...string) {
	for _, name := range names {
		query := url.Values{"v": {"1"}}
		if path == "/containers/" {
			query.Set("force", "1")
		}
		if err := c.client.Call(ctx, http.MethodDelete, path+name, query, nil, nil); !engine.NotFound(err) {
			c.errs = append(c.errs, err)
		}
	}
}
