//go:build linux

package agent

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sero-labs/sero-runtime/core/guest/frame"
)

// TestTheHostStaysForTheWordOfAnEnd: a command that ends while no daemon runs is
// told of when one does, a day later at most.
func TestTheHostStaysForTheWordOfAnEnd(t *testing.T) {
	a, err := newAgent(filepath.Join(t.TempDir(), "a.sock"))
	if err != nil {
		t.Fatal(err)
	}
	a.idle.Stop() // it is not of the time below
	t.Cleanup(func() { _ = a.listener.Close(); _ = a.lock.Close() })
	synctest.Test(t, func(t *testing.T) {
		s := &session{exec: &frame.Exec{ExecID: "dev", Keep: 1}, done: make(chan struct{})}
		a.sessions = newSessions(nil)
		a.sessions.all = []*session{s}
		a.mu.Lock()
		a.idle = time.AfterFunc(idleLimit, a.endIfIdle)
		a.mu.Unlock()
		over := func() bool {
			synctest.Wait()
			a.mu.Lock()
			defer a.mu.Unlock()
			return a.over
		}
		time.Sleep(48 * time.Hour)
		if over() {
			t.Fatal("it ended while a command ran")
		}
		s.ended, s.exit = time.Now(), &frame.Exit{Code: 7}
		close(s.done)
		time.Sleep(askedWithin - idleLimit)
		if over() {
			t.Fatal("it ended before anybody could ask")
		}
		time.Sleep(2 * idleLimit)
		if !over() {
			t.Fatal("it waits for ever")
		}
	})
}

// TestTheHostEndsOnceTheEndIsTold: what nobody needs any more does not hold it.
func TestTheHostEndsOnceTheEndIsTold(t *testing.T) {
	s := &session{exec: &frame.Exec{ExecID: "dev", Keep: 1}, done: make(chan struct{}), ended: time.Now()}
	close(s.done)
	all := newSessions(nil)
	all.all = []*session{s}
	if !all.needed() {
		t.Error("nobody was told yet, and it is not needed")
	}
	all.forget(s)
	if all.needed() {
		t.Error("it was told, and is still needed")
	}
	all.all = []*session{{exec: &frame.Exec{ExecID: "detached"}, done: s.done, ended: time.Now()}}
	if all.needed() {
		t.Error("of what keeps nothing nobody asks, and it is needed")
	}
}
