package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standin/engine"
)

// The default network is the engine's bridge, until a restart of the system has
// given it another subnet; then, and for networks that were created, it is a
// network of the engine with the state's name.

const bridge = "bridge"

// networkName is the CLI's name of a network of the engine.
func (s *session) networkName(below string) string {
	name := strings.TrimPrefix(below, "standin-"+s.state.id+"-")
	if name == bridge || strings.HasPrefix(name, "default+") {
		return "default"
	}
	return name
}

// engineNetwork is the other way round. It makes what is missing of the default.
func (s *session) engineNetwork(ctx context.Context, name string) (string, error) {
	if name != "default" {
		known, err := s.networks()
		if err != nil {
			return "", err
		}
		if _, ok := known[name]; !ok {
			return "", failure(notFound, "network %s not found", name)
		}
		return s.engineName(name), nil
	}
	sys, err := s.state.system()
	if err != nil || sys.Generation == 0 {
		return bridge, err
	}
	below := s.engineName(fmt.Sprintf("default+%d", sys.Generation))
	return below, s.makeNetwork(ctx, below, "")
}

func (s *session) makeNetwork(ctx context.Context, below, subnet string) error {
	release, err := s.state.lock("networks")
	if err != nil {
		return err
	}
	defer release()
	if _, err := s.lookAt(ctx, below); !engine.NotFound(err) {
		return err
	}
	body := map[string]any{"Name": below, "CheckDuplicate": true, "Labels": map[string]string{stateLabel: s.state.id}}
	if subnet != "" {
		body["IPAM"] = map[string]any{"Config": []any{map[string]any{"Subnet": subnet}}}
	}
	return s.engine.Call(ctx, http.MethodPost, "/networks/create", nil, body, nil)
}

// moveNetwork puts a container on the default network of this generation.
func (s *session) moveNetwork(ctx context.Context, r record) error {
	if r.Virtual || len(r.Networks) == 0 || r.Networks[0].Network != "default" {
		return nil
	}
	wanted, err := s.engineNetwork(ctx, "default")
	if err != nil || wanted == bridge {
		return err
	}
	var below struct {
		NetworkSettings struct{ Networks map[string]struct{} }
	}
	if err := s.engine.Call(ctx, http.MethodGet, "/containers/"+r.EngineID+"/json", nil, nil, &below); err != nil {
		return err
	}
	if _, ok := below.NetworkSettings.Networks[wanted]; ok {
		return nil
	}
	for old := range below.NetworkSettings.Networks {
		body := map[string]any{"Container": r.EngineID, "Force": true}
		if err := s.engine.Call(ctx, http.MethodPost, "/networks/"+old+"/disconnect", nil, body, nil); err != nil {
			return err
		}
	}
	return s.engine.Call(ctx, http.MethodPost, "/networks/"+wanted+"/connect", nil, map[string]any{"Container": r.EngineID}, nil)
}

// networkRecord is a network that was created.
type networkRecord struct {
	Created time.Time
	Labels  map[string]string
	Mode    string
}

func (s *session) networks() (map[string]networkRecord, error) {
	known := map[string]networkRecord{}
	_, err := s.state.read(&known, "networks.json")
	return known, err
}

// engineSubnet is where a network of the engine is.
type engineSubnet struct{ Subnet, Gateway string }

func (s *session) lookAt(ctx context.Context, below string) (engineSubnet, error) {
	var answer struct {
		IPAM struct{ Config []engineSubnet }
	}
	if err := s.engine.Call(ctx, http.MethodGet, "/networks/"+below, nil, nil, &answer); err != nil {
		return engineSubnet{}, err
	}
	if len(answer.IPAM.Config) == 0 {
		return engineSubnet{}, errors.New("the engine's network has no subnet")
	}
	where := answer.IPAM.Config[0]
	if where.Gateway == "" {
		// The engine does not tell for its own bridge: it is the first address.
		prefix, err := netip.ParsePrefix(where.Subnet)
		if err != nil {
			return where, err
		}
		where.Gateway = prefix.Masked().Addr().Next().String()
	}
	return where, nil
}

