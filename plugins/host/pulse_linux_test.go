package host

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestPulse(t *testing.T) {
	p, err := newPulse(t.Context(), time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := p.wait(); err != nil {
			t.Fatal(err)
		}
	}
	p.close()
	if p.wait() == nil {
		t.Error("it beats although it is closed")
	}
}

func TestPulseEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	p, err := newPulse(ctx, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	done := make(chan error, 1)
	go func() { done <- p.wait() }()
	cancel(errors.New("enough"))
	select {
	case err := <-done:
		if err == nil {
			t.Error("there was a beat")
		}
	case <-time.After(patience):
		t.Error("it waits on")
	}
}
