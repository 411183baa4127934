package guest_test

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/core/guest"
	"github.com/sero-labs/sero-runtime/core/guest/frame"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// losing is a helper whose first connections break when they are given a command.
type losing struct {
	loses  int                              // connections
	names  bool                             // it names its connections
	answer func(stream uint64) *frame.Frame // to a claim; nil ends the connection

	mu          sync.Mutex
	connections int
	given       int // commands
	claims      []frame.Claim
	lost        []frame.Claim // the commands on connections that broke
}

func (h *losing) run(in io.Reader, out io.Writer) {
	h.mu.Lock()
	h.connections++
	n := h.connections
	h.mu.Unlock()
	name := ""
	if h.names {
		name = strings.Repeat("c", n)
	}
	say(out, &frame.Frame{Hello: &frame.Hello{Version: frame.Version, Connection: name}})
	for f := listen(in); f != nil; f = listen(in) {
		if f.Open == nil {
			continue
		}
		exit := &frame.Frame{Stream: f.Stream, Exit: &frame.Exit{}}
		switch {
		case f.Open.Clock:
			say(out, &frame.Frame{Stream: f.Stream, Clock: 1}, exit)
		case f.Open.Claim != nil:
			h.mu.Lock()
			h.claims = append(h.claims, *f.Open.Claim)
			h.mu.Unlock()
			answer := h.answer(f.Stream)
			if answer == nil {
				return
			}
			say(out, answer)
		case f.Open.Exec != nil:
			h.mu.Lock()
			h.given++
			if n <= h.loses {
				h.lost = append(h.lost, frame.Claim{Connection: name, Stream: f.Stream})
			}
			h.mu.Unlock()
			if n <= h.loses {
				return
			}
			say(out, &frame.Frame{Stream: f.Stream, Started: &frame.Started{PID: 7}}, exit)
		}
	}
}

// TestFALostCommandIsGivenAgainOnlyWhereItNeverBegins: the connection breaks once a
// command was sent. The command is given to the helper again where that says that it
// has not begun and never will, and in no other case. Issue 6, row F.
func TestFALostCommandIsGivenAgainOnlyWhereItNeverBegins(t *testing.T) {
	never := func(stream uint64) *frame.Frame { return &frame.Frame{Stream: stream, Exit: &frame.Exit{}} }
	begun := func(stream uint64) *frame.Frame {
		return &frame.Frame{Stream: stream, Error: &frame.Error{Reason: "ALREADY_EXISTS", Message: "it has begun"}}
	}
	silent := func(uint64) *frame.Frame { return nil }
	for name, c := range map[string]struct {
		loses  int
		names  bool
		answer func(uint64) *frame.Frame
		given  int
		works  bool
	}{
		"nothing breaks":           {0, true, begun, 1, true},
		"it never begins":          {1, true, never, 2, true},
		"it never begins, twice":   {2, true, never, 3, true},
		"it never begins, forever": {99, true, never, 4, false},
		"it has begun":             {1, true, begun, 1, false},
		"an older helper":          {1, false, never, 1, false},
		"no answer":                {1, true, silent, 1, false},
	} {
		for _, kept := range []bool{false, true} {
			t.Run(map[bool]string{false: name, true: name + ", kept"}[kept], func(t *testing.T) {
				h := &losing{loses: c.loses, names: c.names, answer: c.answer}
				g := guestOf(t, "losing", byDriver, fakeHelper{run: h.run})
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, io.ErrNoProgress)
				defer cancel()
				started := 0
				stdio := driver.ExecIO{Started: func(int64) { started++ }}
				spec := driver.ExecSpec{Argv: []string{"true"}, Dir: "/", ExecID: "x"}
				var err error
				if kept {
					_, err = g.ExecKept(ctx, spec, guest.Keep{Bytes: 1}, stdio)
				} else {
					_, err = g.Exec(ctx, spec, stdio)
				}
				h.mu.Lock()
				defer h.mu.Unlock()
				if (err == nil) != c.works || h.given != c.given || started > 1 {
					t.Errorf("given %d times, begun %d times: %v", h.given, started, err)
				}
				if err != nil && (!strings.Contains(err.Error(), "may have begun") || driver.AsError(err).Retryable) {
					t.Errorf("the error is of a command that may be run again: %v", err)
				}
				if c.names {
					for i, claim := range h.claims {
						if claim != h.lost[i] {
							t.Errorf("asked about %+v, lost %+v", claim, h.lost[i])
						}
					}
				} else if len(h.claims) > 0 {
					t.Errorf("an older helper was asked %+v", h.claims)
				}
			})
		}
	}
}
