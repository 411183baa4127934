package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Labels on the engine's containers, networks and images, so that all that a
// state directory caused can be found.
const (
	stateLabel = "dev.sero.standin"
	idLabel    = "dev.sero.standin.id"
)

// snapshot is a container as the server sees it now.
type snapshot struct {
	record
	runtimeRecord
	status      string // stopped, running, stopping
	attachments []attachment
}

// attachment is an address that a running container has.
type attachment struct {
	network, address, gateway, mac string
	prefix                         int
}

// engineContainer is a line of the engine's list.
type engineContainer struct {
	Id     string //nolint:revive // the engine's spelling
	Labels map[string]string
	State  string

	NetworkSettings struct {
		Networks map[string]struct {
			IPAddress   string
			IPPrefixLen int
			Gateway     string
			MacAddress  string
		}
	}
}

// ours is the filter for what a state directory caused.
func (s *session) ours() url.Values {
	filter, _ := json.Marshal(map[string][]string{"label": {stateLabel + "=" + s.state.id}}) // strings marshal
	return url.Values{"all": {"1"}, "filters": {string(filter)}}
}

// snapshots are all containers, by id.
func (s *session) snapshots(ctx context.Context) (map[string]snapshot, error) {
	var below []engineContainer
	if err := s.engine.Call(ctx, http.MethodGet, "/containers/json", s.ours(), nil, &below); err != nil {
		return nil, err
	}
	ids, err := s.state.ids()
	if err != nil {
		return nil, err
	}
	all := map[string]snapshot{}
	for _, id := range ids {
		if s.state.brokenness(id) == "stale-name" {
			continue
		}
		r, found, err := s.state.load(id)
		if err != nil {
			return nil, err
		}
		if !found {
			continue // being created, or deleted
		}
		i := slices.IndexFunc(below, func(c engineContainer) bool { return c.Labels[idLabel] == id })
		snap := snapshot{record: r, status: "stopped"}
		if i >= 0 {
			snap.see(below[i], s.networkName)
		}
		if r.Virtual && r.VirtualRun {
			snap.status = "running"
		}
		if _, err := s.state.read(&snap.runtimeRecord, "containers", id, "runtime.json"); err != nil {
			return nil, err
		}
		all[id] = snap
	}
	return all, nil
}

func (snap *snapshot) see(c engineContainer, name func(string) string) {
	switch c.State {
	case "running", "paused", "restarting":
		snap.status = "running"
	case "removing":
		snap.status = "stopping"
	}
	if snap.status != "running" {
		return
	}
	for _, network := range slices.Sorted(maps.Keys(c.NetworkSettings.Networks)) {
		n := c.NetworkSettings.Networks[network]
		if n.IPAddress == "" {
			continue
		}
		snap.attachments = append(snap.attachments, attachment{
			network: name(network), address: n.IPAddress, prefix: n.IPPrefixLen, gateway: n.Gateway, mac: n.MacAddress,
		})
	}
}

func listContainers(ctx context.Context, s *session) error {
	all, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	format, _ := s.call.Last("--format")
	// Up to 0.9 JSON has all containers, with or without --all: facts 3.1.
	if !s.call.Has("--all") && (format != "json" || s.version.AtLeast(0, 10)) {
		maps.DeleteFunc(all, func(_ string, snap snapshot) bool { return snap.status != "running" })
	}
	if s.call.Has("--quiet") {
		for id := range all {
			s.printf("%s\n", id)
		}
		return nil
	}
	if format != "json" {
		s.printf("ID  IMAGE  OS  ARCH  STATE  ADDR  CPUS  MEMORY\n")
		for id, snap := range all {
			s.printf("%s  %s  linux  arm64  %s\n", id, snap.Image.Reference, snap.status)
		}
		return nil
	}
	withAddress := !s.strikes("no-address")
	documents := []any{}
	for _, snap := range all { // in random order, as there
		documents = append(documents, s.document(snap, withAddress))
	}
	return s.emitJSON(documents, false)
}

func inspectContainers(ctx context.Context, s *session) error {
	all, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	withAddress := !s.strikes("no-address")
	documents := []any{}
	var missing []string
	for _, id := range s.call.Args("container-ids") {
		if s.state.brokenness(id) == "ghost" {
			return failure(internalError, "failed to list containers").because(ghostError(s, id))
		}
		snap, ok := all[id]
		if !ok {
			missing = append(missing, id)
			continue
		}
		documents = append(documents, s.document(snap, withAddress))
	}
	if len(missing) > 0 && s.version.AtLeast(1, 0) {
		return failure(notFound, "container not found: %s", strings.Join(missing, ", "))
	}
	return s.emitJSON(documents, s.version.AtLeast(1, 0))
}

// ghostError is what the server says of a container whose config.json is gone.
func ghostError(s *session, id string) error {
	return plain(fmt.Sprintf("Error Domain=NSCocoaErrorDomain Code=260 \"The file “config.json” couldn’t be opened because there is no such file.\" "+
		"UserInfo={NSFilePath=%s, NSUnderlyingError=0x600 {Error Domain=NSPOSIXErrorDomain Code=2 \"No such file or directory\"}}",
		s.state.path("containers", id, "config.json")))
}

// emitJSON prints a document as Foundation's encoder does: / is escaped.
func (s *session) emitJSON(document any, pretty bool) error {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if pretty {
		encoder.SetIndent("", "  ")
	}
	if err := encoder.Encode(document); err != nil {
		return err
	}
	text := bytes.ReplaceAll(buffer.Bytes(), []byte("/"), []byte(`\/`))
	if f, ok := s.fault("half-json"); ok && (f.value == "" || s.strikes("half-json")) {
		text = text[:len(text)/2]
	}
	_, err := s.stdout.Write(text)
	return err
}
