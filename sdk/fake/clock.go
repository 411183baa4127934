package fake

import (
	"context"
	"sync"
	"time"
)

// Clock is the driver's time: what sleep, delays and scripted steps wait for.
// Kill grace is real time with either clock.
type Clock interface {
	Now() time.Time
	// Sleep waits for d, or returns ctx's cause.
	Sleep(ctx context.Context, d time.Duration) error
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

func (realClock) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Epoch is when a manual clock starts.
var Epoch = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// ManualClock stands still until it is advanced. The zero value is at Epoch.
type ManualClock struct {
	mu      sync.Mutex
	elapsed time.Duration
	moved   chan struct{} // closed and replaced by Advance
	waiting int
}

// Now is Epoch and what was advanced since.
func (c *ManualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Epoch.Add(c.elapsed)
}

// Advance moves the clock and wakes who has waited long enough.
func (c *ManualClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.elapsed += d
	if c.moved != nil {
		close(c.moved)
		c.moved = nil
	}
}

// Waiting is how many Sleeps are under way, so that a test can advance when the
// driver has come to the point it wants.
func (c *ManualClock) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting
}

// Sleep waits until the clock has been advanced by d.
func (c *ManualClock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	until := c.elapsed + d
	c.waiting++
	defer func() { c.waiting-- }()
	for c.elapsed < until {
		if c.moved == nil {
			c.moved = make(chan struct{})
		}
		moved := c.moved
		c.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
		}
		c.mu.Lock()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}
