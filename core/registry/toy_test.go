package registry_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sero-labs/sero-runtime/core/event"
	"github.com/sero-labs/sero-runtime/core/registry"
	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/serve"
)

// The test binary is the drivers too: "driver MODE NAME".
func TestMain(m *testing.M) {
	if len(os.Args) != 4 || os.Args[1] != "driver" {
		goleak.VerifyTestMain(m)
		return
	}
	d := toy{mode: os.Args[2], name: os.Args[3]}
	switch d.mode {
	case "garbage":
		fmt.Fprintln(os.Stdout, "hello, I am a chatty driver")
	case "stderr-json":
		fmt.Fprintln(os.Stderr, `{"@message":1}`)
	case "wire-2":
		fmt.Fprintln(os.Stdout, "1|2|unix|/nowhere|grpc|")
		time.Sleep(time.Minute)
	case "hang":
		time.Sleep(time.Minute)
	case "exit":
		fmt.Fprintln(os.Stderr, "no engine in sight")
		syscall.Exit(3)
	}
	serve.Main(d)
}

// asked counts the times that this process was asked for its health.
var asked atomic.Int32

// toy is a small driver; its mode says what is wrong with it.
type toy struct {
	driver.Driver
	mode, name string
}

func (d toy) Info() driver.Info {
	info := driver.Info{Name: d.name, Version: "1.2.3", Description: "a toy", Isolation: driver.IsolationSharedKernel}
	switch d.mode {
	case "host":
		info.Isolation = driver.IsolationNone
	case "wants-99":
		info.HostConstraint = ">= 99"
	case "steers":
		info.Description, info.Isolation = "\x1b[2Jcleared", 42
		info.Facts = []driver.Capability{"x-evil\x1b[2J/one@1", "x-acme.com/gpu@1"}
	case "builder":
		info.Facts = []driver.Capability{driver.CapImageBuild}
	}
	return info
}

func (d toy) Schema() string { return `{"type":"object"}` }

func (d toy) Configure(_ context.Context, settings []byte, _ bool) error {
	if string(settings) == `{"bad":true}` {
		e := driver.Errorf(driver.ConfigInvalid, "bad must be false")
		e.Field = "bad"
		return e
	}
	return nil
}

