package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func TestB6Capabilities(t *testing.T) {
	want := []driver.Capability{driver.CapExecSignal, driver.CapExecTTY, driver.CapExec, driver.CapNetListeners}
	if diff := cmp.Diff(want, driver.Capabilities(newDriver(t))); diff != "" {
		t.Error(diff)
	}
	if got := newDriver(t).Info().Isolation; got != driver.IsolationNone {
		t.Errorf("isolation is %s", got)
	}
}

func TestB6RefusesWhatItLacks(t *testing.T) {
	d := newDriver(t)
	dir := t.TempDir()
	for name, change := range map[string]func(*driver.SandboxSpec){
		"mount":   func(s *driver.SandboxSpec) { s.Mounts = []driver.Mount{{Source: dir, Target: "/x"}} },
		"cpu":     func(s *driver.SandboxSpec) { s.Resources.CPUs = 1 },
		"memory":  func(s *driver.SandboxSpec) { s.Resources.MemoryBytes = 1 << 30 },
		"publish": func(s *driver.SandboxSpec) { s.Publish = []driver.PublishedPort{{SandboxPort: 80}} },
		"agent":   func(s *driver.SandboxSpec) { s.ForwardSSHAgent = true },
	} {
		spec := driver.SandboxSpec{ID: "sero-x", WorkspaceDir: dir}
		change(&spec)
		_, err := d.Create(t.Context(), spec)
		if driver.ReasonOf(err) != driver.Unsupported {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all, err := d.List(t.Context(), nil); err != nil || len(all) > 0 {
		t.Errorf("it made %v, %v", all, err)
	}
}

func TestHealth(t *testing.T) {
	d := newDriver(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	err := d.Health(ctx, func(h driver.Health) error {
		if h.State != driver.HealthReady || h.Attributes["os"] == "" || h.Attributes["kernel"] == "" {
			t.Errorf("got %+v", h)
		}
		cancel(nil)
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	broken := errors.New("broken")
	if err := d.Health(t.Context(), func(driver.Health) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestLifecycle(t *testing.T) {
	d := newDriver(t)
	ctx := t.Context()
	dir := t.TempDir()
	spec := driver.SandboxSpec{ID: "sero-a", WorkspaceDir: dir, Labels: map[string]string{"k": "v", driver.LabelManaged: "true"}}
	want := driver.Sandbox{ID: "sero-a", State: driver.SandboxStopped, Labels: spec.Labels, WorkspaceDir: dir}
	ignore := cmpopts.IgnoreFields(driver.Sandbox{}, "Instance", "Created", "Started")
	check := func(step string, got driver.Sandbox, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		if diff := cmp.Diff(want, got, ignore); diff != "" {
			t.Fatalf("%s: %s", step, diff)
		}
	}
	var instance string
	for range 10 { // idempotent
		got, err := d.Create(ctx, spec)
		check("create", got, err)
		if instance != "" && got.Instance != instance {
			t.Fatal("another instance")
		}
		instance = got.Instance
	}
	other := spec
	other.Labels = map[string]string{"k": "other"}
	_, err := d.Create(ctx, other)
	wantReason(t, err, driver.AlreadyExists, "")
	got, err := d.Get(ctx, "sero-a")
	check("get", got, err)
	if err := d.Stop(ctx, "sero-a", time.Second); err != nil {
		t.Fatal(err)
	}
	want.State = driver.SandboxRunning
	for range 10 {
		got, err = d.Start(ctx, "sero-a")
		check("start", got, err)
	}
	wantReason(t, d.Remove(ctx, "sero-a", false), driver.NotStopped, "")
	want.State = driver.SandboxStopped
	for range 10 {
		if err := d.Stop(ctx, "sero-a", time.Second); err != nil {
			t.Fatal(err)
		}
	}
	got, err = d.Get(ctx, "sero-a")
	check("get", got, err)
	if _, err = d.Start(ctx, "sero-a"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keep"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := d.Remove(ctx, "sero-a", true); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "keep")); err != nil {
		t.Error("the workspace's files are gone")
	}
	_, err = d.Get(ctx, "sero-a")
	wantReason(t, err, driver.NotFound, "")
	_, err = d.Start(ctx, "sero-a")
	wantReason(t, err, driver.NotFound, "")
	wantReason(t, d.Stop(ctx, "sero-a", 0), driver.NotFound, "")
	got, err = d.Create(ctx, spec)
	check("create anew", got, err)
	if got.Instance == instance {
		t.Error("the same instance")
	}
}

func TestList(t *testing.T) {
	d := newDriver(t)
	for _, id := range []string{"sero-b", "sero-a", "sero-c"} {
		spec := driver.SandboxSpec{ID: id, WorkspaceDir: t.TempDir(), Labels: map[string]string{"all": "1", "id": id}}
		if _, err := d.Create(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		labels map[string]string
		want   []string
	}{
		{nil, []string{"sero-a", "sero-b", "sero-c"}},
		{map[string]string{"all": "1"}, []string{"sero-a", "sero-b", "sero-c"}},
		{map[string]string{"all": "1", "id": "sero-b"}, []string{"sero-b"}},
		{map[string]string{"absent": ""}, nil},
	} {
		sandboxes, err := d.List(t.Context(), tt.labels)
		var got []string
		for _, s := range sandboxes {
			got = append(got, s.ID)
			s.Labels["all"] = "changed" // a copy
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Error(tt.labels, diff, err)
		}
	}
}

func TestCreateRefused(t *testing.T) {
	d := newDriver(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{
		"", "../x", "-rf", "a/b", "a\x00b", "a\nb", "A", "sero-", "-", ".", "..", "а-cyrillic", strings.Repeat("a", 64), strings.Repeat("a", 10000), "a_b", "a b",
	} {
		_, err := d.Create(t.Context(), driver.SandboxSpec{ID: id, WorkspaceDir: dir})
		wantReason(t, err, driver.NameInvalid, "id")
		_, err = d.Get(t.Context(), id)
		wantReason(t, err, driver.NameInvalid, "id")
		wantReason(t, d.Remove(t.Context(), id, true), driver.NameInvalid, "id")
	}
	for _, tt := range []struct {
		dir    string
		env    []driver.EnvVar
		reason driver.Reason
		field  string
	}{
		{"", nil, driver.InvalidArgument, "workspace_dir"},
		{"relative", nil, driver.InvalidArgument, "workspace_dir"},
		{"/nul\x00", nil, driver.InvalidArgument, "workspace_dir"},
		{dir + "/absent", nil, driver.MountDenied, "workspace_dir"},
		{file, nil, driver.InvalidArgument, "workspace_dir"},
		{file + "/x", nil, driver.InvalidArgument, "workspace_dir"},
		{dir, []driver.EnvVar{{Name: "1A"}}, driver.InvalidArgument, "env[0].name"},
		{dir, []driver.EnvVar{{Name: "A", Value: "s3cret\x00", Secret: true}}, driver.InvalidArgument, "env[0].value"},
	} {
		_, err := d.Create(t.Context(), driver.SandboxSpec{ID: "sero-x", WorkspaceDir: tt.dir, Env: tt.env})
		wantReason(t, err, tt.reason, tt.field)
		if strings.Contains(err.Error(), "s3cret") {
			t.Error("B42: the message shows a value")
		}
	}
	if all, _ := d.List(t.Context(), nil); len(all) > 0 {
		t.Errorf("it made %v", all)
	}
	if _, err := os.Stat(dir + "/absent"); err == nil {
		t.Error("it made the directory")
	}
}

func TestLifecycleConcurrently(t *testing.T) {
	d := newDriver(t)
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			ctx := t.Context()
			id := fmt.Sprintf("sero-%d", i%3)
			for range 10 {
				_, err := d.Create(ctx, driver.SandboxSpec{ID: id, WorkspaceDir: dir})
				if err != nil {
					t.Error(err)
				}
				_, _ = d.Start(ctx, id)
				_, _ = d.Exec(ctx, driver.ExecSpec{SandboxID: id, Argv: []string{"true"}}, driver.ExecIO{})
				_ = d.Stop(ctx, id, 0)
				if err := d.Remove(ctx, id, true); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if all, _ := d.List(t.Context(), nil); len(all) > 0 {
		t.Errorf("left: %v", all)
	}
}

func TestSandboxesDoNotWaitForEachOther(t *testing.T) {
	b := newBox(t)
	spec := driver.SandboxSpec{ID: "sero-other", WorkspaceDir: t.TempDir()}
	if _, err := b.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	out := newLines()
	_, done := b.background(t.Context(), b.script("trap '' TERM; echo ready; while :; do sleep 0.05; done"), driver.ExecIO{Stdout: out})
	out.want(t, "ready")
	stopped := make(chan error, 1)
	go func() { stopped <- b.Stop(t.Context(), b.id, patience/2) }()
	eventually(t, "stopping", func() bool {
		return driver.ReasonOf(b.run(b.spec("true"), nil).err) == driver.NotRunning
	})
	if _, err := b.Start(t.Context(), spec.ID); err != nil {
		t.Fatal(err)
	}
	b.must(driver.ExecSpec{SandboxID: spec.ID, Argv: []string{"true"}}, nil)
	if _, err := b.Get(t.Context(), b.id); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-stopped:
		t.Fatalf("the stop is over: %v", err)
	default:
	}
	// A caller that waits for its turn gives up with its context.
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, errors.New("enough"))
	defer cancel()
	_, err := b.Start(ctx, b.id)
	wantReason(t, err, driver.Timeout, "")
	if err := b.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	b.wait(done)
}
