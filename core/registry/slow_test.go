package registry_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/negotiate"
	"github.com/sero-labs/sero-runtime/core/registry"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func offerOf(offers []negotiate.Offer, name string) negotiate.Offer {
	for _, o := range offers {
		if o.Name == name {
			return o
		}
	}
	return negotiate.Offer{}
}

// E: a driver that was waited for in vain holds up no later list, is named in each,
// and is shown as ready once it is.
func TestESlowDriverHoldsUpNoLaterList(t *testing.T) {
	for _, mode := range []string{"hang", "no-health", "slow-look"} {
		t.Run(mode, func(t *testing.T) {
			r := open(t, registry.Config{
				Bundled:    []registry.Bundled{bundled(t, "slow", mode), bundled(t, "good", "good")},
				HealthWait: time.Second, StartTimeout: time.Minute,
			})
			eventually(t, "the slow one was waited for, and the good one is ready", func() bool {
				offers := r.Survey(t.Context())
				return negotiate.Unusable(offerOf(offers, "good")) == nil && negotiate.Unusable(offerOf(offers, "slow")) != nil
			})
			begun := time.Now()
			for range 20 {
				offers := r.Survey(t.Context())
				if len(offers) != 2 || negotiate.Unusable(offerOf(offers, "good")) != nil {
					t.Fatalf("%+v", offers)
				}
				why := negotiate.Unusable(offerOf(offers, "slow"))
				if why == nil || why.Driver != "slow" || why.Message == "" || len(why.Remedies) == 0 {
					t.Fatalf("the slow one is shown as %+v", why)
				}
			}
			if took := time.Since(begun); took > 10*time.Second {
				t.Errorf("twenty lists took %s", took)
			}
		})
	}
}

// E: a driver that took long is shown as ready once it is.
func TestESlowDriverIsShownReadyOnceItIs(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, registry.Prefix+"slow")
	goOn := filepath.Join(dir, "go-on")
	script := fmt.Sprintf("#!/bin/sh\nwhile [ ! -e '%s' ]; do sleep 0.05; done\nexec '%s' driver good slow\n", goOn, self(t))
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	r := open(t, registry.Config{UserDir: dir, HealthWait: 100 * time.Millisecond, StartTimeout: time.Minute})
	if why := negotiate.Unusable(offerOf(r.Survey(t.Context()), "slow")); why == nil || why.Reason != driver.Timeout {
		t.Errorf("%v", why)
	}
	if err := os.WriteFile(goOn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is ready", func() bool {
		return negotiate.Unusable(offerOf(r.Survey(t.Context()), "slow")) == nil && entry(t, r, "slow").Usable()
	})
}

// E: while a driver that could not be started is tried again, it stays unusable, with
// the reason.
func TestEUnusableDriverStaysUnusable(t *testing.T) {
	for name, ending := range map[string]string{"hangs": "sleep 60", "ends late": "sleep 0.3; echo no engine >&2; exit 3", "ends": "echo no engine >&2; exit 3"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			starts := filepath.Join(dir, "starts")
			script := fmt.Sprintf("#!/bin/sh\necho >>'%s'\n%s\n", starts, ending)
			if err := os.WriteFile(filepath.Join(dir, registry.Prefix+"bad"), []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			r := open(t, registry.Config{
				UserDir: dir, HealthWait: 50 * time.Millisecond, StartTimeout: time.Second,
				Policy: registry.Policy{MinDelay: time.Millisecond, MaxDelay: 2 * time.Millisecond},
			})
			eventually(t, "it is unusable", func() bool {
				r.Survey(t.Context())
				return entry(t, r, "bad").State == registry.StateUnusable
			})
			first := entry(t, r, "bad").Problem
			eventually(t, "it was tried four times", func() bool {
				why := negotiate.Unusable(offerOf(r.Survey(t.Context()), "bad"))
				if e := entry(t, r, "bad"); e.State != registry.StateUnusable || e.Problem == nil || e.Problem.Message != first.Message || e.Usable() {
					t.Fatalf("it is %s, %v", e.State, e.Problem)
				}
				if why == nil || why.Reason != driver.DriverFailed || why.Message != first.Message {
					t.Fatalf("it is offered with %v", why)
				}
				text, err := os.ReadFile(starts)
				return err == nil && strings.Count(string(text), "\n") >= 4
			})
		})
	}
}

// E: a choice that is made waits for no driver that could not be chosen.
func TestEChoiceWaitsForNoneThatItDoesNotDependOn(t *testing.T) {
	r := open(t, registry.Config{
		Bundled: []registry.Bundled{bundled(t, "a-jail", "hang"), bundled(t, "docker", "good"), bundled(t, "host", "host")},
		// Longer than eventually waits.
		HealthWait: time.Minute, StartTimeout: time.Minute,
	})
	done := make(chan error, 1)
	go func() {
		choice, err := r.Choose(t.Context(), negotiate.Request{})
		if err == nil && (choice.Actual != "docker" || len(choice.Rejected) != 1 || choice.Rejected[0].Reason != driver.Timeout) {
			err = fmt.Errorf("%+v", choice)
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it waits for the driver that hangs")
	}
}
