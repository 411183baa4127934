package proc

import (
	"maps"
	"strings"
)

// Tree is what is known of one command's processes. A process belongs to it
// when it is the leader, is in the leader's session, carries the marker, has a
// parent that belongs, or belonged when it was last seen.
type Tree struct {
	Marker string // empty: none
	Leader ID
	known  map[int]uint64 // start times by number
}

// NewTree makes a Tree of a command that was started as a session leader.
func NewTree(marker string, leader ID) *Tree {
	return &Tree{Marker: marker, Leader: leader, known: map[int]uint64{leader.PID: leader.Start}}
}

// Assign finds for each process of the table the tree that it belongs to, and
// lets the trees remember. The result has each tree's processes, zombies too;
// a process in no tree is in none.
func Assign(table *Table, trees []*Tree) map[*Tree][]Process {
	a := newAssignment(table, trees)
	for _, p := range table.processes {
		a.owner(p)
	}
	out := make(map[*Tree][]Process)
	for pid, tree := range a.owners {
		if tree != nil {
			out[tree] = append(out[tree], table.processes[pid])
		}
	}
	for _, tree := range trees {
		clear(tree.known)
		for _, p := range out[tree] {
			tree.known[p.PID] = p.Start
		}
	}
	return out
}

type assignment struct {
	table    *Table
	known    map[ID]*Tree
	sessions map[int]*Tree
	markers  map[string]*Tree
	owners   map[int]*Tree // by process number; nil: none, or being looked up
}

func newAssignment(table *Table, trees []*Tree) *assignment {
	a := &assignment{
		table:    table,
		known:    make(map[ID]*Tree),
		sessions: make(map[int]*Tree),
		markers:  make(map[string]*Tree),
		owners:   make(map[int]*Tree),
	}
	for _, tree := range trees {
		for pid, start := range maps.All(tree.known) {
			a.known[ID{PID: pid, Start: start}] = tree
		}
		if tree.Marker != "" {
			a.markers[tree.Marker] = tree
		}
		// A process with the leader's number that is not the leader means that
		// the session ended and its number went to somebody else.
		if p, ok := table.processes[tree.Leader.PID]; !ok || p.ID == tree.Leader {
			a.sessions[tree.Leader.PID] = tree
		}
	}
	return a
}

func (a *assignment) owner(p Process) *Tree {
	if tree, done := a.owners[p.PID]; done {
		return tree
	}
	a.owners[p.PID] = nil // ends a circle, which a table made while processes change may hold
	a.owners[p.PID] = a.find(p)
	return a.owners[p.PID]
}

func (a *assignment) find(p Process) *Tree {
	if untouchable(p.PID) {
		return nil
	}
	if tree, ok := a.known[p.ID]; ok {
		return tree
	}
	if tree, ok := a.sessions[p.Session]; ok {
		return tree
	}
	if parent, ok := a.table.processes[p.Parent]; ok && !untouchable(parent.PID) {
		if tree := a.owner(parent); tree != nil {
			return tree
		}
	}
	if len(a.markers) == 0 {
		return nil
	}
	return a.markers[a.table.marker(p)]
}

// Marked are the processes whose marker begins with prefix and everything that
// descends from them.
func Marked(table *Table, prefix string) []Process {
	var out []Process
	seen := make(map[int]bool)
	var add func(p Process)
	add = func(p Process) {
		if seen[p.PID] || untouchable(p.PID) {
			return
		}
		seen[p.PID] = true
		out = append(out, p)
		for _, child := range table.Children(p.PID) {
			add(child)
		}
	}
	for _, p := range table.processes {
		if strings.HasPrefix(table.marker(p), prefix) {
			add(p)
		}
	}
	return out
}
