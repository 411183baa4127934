// Package proc finds the processes that belong to a command, whatever they did
// to get away from it, and ends them.
package proc

import (
	"maps"
	"os"
	"slices"
)

// MarkerEnv is the environment variable that every command carries. Its value
// is unique to the command, and all that it starts inherits it.
const MarkerEnv = "SERO_EXEC_ID"

// ID is one process for good: numbers are used again, a number with its start
// time is not.
type ID struct {
	PID   int
	Start uint64 // the system's unit; only compared
}

// Process is one process as the system tells it.
type Process struct {
	ID
	Parent  int
	Group   int
	Session int
	Zombie  bool // ended, not yet waited for
	Stopped bool // by a signal, as ^Z does
}

// Table is every process of the machine at one moment. It is not safe for
// concurrent use.
type Table struct {
	processes map[int]Process
	children  map[int][]int
	markers   map[int]string
}

// NewTable makes a Table of processes.
func NewTable(processes []Process) *Table {
	t := &Table{
		processes: make(map[int]Process, len(processes)),
		children:  make(map[int][]int),
		markers:   make(map[int]string),
	}
	for _, p := range processes {
		t.processes[p.PID] = p
		t.children[p.Parent] = append(t.children[p.Parent], p.PID)
	}
	return t
}

// Snapshot is the Table of now. Processes that come and go while it is made may
// be in it or not.
func Snapshot() (*Table, error) {
	processes, err := list()
	if err != nil {
		return nil, err
	}
	return NewTable(processes), nil
}

// Get is the process with a number.
func (t *Table) Get(pid int) (Process, bool) {
	p, ok := t.processes[pid]
	return p, ok
}

// Children are the processes whose parent is pid, ordered by number.
func (t *Table) Children(pid int) []Process {
	var out []Process
	for _, child := range t.children[pid] {
		out = append(out, t.processes[child])
	}
	slices.SortFunc(out, func(a, b Process) int { return a.PID - b.PID })
	return out
}

// Below is the part of the table that descends from pid, without pid itself.
func (t *Table) Below(pid int) *Table {
	var found []Process
	seen := map[int]bool{pid: true}
	queue := []int{pid}
	for len(queue) > 0 {
		for _, child := range t.children[queue[0]] {
			if !seen[child] {
				seen[child] = true
				found = append(found, t.processes[child])
				queue = append(queue, child)
			}
		}
		queue = queue[1:]
	}
	return NewTable(found)
}

// marker is the value of MarkerEnv in a process's environment; empty when there
// is none or the system does not tell.
func (t *Table) marker(p Process) string {
	if p.Zombie {
		return ""
	}
	m, ok := t.markers[p.PID]
	if !ok {
		m = Marker(p.PID)
		t.markers[p.PID] = m
	}
	return m
}

// untouchable tells of processes that are never anybody's: the system's first,
// and this one.
func untouchable(pid int) bool { return pid <= 1 || pid == os.Getpid() }

// All are the processes of the table, in no order.
func (t *Table) All() []Process { return slices.Collect(maps.Values(t.processes)) }
