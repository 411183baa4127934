package guest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestFAHelperThatStandsStillIsNotDead: what is to be sent to it waits, and goes
// out when it goes on. One that never does ends the connection. Issue 6, row F.
func TestFAHelperThatStandsStillIsNotDead(t *testing.T) {
	for name, c := range map[string]struct {
		still time.Duration
		want  error
	}{"half a minute": {30 * time.Second, nil}, "ten minutes": {10 * time.Minute, nil}, "for ever": {24 * time.Hour, errStuck}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOutbox()
				if err := o.send(context.Background(), make([]byte, outboxSize)); err != nil {
					t.Fatal(err)
				}
				sent := make(chan error, 1)
				go func() { sent <- o.send(context.Background(), []byte("more")) }()
				time.Sleep(c.still)
				if _, err := o.Read(make([]byte, outboxSize)); err != nil {
					t.Fatal(err)
				}
				if err := <-sent; !errors.Is(err, c.want) {
					t.Errorf("sending gave %v, want %v", err, c.want)
				}
			})
		})
	}
}
