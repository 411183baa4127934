package standintest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

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

// Clean removes from an engine all that the stand-in of a state made there.
func Clean(ctx context.Context, client *engine.Client, id string) error {
	filter, err := json.Marshal(map[string][]string{"label": {stateLabel + "=" + id}})
	if err != nil {
		return err
	}
	query := url.Values{"all": {"1"}, "filters": {string(filter)}}
	var found []error
	remove := func(list, one string, names func([]named) []string) {
		var things []named
		if list == "/volumes" {
			var volumes struct{ Volumes []named }
			found = append(found, client.Call(ctx, http.MethodGet, list, query, nil, &volumes))
			things = volumes.Volumes
		} else {
			found = append(found, client.Call(ctx, http.MethodGet, list, query, nil, &things))
		}
		for _, name := range names(things) {
			err := client.Call(ctx, http.MethodDelete, one+name, url.Values{"force": {"1"}, "v": {"1"}}, nil, nil)
			if !engine.NotFound(err) {
				found = append(found, err)
			}
		}
	}
	remove("/containers/json", "/containers/", ids)
	remove("/networks", "/networks/", ids)
	remove("/images/json", "/images/", ids)
	remove("/volumes", "/volumes/", func(things []named) []string {
		var names []string
		for _, thing := range things {
			names = append(names, thing.Name)
		}
		return names
	})
	return errors.Join(found...)
}

// named is a thing of the engine.
type named struct{ Id, Name string } //nolint:revive // the engine's spelling

func ids(things []named) []string {
	var all []string
	for _, thing := range things {
		all = append(all, thing.Id)
	}
	return all
}
