package egress

import (
	"slices"
	"sync"
	"time"
)

// Bounds of what is remembered and told of one workspace.
const (
	maxEntries  = 200
	tellPeriod  = 10 * time.Second
	maxTold     = 20 // in a period
	maxGrants   = 500
	maxObserved = 1000
)

// Entry is a refusal, and how often there was the same.
type Entry struct {
	Refusal
	Count int
	First time.Time
	Last  time.Time
}

// journal keeps a workspace's last refusals, each once.
type journal struct {
	mu      sync.Mutex
	entries []Entry // by Last
	since   time.Time
	told    int
}

// add notes a refusal. It says whether to tell of it: the first, second, fourth,
// eighth… of its kind, and only so many in a while.
func (j *journal) add(r Refusal, now time.Time) (tell bool, count int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := Entry{Refusal: r, First: now}
	if i := slices.IndexFunc(j.entries, func(e Entry) bool { return e.Refusal == r }); i >= 0 {
		e = j.entries[i]
		j.entries = slices.Delete(j.entries, i, i+1)
	}
	e.Count++
	e.Last = now
	if j.entries = append(j.entries, e); len(j.entries) > maxEntries {
		j.entries = slices.Delete(j.entries, 0, 1)
	}
	if now.Sub(j.since) > tellPeriod {
		j.since, j.told = now, 0
	}
	if e.Count&(e.Count-1) != 0 || j.told >= maxTold {
		return false, e.Count
	}
	j.told++
	return true, e.Count
}

// list is all that is remembered, the last one last.
func (j *journal) list() []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.entries)
}
