package docker

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// lookAgain is the time between two looks for a change that no engine tells.
const lookAgain = 300 * time.Millisecond

// Stats measures a container.
func (d *Driver) Stats(ctx context.Context, id string, interval time.Duration, report func(driver.Stats) error) error {
	c, err := d.owned(ctx, id)
	if err != nil {
		return err
	}
	if err := checkRunning(c, id); err != nil {
		return err
	}
	for {
		said, err := call(ctx, d, readLimit, func(ctx context.Context, api *connection) (container.StatsResponse, error) {
			var s container.StatsResponse
			result, err := api.ContainerStats(ctx, c.ID, client.ContainerStatsOptions{})
			if err != nil {
				return s, err
			}
			defer result.Body.Close()
			return s, json.NewDecoder(result.Body).Decode(&s)
		})
		if err != nil {
			return err
		}
		if err := report(measured(said)); err != nil || interval <= 0 {
			return err
		}
		if err := sleep(ctx, interval); err != nil {
			return err
		}
	}
}

// measured leaves out what an engine has not measured. Memory is without what
// the kernel would give back at once.
func measured(s container.StatsResponse) driver.Stats {
	seconds := float64(s.CPUStats.CPUUsage.TotalUsage) / 1e9
	out := driver.Stats{CPUSeconds: &seconds}
	if s.MemoryStats.Usage > 0 {
		cache := s.MemoryStats.Stats["inactive_file"]
		if v1, ok := s.MemoryStats.Stats["total_inactive_file"]; ok {
			cache = v1
		}
		used := int64(s.MemoryStats.Usage - min(cache, s.MemoryStats.Usage-1))
		limit := int64(min(s.MemoryStats.Limit, 1<<62))
		out.MemoryBytes, out.MemoryLimitBytes = &used, &limit
	}
	if s.PidsStats.Current > 0 {
		processes := int64(s.PidsStats.Current)
		out.Processes = &processes
	}
	if len(s.Networks) > 0 {
		var received, sent int64
		for _, n := range s.Networks {
			received += int64(n.RxBytes)
			sent += int64(n.TxBytes)
		}
		out.NetworkReceivedBytes, out.NetworkSentBytes = &received, &sent
	}
	return out
}

// Logs writes what the container's main process wrote. An engine's own stream
// ends when the container stops; this one goes on when it starts again.
func (d *Driver) Logs(ctx context.Context, id string, follow bool, tailLines int, out io.Writer) error {
	c, err := d.owned(ctx, id)
	if err != nil {
		return err
	}
	options := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Follow: follow}
	if tailLines > 0 {
		options.Tail = strconv.Itoa(tailLines)
	}
	for {
		err := d.logs(ctx, c.ID, options, out)
		switch {
		case follow && driver.ReasonOf(err) == driver.NotFound:
			return nil // it was removed
		case err != nil || !follow:
			return err
		}
		started, err := d.startedAgain(ctx, c.ID)
		if err != nil || started.IsZero() {
			return err
		}
		options.Tail, options.Since = "", started.Format(time.RFC3339Nano)
	}
}

// startedAgain waits until a container that has stopped runs again, and gives when
// it was started; zero when it was removed.
func (d *Driver) startedAgain(ctx context.Context, container string) (time.Time, error) {
	for {
		if err := sleep(ctx, lookAgain); err != nil {
			return time.Time{}, err
		}
		sb, err := d.inspect(ctx, container)
		if driver.ReasonOf(err) == driver.NotFound {
			return time.Time{}, nil
		}
		if err != nil || sb.State == driver.SandboxRunning {
			return sb.Started, err
		}
	}
}

func (d *Driver) logs(ctx context.Context, container string, options client.ContainerLogsOptions, out io.Writer) error {
	stream, err := call(ctx, d, readLimit, func(bounded context.Context, c *connection) (client.ContainerLogsResult, error) {
		return open(ctx, bounded, func(ctx context.Context) (client.ContainerLogsResult, error) {
			return c.ContainerLogs(ctx, container, options)
		})
	})
	if err != nil {
		return err
	}
	defer stream.Close()
	_, err = stdcopy.StdCopy(out, out, stream)
	if ctx.Err() != nil {
		return ctxError(ctx)
	}
	return err
}

// open opens a stream that lives as long as ctx, within bounded.
func open[T any](ctx, bounded context.Context, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(bounded, func() { cancel(context.Cause(bounded)) })
	v, err := f(ctx)
	stop()
	return v, err
}

// Events tells of the changes of sero's containers. While the engine is away
// nothing is told; when it is back, everything may have changed.
func (d *Driver) Events(ctx context.Context, report func(driver.Event) error) error {
	for first := true; ; first = false {
		err := d.events(ctx, !first, report)
		if failed, ok := errors.AsType[*reportError](err); ok {
			return failed.err
		}
		if ctx.Err() != nil {
			return ctxError(ctx)
		}
		if driver.ReasonOf(err) == driver.Canceled {
			return err
		}
		select {
		case <-d.closed:
			return errClosed()
		case <-ctx.Done():
			return ctxError(ctx)
		case <-time.After(lookTrouble):
		}
	}
}

// reportError is the end of a stream whose reader fails.
type reportError struct{ err error }

// Error is the reader's.
func (e *reportError) Error() string { return e.err.Error() }

func (d *Driver) events(ctx context.Context, resync bool, report func(driver.Event) error) error {
	c, err := d.engine.connect(ctx)
	if err != nil {
		return err
	}
	filter := client.Filters{}.Add("type", string(events.ContainerEventType)).Add("label", driver.LabelManaged+"=true").
		Add("event", "create", "start", "unpause", "die", "destroy", "remove")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stream := c.Events(ctx, client.EventsListOptions{Filters: filter})
	if resync {
		if err := report(driver.Event{Type: driver.EventResync, Time: time.Now()}); err != nil {
			return &reportError{err}
		}
	}
	for {
		select {
		case <-d.closed:
			return errClosed()
		case err := <-stream.Err:
			d.engine.drop(c)
			return err
		case m := <-stream.Messages:
			event := driver.Event{Type: eventTypes[m.Action], SandboxID: m.Actor.Attributes["name"], Time: time.Unix(0, m.TimeNano)}
			if err := report(event); err != nil {
				return &reportError{err}
			}
		}
	}
}

var eventTypes = map[events.Action]driver.EventType{
	events.ActionCreate: driver.EventCreated, events.ActionStart: driver.EventStarted, events.ActionUnPause: driver.EventStarted,
	events.ActionDie: driver.EventStopped, events.ActionDestroy: driver.EventRemoved,
	events.ActionRemove: driver.EventRemoved, // Podman's word for it
}