func (d toy) Health(ctx context.Context, report func(driver.Health) error) error {
	state := driver.Health{State: driver.HealthReady, Attributes: map[string]string{"settings": "\x1b[31m"}}
	switch d.mode {
	case "no-health":
		<-ctx.Done()
		return ctx.Err()
	case "ends-health":
		if err := report(state); err != nil {
			return err
		}
		return nil
	case "unwell":
		state = driver.Health{State: driver.HealthWedged, Reason: driver.EngineWedged, Message: "the engine sleeps", Remedies: []driver.Remedy{{Text: "wake it", Command: []string{"wake", "up"}}, {Text: "x", Command: []string{"evil\x1b[2J"}}}}
	case "future":
		state = driver.Health{State: 77}
	case "slow-look": // an engine that hangs: what was said of it first is all there is
		state = driver.Health{State: driver.HealthWedged, Reason: driver.EngineWedged, Message: "the engine sleeps", Remedies: []driver.Remedy{{Text: "wake it"}}}
		if asked.Add(1) > 1 {
			<-ctx.Done()
			return ctx.Err()
		}
	}
	if err := report(state); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (d toy) Get(ctx context.Context, id string) (driver.Sandbox, error) {
	switch id {
	case "pid":
		return driver.Sandbox{ID: id, Instance: fmt.Sprint(os.Getpid())}, nil
	case "env":
		return driver.Sandbox{ID: id, WorkspaceDir: strings.Join(os.Environ(), " ")}, nil
	case "slow":
		<-ctx.Done()
		return driver.Sandbox{}, ctx.Err()
	case "crash":
		slog.Error("these are my last words")
		syscall.Exit(7)
	case "other":
		return driver.Sandbox{ID: "sero-another"}, nil
	case "escape":
		return driver.Sandbox{ID: id, Image: "\x1b[2J"}, nil
	case "huge":
		return driver.Sandbox{ID: id, Instance: strings.Repeat("x", 1<<20)}, nil
	case "address":
		return driver.Sandbox{ID: id, Addresses: []string{"here"}}, nil
	case "future":
		return driver.Sandbox{ID: id, State: 99}, nil
	case "foreign-label":
		return driver.Sandbox{ID: id, Labels: map[string]string{"com.example": "two\nlines"}}, nil
	case "own-label":
		return driver.Sandbox{ID: id, Labels: map[string]string{driver.LabelManaged: "two\nlines"}}, nil
	}
	return driver.Sandbox{}, driver.Errorf(driver.NotFound, "no sandbox %s", id).About(id).
		Remedy("make one", "sero", "up").Remedy("or not", "rm\x1b[2J")
}

func (d toy) List(_ context.Context, labels map[string]string) ([]driver.Sandbox, error) {
	switch labels["which"] {
	case "twice":
		return []driver.Sandbox{{ID: "a", Labels: labels}, {ID: "a", Labels: labels}}, nil
	case "unlabelled":
		return []driver.Sandbox{{ID: "a"}}, nil
	}
	return []driver.Sandbox{{ID: "a", Labels: labels}, {ID: "b", Labels: labels}}, nil
}

func (d toy) Stop(ctx context.Context, _ string, grace time.Duration) error {
	select {
	case <-time.After(grace):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d toy) Exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	stdio.Started(int64(os.Getpid()))
	switch spec.Argv[0] {
	case "flood":
		for range 5000 {
			fmt.Fprintln(os.Stdout, strings.Repeat("noise ", 100))
		}
	case "bad-exit":
		return driver.ExitStatus{Code: 4711}, nil
	case "wait":
		slog.Info("waiting for Godot")
		<-ctx.Done()
		return driver.ExitStatus{}, ctx.Err()
	}
	return driver.ExitStatus{Code: 3}, nil
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func bundled(t *testing.T, name, mode string) registry.Bundled {
	t.Helper()
	return registry.Bundled{Name: name, Path: self(t), Args: []string{"driver", mode, name}}
}

// install writes a driver's binary into a directory: a script that runs this one.
func install(t *testing.T, dir, name, mode string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, registry.Prefix+name)
	script := fmt.Sprintf("#!/bin/sh\nexec '%s' driver %s %s\n", self(t), mode, name)
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// seen collects events.
type seen struct {
	mu     sync.Mutex
	events []string
}

func (s *seen) add(kind event.Type, name, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, fmt.Sprintf("%s %s: %s", kind, name, message))
}

func (s *seen) count(prefix string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(s.events), func(e string) bool { return !strings.HasPrefix(e, prefix) }))
}

// open makes a registry that the test ends, and sees that nothing is left.
func open(t *testing.T, c registry.Config) *registry.Registry {
	t.Helper()
	dir, err := os.MkdirTemp("", "sr") //nolint:usetesting // short: sockets live below it
	if err != nil {
		t.Fatal(err)
	}
	c.RunDir = dir
	c.HostVersion = "0.1.0-dev"
	if c.Log == nil && testing.Verbose() {
		c.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	r := registry.New(c)
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() {
		_ = r.Close(ctx)
		if left, _ := filepath.Glob(filepath.Join(dir, "d", "*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		_ = os.RemoveAll(dir)
	})
	return r
}

func get(t *testing.T, r *registry.Registry, name string) driver.Driver {
	t.Helper()
	d, err := r.Driver(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// eventually polls until ok, for what another process must do first.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func entry(t *testing.T, r *registry.Registry, name string) registry.Entry {
	t.Helper()
	for _, e := range r.Entries() {
		if e.Name == name {
			return e
		}
	}
	t.Fatalf("no entry for %s in %v", name, r.Entries())
	return registry.Entry{}
}