// networkDocument is a network in the JSON of the version: facts 3.3.
func (s *session) networkDocument(ctx context.Context, name string, n networkRecord) (map[string]any, error) {
	below, err := s.engineNetwork(ctx, name)
	if err != nil {
		return nil, err
	}
	where, err := s.lookAt(ctx, below)
	if err != nil {
		return nil, err
	}
	if n.Mode == "" {
		n.Mode = "nat"
	}
	if n.Created.IsZero() {
		n.Created = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	shape := s.shape()
	if !shape.AtLeast(0, 8) {
		_, prefix, _ := strings.Cut(where.Subnet, "/")
		return map[string]any{
			"id": name, "state": "running", "config": map[string]any{"id": name, "mode": n.Mode, "labels": orEmpty(n.Labels)},
			"status": map[string]any{"address": where.Gateway + "/" + prefix, "gateway": where.Gateway},
		}, nil
	}
	status := map[string]any{"ipv4Subnet": where.Subnet, "ipv4Gateway": where.Gateway}
	if !shape.AtLeast(1, 0) {
		return map[string]any{
			"id": name, "state": "running", "status": status,
			"config": map[string]any{"id": name, "mode": n.Mode, "creationDate": sinceReference(n.Created), "labels": orEmpty(n.Labels)},
		}, nil
	}
	return map[string]any{
		"id": name, "status": status,
		"configuration": map[string]any{
			"name": name, "mode": n.Mode, "creationDate": n.Created.UTC().Format(time.RFC3339),
			"labels": orEmpty(n.Labels), "plugin": "container-network-vmnet", "options": map[string]string{},
		},
	}, nil
}

func listNetworks(ctx context.Context, s *session) error {
	known, err := s.networks()
	if err != nil {
		return err
	}
	known["default"] = networkRecord{}
	documents := []any{}
	format, _ := s.call.Last("--format")
	for _, name := range slices.Sorted(maps.Keys(known)) {
		document, err := s.networkDocument(ctx, name, known[name])
		if err != nil {
			return err
		}
		documents = append(documents, document)
		if format != "json" {
			s.printf("%s\n", name)
		}
	}
	if format != "json" {
		return nil
	}
	return s.emitJSON(documents, false)
}

func inspectNetworks(ctx context.Context, s *session) error {
	known, err := s.networks()
	if err != nil {
		return err
	}
	known["default"] = networkRecord{}
	documents := []any{}
	for _, name := range s.call.Args("networks") {
		n, ok := known[name]
		if !ok && s.version.AtLeast(1, 0) {
			return failure(notFound, "network not found: %s", name)
		}
		if !ok {
			continue
		}
		document, err := s.networkDocument(ctx, name, n)
		if err != nil {
			return err
		}
		documents = append(documents, document)
	}
	return s.emitJSON(documents, s.version.AtLeast(1, 0))
}

func createNetwork(ctx context.Context, s *session) error {
	name := s.call.Arg("name")
	labels, err := parseLabels(s.call.All("--label"))
	if err != nil {
		return err
	}
	known, err := s.networks()
	if err != nil {
		return err
	}
	if _, ok := known[name]; ok || name == "default" {
		return failure(exists, "network %s already exists", name)
	}
	subnet, _ := s.call.Last("--subnet")
	if err := s.makeNetwork(ctx, s.engineName(name), subnet); err != nil {
		return err
	}
	n := networkRecord{Created: time.Now(), Labels: labels, Mode: "nat"}
	if s.call.Has("--internal") {
		n.Mode = "hostOnly"
	}
	known[name] = n
	s.printf("%s\n", name)
	return s.state.write(known, "networks.json")
}

func deleteNetworks(ctx context.Context, s *session) error {
	known, err := s.networks()
	if err != nil {
		return err
	}
	for _, name := range s.call.Args("network-names") {
		if _, ok := known[name]; !ok {
			return failure(notFound, "failed to delete one or more networks: [%q]", name)
		}
		query := url.Values{}
		if err := s.engine.Call(ctx, http.MethodDelete, "/networks/"+s.engineName(name), query, nil, nil); err != nil && !engine.NotFound(err) {
			return failure(internalError, "failed to delete network %s", name).because(err)
		}
		delete(known, name)
		s.printf("%s\n", name)
	}
	return s.state.write(known, "networks.json")
}
