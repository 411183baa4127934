package applecontainer

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil"
	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standintest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// health waits for a report of a state.
func (b *box) health(state driver.HealthState) driver.Health {
	b.t.Helper()
	ctx, cancel := context.WithTimeoutCause(b.t.Context(), patience, errors.New("no such report"))
	defer cancel()
	var last driver.Health
	seen := errors.New("seen")
	err := b.Health(ctx, func(h driver.Health) error {
		if last = h; h.State == state {
			return seen
		}
		return nil
	})
	if !errors.Is(err, seen) {
		b.t.Fatalf("the last report was %+v: %v", last, err)
	}
	if state != driver.HealthReady && (last.Reason == "" || last.Message == "" || len(last.Remedies) == 0) {
		b.t.Errorf("%s has no reason, message or remedy: %+v", state, last)
	}
	return last
}

// TestB16SystemIsStartedOnce: an installed system that is stopped is started, once
// for all who ask, with progress and without a question.
func TestB16SystemIsStartedOnce(t *testing.T) {
	for _, version := range standintest.Versions {
		t.Run(version, func(t *testing.T) {
			b := newBox(t, version, standintest.Stopped(), standintest.Alone())
			b.health(driver.HealthStopped)
			_, err := b.List(t.Context(), nil)
			wantReason(t, err, driver.EngineNotRunning)
			b.Fault("kernel-missing")
			var all sync.WaitGroup
			var mu sync.Mutex
			steps := 0
			for range 5 {
				all.Go(func() {
					err := b.StartSystem(t.Context(), func(driver.Progress) {
						mu.Lock()
						defer mu.Unlock()
						steps++
					})
					if err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			started := 0
			for _, call := range b.Journal() {
				if strings.HasPrefix(strings.Join(call.Argv, " "), "system start") {
					started++
				}
			}
			if started != 1 || steps == 0 {
				t.Errorf("it was started %d times, with %d reports of progress", started, steps)
			}
			b.health(driver.HealthReady)
			b.running("sero-after")
		})
	}
}

// TestB17Broken: what can never start again is Corrupt, and a removal by force
// makes room for a new one. Before 0.10 a ghost can only be removed by a restart
// of the system, which the driver does not do: that is one clear error.
func TestB17Broken(t *testing.T) {
	for _, version := range standintest.Versions {
		t.Run(version, func(t *testing.T) {
			b := newBox(t, version)
			for _, how := range []string{"ghost", "ghost-inspectable", "storage-gone"} {
				id := "sero-" + how
				spec := b.spec(id)
				if _, err := b.Create(t.Context(), spec); err != nil {
					t.Fatal(err)
				}
				b.Fault(how + "=" + id)
				_, err := b.Start(t.Context(), id)
				if reason := driver.ReasonOf(err); reason != driver.Corrupt && reason != driver.NotFound {
					t.Errorf("%s: Start: %v", how, err)
				}
				err = b.Remove(t.Context(), id, true)
				if version == "0.9.0" && how != "storage-gone" {
					wantReason(t, err, driver.Corrupt)
					continue
				}
				if err != nil {
					t.Errorf("%s: Remove: %v", how, err)
				}
				b.running(id)
			}
		})
	}
}

// TestB17StaleName: a name that is taken although nothing is listed under it.
func TestB17StaleName(t *testing.T) {
	b := newBox(t, current)
	const id = "sero-stale"
	b.running(id)
	if err := b.Stop(t.Context(), id, 0); err != nil {
		t.Fatal(err)
	}
	b.Fault("stale-name=" + id)
	_, err := b.Create(t.Context(), b.spec(id))
	wantReason(t, err, driver.Corrupt)
}

// TestB18Foreign: another person's container under our name is never touched.
func TestB18Foreign(t *testing.T) {
	b := newBox(t, current)
	const id = "sero-foreign"
	if r := b.Run("create", "--name", id, "--label", "owner=somebody", "--entrypoint", "/bin/sleep", "sero-node:latest", "infinity"); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	ctx := t.Context()
	_, err := b.Create(ctx, b.spec(id))
	wantReason(t, err, driver.ForeignResource)
	_, err = b.Start(ctx, id)
	wantReason(t, err, driver.ForeignResource)
	wantReason(t, b.Stop(ctx, id, time.Second), driver.ForeignResource)
	wantReason(t, b.Remove(ctx, id, true), driver.ForeignResource)
	if sb, err := b.Get(ctx, id); err != nil || sb.Labels["owner"] != "somebody" || sb.State != driver.SandboxStopped {
		t.Errorf("%+v, %v", sb, err)
	}
}

// TestTransient: what passes by itself is tried again, and not for ever.
func TestTransient(t *testing.T) {
	b := newBox(t, current)
	const id = "sero-transient"
	b.Fault("start-fails=2;no-address=3")
	if sb := b.running(id); len(sb.Addresses) == 0 {
		t.Errorf("%+v", sb)
	}
	b.Fault("xpc-interrupted=1")
	if _, err := b.Get(t.Context(), id); err != nil {
		t.Error(err)
	}
	b.Fault("delete-fails=2")
	if err := b.Remove(t.Context(), id, true); err != nil {
		t.Error(err)
	}
	b.Fault("start-fails=9")
	if _, err := b.Create(t.Context(), b.spec(id)); err != nil {
		t.Fatal(err)
	}
	_, err := b.Start(t.Context(), id)
	if e := wantReason(t, err, driver.Internal); !e.Retryable {
		t.Errorf("%+v", e)
	}
}

// TestUnreadable: half of a document is asked for again and then an error, never
// an empty list; a document of another release is read.
func TestUnreadable(t *testing.T) {
	b := newBox(t, current)
	const id = "sero-json"
	b.running(id)
	b.Fault("half-json")
	_, err := b.List(t.Context(), nil)
	wantReason(t, err, driver.Internal)
	_, err = b.Get(t.Context(), id)
	wantReason(t, err, driver.Internal)
	for _, version := range standintest.Versions {
		b.Fault("json-version=" + version)
		if sb, err := b.Get(t.Context(), id); err != nil || sb.State != driver.SandboxRunning || len(sb.Addresses) == 0 {
			t.Errorf("%s: %+v, %v", version, sb, err)
		}
	}
}

// TestB13ImageMissing: nothing is pulled behind the caller's back.
func TestB13ImageMissing(t *testing.T) {
	b := newBox(t, current)
	b.Fault("images-missing")
	_, err := b.Create(t.Context(), b.spec("sero-image"))
	wantReason(t, err, driver.ImageNotFound)
	for _, call := range b.Journal() {
		if call.Argv[0] == "create" {
			t.Errorf("create was called: %q", call.Argv)
		}
	}
	_, err = b.EnsureImage(t.Context(), "sero-node:latest", driver.PullMissing, func(driver.Progress) {})
	wantReason(t, err, driver.ImageNotFound)
}

// TestFImageGoesBetweenListAndInspect: it is left out, and the others are there,
// with each release. Issue 6, row F.
func TestFImageGoesBetweenListAndInspect(t *testing.T) {
	for _, version := range standintest.Versions {
		t.Run(version, func(t *testing.T) {
			b := newBox(t, version)
			want, err := b.ListImages(t.Context(), nil)
			if err != nil || len(want) == 0 {
				t.Fatalf("%+v, %v", want, err)
			}
			b.Fault("image-goes=sero-gone:between")
			got, err := b.ListImages(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			names := func(images []driver.Image) (all []string) {
				for _, i := range images {
					all = append(all, i.Reference)
				}
				return all
			}
			if !slices.Equal(names(got), names(want)) {
				t.Errorf("it lists %v, want %v", names(got), names(want))
			}
			none, err := b.ListImages(t.Context(), map[string]string{"sero.no-image-has": "this"})
			if err != nil || len(none) > 0 {
				t.Errorf("%+v, %v", none, err)
			}
		})
	}
}

// TestSubnetChanges: addresses are asked for each time.
func TestSubnetChanges(t *testing.T) {
	b := newBox(t, current, standintest.Alone())
	before := b.running("sero-subnet")
	if r := b.Run("system", "stop"); r.Code != 0 {
		t.Fatalf("%+v", r)
	}
	b.Fault("subnet-changed")
	if err := b.StartSystem(t.Context(), func(driver.Progress) {}); err != nil {
		t.Fatal(err)
	}
	after, err := b.Start(t.Context(), "sero-subnet")
	if err != nil || after.Gateway == before.Gateway || after.Gateway == "" || after.Instance != before.Instance {
		t.Errorf("%+v, then %+v, %v", before, after, err)
	}
}

// TestOtherMachines: where there can be no such CLI, health says so at once and
// nothing is run.
func TestOtherMachines(t *testing.T) {
	if runtime.GOOS == "darwin" && runtime.GOARCH == "arm64" {
		testutil.Missing(t, "linux", "this is the machine that the CLI is made for")
	}
	t.Setenv(pathEnv, "")
	d := New()
	b := &box{Driver: d, t: t}
	defer d.Shutdown(context.Background()) //nolint:errcheck // nothing runs
	b.health(driver.HealthUnsupported)
	_, err := d.List(t.Context(), nil)
	wantReason(t, err, driver.Unsupported)
}

func TestNotInstalled(t *testing.T) {
	t.Setenv(pathEnv, t.TempDir()+"/none")
	d := New()
	b := &box{Driver: d, t: t}
	defer d.Shutdown(context.Background()) //nolint:errcheck // nothing runs
	b.health(driver.HealthNotInstalled)
	_, err := d.Get(t.Context(), "sero-x")
	wantReason(t, err, driver.EngineNotInstalled)
}

// TestUpgrade: another CLI at the same path is noticed, and spoken to as such.
func TestUpgrade(t *testing.T) {
	b := newBox(t, "0.9.0")
	if h := b.health(driver.HealthReady); h.Attributes["engine.version"] != "0.9.0" {
		t.Errorf("%+v", h)
	}
	b.Upgrade(current)
	if err := os.Chtimes(b.Path, time.Time{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if h := b.health(driver.HealthReady); h.Attributes["engine.version"] != current || h.Attributes["engine.dialect"] != "1.2.0" {
		t.Errorf("%+v", h)
	}
}
