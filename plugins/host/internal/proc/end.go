package proc

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Politeness is how processes are asked to end before they are killed.
type Politeness struct {
	Hangup bool          // SIGHUP first, as a terminal that goes away does
	Grace  time.Duration // from the first signal to SIGKILL
}

// killLimit bounds the wait for killed processes to go: one that hangs in the
// kernel may stay for ever.
const killLimit = 5 * time.Second

// End ends the processes that find gives, asking it again until it gives none:
// SIGTERM once each (after SIGHUP and half the grace where that is asked), and
// SIGKILL after the grace. It returns ctx's cause when ctx ends first, and an
// error when processes survive SIGKILL.
func End(ctx context.Context, find func() ([]Process, error), how Politeness) error {
	e := &ending{how: how, began: time.Now(), sent: make(map[ID]unix.Signal), group: make(map[int]unix.Signal)}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for pause := time.Millisecond; ; pause = min(2*pause, 40*time.Millisecond) {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		processes, err := find()
		if err != nil {
			return err
		}
		left := e.signal(processes)
		if left == 0 {
			return nil
		}
		if time.Since(e.began) > how.Grace+killLimit {
			return fmt.Errorf("%d processes do not end, even killed", left)
		}
		timer.Reset(min(pause, e.untilNext()))
	}
}

type ending struct {
	how   Politeness
	began time.Time
	sent  map[ID]unix.Signal
	group map[int]unix.Signal // sent to whole groups
}

// now is the signal whose time it is.
func (e *ending) now() unix.Signal {
	passed := time.Since(e.began)
	switch {
	case passed >= e.how.Grace:
		return unix.SIGKILL
	case e.how.Hangup && passed < e.how.Grace/2:
		return unix.SIGHUP
	default:
		return unix.SIGTERM
	}
}

// untilNext is the time until another signal's turn.
func (e *ending) untilNext() time.Duration {
	passed := time.Since(e.began)
	for _, turn := range []time.Duration{e.how.Grace / 2, e.how.Grace} {
		if passed < turn {
			return turn - passed
		}
	}
	return time.Hour
}

// signal sends the signal of the moment to what has not had it and returns how
// many are alive.
func (e *ending) signal(processes []Process) (alive int) {
	sig := e.now()
	round := make(map[int]bool) // groups that had it in this round
	for _, p := range processes {
		if p.Zombie {
			continue
		}
		alive++
		if e.sent[p.ID] == sig && sig != unix.SIGKILL {
			continue
		}
		// A whole group at once leaves no room for one that forks meanwhile.
		// A group never holds processes of two commands, for each command has
		// a session of its own. One that was missed gets the signal alone, so
		// that the others do not get it twice.
		switch {
		case round[p.Group]:
		case inOwnSession(p) && (e.group[p.Group] != sig || sig == unix.SIGKILL):
			round[p.Group] = true
			e.group[p.Group] = sig
			_ = unix.Kill(-p.Group, sig) // may have ended meanwhile
		default:
			_ = unix.Kill(p.PID, sig)
		}
		e.sent[p.ID] = sig
		if p.Stopped {
			_ = unix.Kill(p.PID, unix.SIGCONT) // while stopped it would not take the signal
		}
	}
	return alive
}

// inOwnSession tells of a process whose group can be signalled as a whole: one
// that is in neither the session nor the group of this process.
func inOwnSession(p Process) bool {
	own, err := unix.Getsid(0)
	return err == nil && p.Group > 1 && p.Session > 1 && p.Session != own && p.Group != unix.Getpgrp() && p.Group != os.Getpid()
}
