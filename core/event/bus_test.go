package event_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/sero-labs/sero-runtime/core/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errEnough = errors.New("enough")

func publish(b *event.Bus, from, to int) {
	for i := from; i <= to; i++ {
		b.Publish(event.Event{Type: event.DevServerRunning, Subject: fmt.Sprint(i)})
	}
}

func read(t *testing.T, b *event.Bus, since uint64) []event.Event {
	t.Helper()
	var got []event.Event
	err := b.Watch(t.Context(), since, false, func(e event.Event) error {
		got = append(got, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestWatchKept(t *testing.T) {
	b := event.NewBus()
	if got := read(t, b, 0); len(got) != 0 {
		t.Fatalf("an empty bus reported %v", got)
	}
	publish(b, 1, 5)
	got := read(t, b, 3)
	if len(got) != 2 || got[0].Sequence != 4 || got[1].Sequence != 5 || got[1].Subject != "5" {
		t.Fatalf("since 3: %v", got)
	}
	if got := read(t, b, 5); len(got) != 0 {
		t.Fatalf("since the last: %v", got)
	}
	publish(b, 6, event.Kept+10)
	if got := read(t, b, 0); len(got) != event.Kept || got[0].Sequence != 11 || got[0].Type == event.Dropped {
		t.Fatalf("all that is kept: %d, the first %+v", len(got), got[0])
	}
	got = read(t, b, 5)
	if got[0].Type != event.Dropped || got[0].Sequence != 10 || got[0].Message != "5 events were dropped" || got[1].Sequence != 11 {
		t.Fatalf("a gap: %+v %+v", got[0], got[1])
	}
	if got := read(t, b, 1<<40); got[0].Type != event.Dropped {
		t.Fatalf("a sequence of another life: %+v", got[0])
	}
}

func TestWatchFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := event.NewBus()
		publish(b, 1, 3)
		var got []uint64
		ctx, cancel := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			err := b.Watch(ctx, 0, true, func(e event.Event) error {
				got = append(got, e.Sequence)
				return nil
			})
			if !errors.Is(err, errEnough) {
				t.Errorf("watch ended with %v", err)
			}
		})
		synctest.Wait()
		publish(b, 4, 5)
		synctest.Wait()
		cancel(errEnough)
		wg.Wait()
		if fmt.Sprint(got) != "[4 5]" {
			t.Fatalf("only new ones: %v", got)
		}
	})
}

func TestSlowWatcherNeverBlocksAndIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := event.NewBus()
		stuck := make(chan struct{})
		var got []event.Event
		var wg sync.WaitGroup
		wg.Go(func() {
			_ = b.Watch(t.Context(), 0, true, func(e event.Event) error {
				if len(got) == 0 {
					<-stuck
				}
				if got = append(got, e); e.Sequence == 5000 {
					return errEnough
				}
				return nil
			})
		})
		synctest.Wait()
		publish(b, 1, 1)
		synctest.Wait()
		publish(b, 2, 5000) // returns although the watcher takes nothing
		close(stuck)
		wg.Wait()
		if len(got) != event.Kept+2 || got[1].Type != event.Dropped || got[1].Message != "3999 events were dropped" {
			t.Fatalf("%d events, the second %+v", len(got), got[1])
		}
	})
}

func TestReportErrorEndsWatch(t *testing.T) {
	b := event.NewBus()
	publish(b, 1, 3)
	calls := 0
	err := b.Watch(t.Context(), 0, false, func(event.Event) error { calls++; return errEnough })
	if !errors.Is(err, errEnough) || calls != 1 {
		t.Fatalf("%v after %d calls", err, calls)
	}
}

func TestConcurrentPublishersAndWatchers(t *testing.T) {
	b := event.NewBus()
	const total = 800
	var watchers, publishers sync.WaitGroup
	publish(b, 1, 1) // so that 1 is of this bus
	for range 4 {
		watchers.Go(func() {
			var last uint64
			err := b.Watch(t.Context(), 0, false, func(event.Event) error { return nil })
			if err != nil {
				t.Error(err)
			}
			_ = b.Watch(t.Context(), 1, true, func(e event.Event) error {
				if e.Sequence <= last {
					t.Errorf("%d after %d", e.Sequence, last)
				}
				if last = e.Sequence; last == total {
					return errEnough
				}
				return nil
			})
		})
	}
	for range total - 1 {
		publishers.Go(func() { publish(b, 1, 1) })
	}
	publishers.Wait()
	watchers.Wait()
}
