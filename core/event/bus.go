// Package event tells whoever watches what happens to workspaces, dev servers
// and drivers. Events are a convenience, not a record: the last thousand are
// kept, and a watcher that is too slow is told how many it missed.
package event

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Kept is how many events a Bus keeps.
const Kept = 1000

// Type is what happened: one of this package's constants, or a later one.
type Type string

// Event is one thing that happened.
type Event struct {
	Sequence    uint64 // grows by one with each event of a Bus
	Time        time.Time
	Type        Type
	WorkspaceID string // the workspace it is about, if any
	Subject     string // the dev server or driver it is about, if any
	Name        string // of the dev server it is about, if any
	UID         string // of the dev server it is about, if any; it never changes
	Message     string // one line for people
}

// Bus carries events from those who publish to those who watch. Watchers read
// from one ring at their own speed, so that none can hold up a publisher or
// make the Bus grow. Its zero value is ready to use.
type Bus struct {
	mu     sync.Mutex
	ring   [Kept]Event
	last   uint64        // sequence of the newest event, 0 before the first
	wakeup chan struct{} // closed by the next Publish; nil when nobody waits
}

// NewBus makes an empty Bus.
func NewBus() *Bus { return new(Bus) }

// Publish adds an event. Sequence and Time are set here; the other fields are
// the caller's. It never blocks. A nil Bus drops it.
func (b *Bus) Publish(e Event) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	e.Sequence, e.Time = b.last, time.Now()
	b.ring[b.last%Kept] = e
	if b.wakeup != nil {
		close(b.wakeup)
		b.wakeup = nil
	}
}

// Last is the sequence number of the newest event, 0 before the first.
func (b *Bus) Last() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

// Watch calls report for each event after the sequence number since, in order,
// one at a time. With follow it goes on until ctx ends or report fails, and
// returns that error; without, it returns nil once what is kept is reported.
// Zero for since means all that are kept without follow, and only new ones
// with it.
//
// Events that are no longer kept, or that belong to an earlier daemon's life,
// are announced by one event of type Dropped in their place.
func (b *Bus) Watch(ctx context.Context, since uint64, follow bool, report func(Event) error) error {
	position := since
	switch last := b.Last(); {
	case since == 0 && follow:
		position = last
	case since > last:
		dropped := Event{
			Time: time.Now(), Type: Dropped,
			Message: fmt.Sprintf("sequence %d is not of this daemon, which is at %d: all that is kept follows", since, last),
		}
		if err := report(dropped); err != nil {
			return err
		}
		position = 0
	}
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		e, wait := b.next(position, since == 0 && !follow)
		if wait != nil {
			if !follow {
				return nil
			}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-wait:
			}
			continue
		}
		if err := report(e); err != nil {
			return err
		}
		position = e.Sequence
	}
}

// next is the first event after a position, or the channel to wait on. fromStart
// says that the watcher asked for what is kept, so nothing before it was lost.
func (b *Bus) next(position uint64, fromStart bool) (Event, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if position >= b.last {
		if b.wakeup == nil {
			b.wakeup = make(chan struct{})
		}
		return Event{}, b.wakeup
	}
	oldest := uint64(1)
	if b.last > Kept {
		oldest = b.last - Kept + 1
	}
	if position+1 >= oldest {
		return b.ring[(position+1)%Kept], nil
	}
	if fromStart && position == 0 {
		return b.ring[oldest%Kept], nil
	}
	return Event{
		Sequence: oldest - 1,
		Time:     time.Now(),
		Type:     Dropped,
		Message:  fmt.Sprintf("%d events were dropped", oldest-1-position),
	}, nil
}
