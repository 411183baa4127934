package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// document is a container in the JSON of the version: facts 3.1.
func (s *session) document(snap snapshot, withAddress bool) map[string]any {
	shape := s.shape()
	networks := []any{}
	if withAddress {
		for _, a := range snap.attachments {
			networks = append(networks, s.attachmentDocument(snap.ID, a))
		}
	}
	started := snap.Started
	if snap.status != "running" {
		started = time.Time{}
	}
	configuration := s.configuration(snap.record)
	if !shape.AtLeast(1, 0) {
		document := map[string]any{"status": snap.status, "configuration": configuration, "networks": networks}
		if shape.AtLeast(0, 8) && !started.IsZero() {
			document["startedDate"] = sinceReference(started)
		}
		return document
	}
	status := map[string]any{"state": snap.status, "networks": networks}
	if !started.IsZero() {
		status["startedDate"] = started.UTC().Format(time.RFC3339)
	}
	return map[string]any{"id": snap.ID, "configuration": configuration, "status": status}
}

// sinceReference is a date as Swift encodes it by default: seconds since 2001.
func sinceReference(t time.Time) float64 {
	return t.Sub(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)).Seconds()
}

func (s *session) attachmentDocument(id string, a attachment) map[string]any {
	shape := s.shape()
	address := fmt.Sprintf("%s/%d", a.address, a.prefix)
	document := map[string]any{"network": a.network, "hostname": id}
	if !shape.AtLeast(0, 8) {
		document["address"], document["gateway"] = address, a.gateway
		return document
	}
	document["ipv4Address"], document["ipv4Gateway"] = address, a.gateway
	document["macAddress"] = a.mac
	if shape.AtLeast(0, 12) {
		document["mtu"] = 1280
	}
	if shape.AtLeast(1, 2) {
		document["variant"] = "vmnet"
	}
	return document
}

func (s *session) configuration(r record) map[string]any {
	shape := s.shape()
	document := map[string]any{
		"id":               r.ID,
		"image":            map[string]any{"reference": r.Image.Reference, "descriptor": r.Image.descriptor()},
		"mounts":           mountDocuments(r.Mounts),
		"publishedPorts":   portDocuments(r.Ports),
		"publishedSockets": []any{},
		"labels":           orEmpty(r.Labels),
		"sysctls":          map[string]string{},
		"networks":         requestDocuments(r),
		"rosetta":          r.Rosetta,
		"initProcess":      processDocument(r.Process),
		"platform":         arm64(),
		"resources":        map[string]any{"cpus": r.CPUs, "memoryInBytes": r.Memory},
		"runtimeHandler":   "container-runtime-linux",
		"virtualization":   false,
		"ssh":              r.SSH,
	}
	if r.DNS != nil {
		dns := map[string]any{
			"nameservers": orNone(r.DNS.Nameservers), "searchDomains": orNone(r.DNS.Search), "options": orNone(r.DNS.Options),
		}
		if r.DNS.Domain != "" {
			dns["domain"] = r.DNS.Domain
		}
		document["dns"] = dns
	}
	if shape.AtLeast(0, 8) {
		document["readOnly"] = r.ReadOnly
	}
	if shape.AtLeast(0, 10) {
		document["useInit"] = r.Init
	}
	if shape.AtLeast(0, 12) {
		document["capAdd"], document["capDrop"] = orNone(r.CapAdd), orNone(r.CapDrop)
	}
	if shape.AtLeast(1, 0) {
		if r.SharedMem > 0 {
			document["shmSize"] = r.SharedMem
		}
		document["creationDate"] = r.Created.UTC().Format(time.RFC3339)
	}
	return document
}

func arm64() map[string]any {
	return map[string]any{"os": "linux", "architecture": "arm64", "variant": "v8"}
}

func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func orEmpty(labels map[string]string) map[string]string {
	if labels == nil {
		return map[string]string{}
	}
	return labels
}

func mountDocuments(mounts []mountRecord) []any {
	documents := []any{}
	for _, m := range mounts {
		kind := map[string]any{m.Kind: map[string]any{}}
		if m.Kind == "volume" {
			kind = map[string]any{"volume": map[string]any{"name": m.Source, "format": "ext4", "cache": map[string]any{"on": map[string]any{}}, "sync": map[string]any{"full": map[string]any{}}}}
		}
		documents = append(documents, map[string]any{
			"type": kind, "source": m.Source, "destination": m.Destination, "options": orNone(m.Options),
		})
	}
	return documents
}

func portDocuments(ports []portRecord) []any {
	documents := []any{}
	for _, p := range ports {
		documents = append(documents, map[string]any{
			"hostAddress": p.HostAddress, "hostPort": p.HostPort, "containerPort": p.ContainerPort, "proto": p.Protocol, "count": 1,
		})
	}
	return documents
}

func requestDocuments(r record) []any {
	documents := []any{}
	for _, n := range r.Networks {
		options := map[string]any{"hostname": r.ID}
		if n.MAC != "" {
			options["macAddress"] = n.MAC
		}
		if n.MTU > 0 {
			options["mtu"] = n.MTU
		}
		documents = append(documents, map[string]any{"network": n.Network, "options": options})
	}
	return documents
}

func processDocument(p processRecord) map[string]any {
	return map[string]any{
		"executable": p.Executable, "arguments": orNone(p.Arguments), "environment": orNone(p.Env),
		"workingDirectory": p.Workdir, "terminal": p.Terminal, "user": userDocument(p.User),
		"supplementalGroups": []any{}, "rlimits": []any{},
	}
}

// userDocument is a tagged union: numbers, or what the user wrote.
func userDocument(user string) map[string]any {
	name, group, grouped := strings.Cut(user, ":")
	uid, err := strconv.Atoi(name)
	gid, groupErr := strconv.Atoi(group)
	switch {
	case user == "":
		return map[string]any{"id": map[string]any{"uid": 0, "gid": 0}}
	case err == nil && grouped && groupErr == nil:
		return map[string]any{"id": map[string]any{"uid": uid, "gid": gid}}
	default:
		return map[string]any{"raw": map[string]any{"userString": user}}
	}
}
