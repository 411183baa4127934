package registry

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/launch"
)

// healthPace is the least time between two reports that are taken: a driver
// that reports without pause is slowed down.
const healthPace = 50 * time.Millisecond

// launch starts the process, agrees with it and hands it its settings. Nothing
// is left of it when that fails.
func (s *supervisor) launch(ctx context.Context) (*launch.Process, *driver.Error) {
	c := &s.registry.config
	found := identify(s.path())
	s.mu.Lock()
	s.binary.identity = found
	b := s.binary
	s.mu.Unlock()
	file, unusable := b.open()
	if unusable != nil {
		return nil, s.named(unusable)
	}
	defer func() { _ = file.Close() }() // once it runs; nil does no harm
	if err := b.checkPin(file, c.Pins[s.name]); err != nil {
		return nil, s.named(err)
	}
	p, err := launch.Start(ctx, launch.Config{
		Name: s.name, Path: b.path, File: file, Args: b.args, Env: c.environment, RunDir: c.RunDir,
		HostVersion: c.HostVersion, HostCapabilities: c.HostCapabilities, StartTimeout: c.StartTimeout, Log: c.Log,
	})
	if err != nil {
		return nil, s.named(err)
	}
	handshake := cleanHandshake(p.Handshake())
	s.mu.Lock()
	s.handshake = &handshake // shown even if there is no agreement
	s.mu.Unlock()
	if err := s.agree(ctx, p); err != nil {
		_ = p.Close(context.WithoutCancel(ctx))
		return nil, s.named(err)
	}
	return p, nil
}

// path is where the driver's binary is.
func (s *supervisor) path() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.binary.path
}

func (s *supervisor) agree(ctx context.Context, p *launch.Process) error {
	c := &s.registry.config
	h := p.Handshake()
	host := negotiate.Host{Version: c.HostVersion, Platform: c.platform, SDKs: negotiate.SDKs, Drivers: c.Constraints}
	err := negotiate.CheckVersions(host, negotiate.Handshake{
		Info: h.Info, SDKName: h.SDKName, SDKVersion: h.SDKVersion, Capabilities: h.Capabilities,
	})
	if err != nil {
		return err
	}
	within := c.limit("Configure").within
	ctx, cancel := context.WithTimeoutCause(ctx, within, noAnswer("Configure", within))
	defer cancel()
	return p.Configure(ctx, c.Settings[s.name], false)
}

// named is an error as one of this driver.
func (s *supervisor) named(err error) *driver.Error {
	e := *cleanError(driver.AsError(err))
	if e.Driver == "" {
		e.Driver = s.name
	}
	return &e
}

// watchHealth keeps the health of a process, opening the stream again when the
// driver ends it.
func (s *supervisor) watchHealth(ctx context.Context, p *launch.Process) {
	delays := backoff.NewExponentialBackOff()
	delays.InitialInterval, delays.MaxInterval = s.registry.config.Policy.MinDelay, s.registry.config.Policy.MaxDelay
	for {
		err := p.Health(ctx, func(h driver.Health) error {
			s.healthReported(p, cleanHealth(h))
			return pause(ctx, healthPace)
		})
		if ctx.Err() != nil || exited(p) {
			return
		}
		e := s.named(err)
		s.healthReported(p, driver.Health{
			State: driver.HealthUnknown, Reason: e.Reason,
			Message: "its health is not known: " + e.Message, Remedies: e.Remedies,
		})
		if pause(ctx, delays.NextBackOff()) != nil {
			return
		}
	}
}

// errLooked ends a health stream after its first report.
var errLooked = errors.New("looked")

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *supervisor) healthReported(p *launch.Process, h driver.Health) {
	s.mu.Lock()
	defer s.unlock()
	if s.process != p {
		return
	}
	first := false
	select {
	case <-s.reported:
	default:
		first = true
		close(s.reported)
	}
	if first || s.health.State != h.State {
		message := h.State.String()
		if h.Message != "" {
			message += ": " + h.Message
		}
		s.notify(event.DriverHealth, message)
	}
	s.health = h
}

var reasonPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`) })

// cleanHealth bounds what a driver says about its runtime. What a call would
// fail with is its to say; that it says so in a known form is not.
func cleanHealth(h driver.Health) driver.Health {
	if h.Reason != "" && !reasonPattern().MatchString(string(h.Reason)) {
		h.Reason = driver.Internal
	}
	if h.State == driver.HealthUnknown && h.Message == "" {
		h.Message = "it reports a state that this sero does not know"
	}
	h.Remedies = cleanRemedies(h.Remedies)
	attributes := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(h.Attributes)) {
		if len(attributes) < maxAttributes && plain(name, maxName) {
			attributes[name] = printable(h.Attributes[name])
		}
	}
	h.Attributes = attributes
	return h
}

// cleanHandshake bounds what a driver says of itself. An isolation that is not
// known is none.
func cleanHandshake(h launch.Handshake) launch.Handshake {
	h.Info.Version, h.SDKName, h.SDKVersion = printable(h.Info.Version), printable(h.SDKName), printable(h.SDKVersion)
	h.Info.Description, h.Info.HostConstraint = printable(h.Info.Description), printable(h.Info.HostConstraint)
	if h.Info.Isolation < driver.IsolationNone || h.Info.Isolation > driver.IsolationVM {
		h.Info.Isolation = driver.IsolationNone
	}
	var capabilities []driver.Capability
	for _, c := range h.Capabilities {
		if plain(string(c), maxName) && len(capabilities) < maxCapabilities {
			capabilities = append(capabilities, c)
		}
	}
	slices.Sort(capabilities)
	h.Capabilities = slices.Compact(capabilities)
	h.Info.Facts = h.Capabilities
	if len(h.ConfigSchema) > maxSchema {
		h.ConfigSchema = ""
	}
	return h
}

// cleanError bounds what an error of a driver asks a person to run.
func cleanError(e *driver.Error) *driver.Error {
	clean := *e
	if !reasonPattern().MatchString(string(e.Reason)) {
		clean.Reason = driver.Internal
	}
	clean.Remedies = cleanRemedies(e.Remedies)
	if clean.Message == "" {
		clean.Message = "it failed with " + string(clean.Reason) + " and no message"
	}
	return &clean
}

func cleanRemedies(remedies []driver.Remedy) []driver.Remedy {
	return slices.DeleteFunc(slices.Clone(remedies), func(r driver.Remedy) bool {
		return len(r.Command) > 64 || !plain(r.Text, maxText) ||
			slices.ContainsFunc(r.Command, func(word string) bool { return !plain(word, maxText) })
	})
}
