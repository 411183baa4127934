package main

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standin/engine"
)

// containerLogs prints what the init process wrote since its last start, both
// streams in one.
func containerLogs(ctx context.Context, s *session) error {
	id := s.call.Arg("container-id")
	r, found, err := s.state.load(id)
	if err != nil {
		return err
	}
	if !found {
		return failure(internalError, "failed to get logs for container %s", id).because(
			failure(internalError, "failed to open container logs: %s", failure(notFound, "container with ID %s not found", id)))
	}
	if s.call.Has("--boot") {
		return nil
	}
	query := url.Values{"stdout": {"1"}, "stderr": {"1"}}
	var run runtimeRecord
	if _, err := s.state.read(&run, "containers", id, "runtime.json"); err != nil {
		return err
	}
	if !run.Started.IsZero() {
		// The start was noted when it was over; the log may have begun before.
		query.Set("since", strconv.FormatFloat(float64(run.Began.UnixMicro())/1e6, 'f', 6, 64))
	}
	if lines, ok := s.call.Last("-n"); ok {
		query.Set("tail", lines)
	}
	if s.call.Has("--follow") {
		query.Set("follow", "1")
	}
	log, err := s.engine.Stream(ctx, http.MethodGet, "/containers/"+r.EngineID+"/logs", query, nil)
	if err != nil {
		return err
	}
	defer log.Close()
	if !r.Process.Terminal {
		err = engine.Demultiplex(log, s.stdout, s.stdout)
	} else {
		var text bytes.Buffer
		_, err = text.ReadFrom(log)
		s.printf("%s", text.Bytes())
	}
	if err == nil && s.call.Has("--follow") {
		<-ctx.Done() // it waits across restarts and never ends by itself
	}
	return err
}

// containerStats takes two samples, two seconds apart, and prints the second.
func containerStats(ctx context.Context, s *session) error {
	all, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	format, _ := s.call.Last("--format")
	if format == "" && !s.call.Has("--no-stream") {
		return failure(unsupported, "the stand-in does not stream stats")
	}
	wanted, err := s.statsOf(all)
	if err != nil {
		return err
	}
	documents := []any{}
	for _, id := range wanted {
		if all[id].status != "running" || all[id].Virtual {
			continue
		}
		document, err := s.sample(ctx, all[id].record)
		if err != nil {
			continue // skipped, as there
		}
		documents = append(documents, document)
	}
	if len(documents) > 0 {
		pause := 2 * time.Second
		if f, ok := s.fault("stats-pause"); ok {
			if pause, err = time.ParseDuration(f.value); err != nil {
				return err
			}
		}
		time.Sleep(pause)
	}
	if format != "json" {
		s.printf("Container ID  Cpu %%  Memory Usage  Net Rx/Tx  Block I/O  Pids\n")
		return nil
	}
	return s.emitJSON(documents, false)
}

// statsOf are the ids that a call of stats means.
func (s *session) statsOf(all map[string]snapshot) ([]string, error) {
	var wanted []string
	given := s.call.Args("containers")
	for id := range all {
		matches := func(name string) bool {
			return id == name || s.has("stats-by-prefix") && strings.HasPrefix(id, name)
		}
		if len(given) == 0 || slices.ContainsFunc(given, matches) {
			wanted = append(wanted, id)
		}
	}
	for _, name := range given {
		known := func(id string) bool { return id == name || s.has("stats-by-prefix") && strings.HasPrefix(id, name) }
		if !slices.ContainsFunc(wanted, known) {
			return nil, failure(notFound, "no such container: %s", name)
		}
	}
	slices.Sort(wanted)
	return wanted, nil
}

// sample is an element of stats: facts 3.4.
func (s *session) sample(ctx context.Context, r record) (map[string]any, error) {
	var below struct {
		CPUStats struct {
			CPUUsage struct {
				Total int64 `json:"total_usage"` // nanoseconds
			} `json:"cpu_usage"`
		} `json:"cpu_stats"`
		MemoryStats struct {
			Usage int64            `json:"usage"`
			Stats map[string]int64 `json:"stats"`
		} `json:"memory_stats"`
		PidsStats struct {
			Current int64 `json:"current"`
		} `json:"pids_stats"`
		Networks map[string]struct {
			Rx int64 `json:"rx_bytes"`
			Tx int64 `json:"tx_bytes"`
		} `json:"networks"`
	}
	query := url.Values{"stream": {"0"}, "one-shot": {"1"}}
	if err := s.engine.Call(ctx, http.MethodGet, "/containers/"+r.EngineID+"/stats", query, nil, &below); err != nil {
		return nil, err
	}
	var rx, tx int64
	for _, n := range below.Networks {
		rx, tx = rx+n.Rx, tx+n.Tx
	}
	return map[string]any{
		"id": r.ID, "memoryUsageBytes": below.MemoryStats.Usage, "memoryLimitBytes": r.Memory,
		"cpuUsageUsec": below.CPUStats.CPUUsage.Total / 1000, "networkRxBytes": rx, "networkTxBytes": tx,
		"blockReadBytes": 0, "blockWriteBytes": 0, "numProcesses": below.PidsStats.Current,
	}, nil
}
