package proc

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplitProcargs(t *testing.T) {
	data := "\x02\x00\x00\x00/bin/sh\x00\x00\x00\x00sh\x00a b\x00A=1\x00SERO_EXEC_ID=x-1\x00\x00"
	argv, environ := splitProcargs([]byte(data))
	if got := joinArguments(argv); got != "sh a b" {
		t.Errorf("arguments: %q", got)
	}
	if got := markerIn(environ); got != "x-1" {
		t.Errorf("marker: %q", got)
	}
	for _, cut := range []string{"", "\x01", "\x01\x00\x00\x00", "\x01\x00\x00\x00/bin/sh", "\x09\x00\x00\x00/bin/sh\x00sh\x00", "\xff\xff\xff\xff/x\x00y\x00"} {
		if argv, environ := splitProcargs([]byte(cut)); argv != nil || environ != nil {
			t.Errorf("%q: %q, %q", cut, argv, environ)
		}
	}
}

func TestMarkerIn(t *testing.T) {
	for environ, want := range map[string]string{
		"":                              "",
		"XSERO_EXEC_ID=no\x00":          "",
		"A=SERO_EXEC_ID=no\x00":         "",
		"A=1\x00SERO_EXEC_ID=yes\x00B=": "yes",
	} {
		if got := markerIn([]byte(environ)); got != want {
			t.Errorf("%q: %q", environ, got)
		}
	}
}

func TestJoinArguments(t *testing.T) {
	for argv, want := range map[string]string{
		"":                       "",
		"node\x00server.js\x00":  "node server.js",
		"sh\x00-c\x00a\nb\x1b[0": "sh -c a b [0",
		"bad\xff\x00":            "bad?",
		strings.Repeat("ä", 100): strings.Repeat("ä", 60) + "…",
	} {
		if got := joinArguments([]byte(argv)); got != want {
			t.Errorf("%q: %q", argv, got)
		}
	}
}

func TestSnapshotHasThisProcess(t *testing.T) {
	table, err := Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	self, ok := table.Get(os.Getpid())
	if !ok || self.Parent != os.Getppid() || self.Zombie {
		t.Errorf("got %+v, %t", self, ok)
	}
	alone, err := Read(os.Getpid())
	if err != nil || alone.ID != self.ID {
		t.Errorf("got %+v, %v", alone, err)
	}
}

// process makes an entry; its start time is its number.
func process(pid, parent, session int) Process {
	return Process{ID: ID{PID: pid, Start: uint64(pid)}, Parent: parent, Group: session, Session: session}
}

func assigned(trees map[string]*Tree, processes []Process, markers map[int]string) map[string][]int {
	table := NewTable(processes)
	for _, p := range processes {
		table.markers[p.PID] = markers[p.PID]
	}
	var all []*Tree
	for _, tree := range trees {
		all = append(all, tree)
	}
	out := make(map[string][]int)
	members := Assign(table, all)
	for name, tree := range trees {
		for _, p := range processes {
			for _, m := range members[tree] {
				if m.ID == p.ID {
					out[name] = append(out[name], p.PID)
				}
			}
		}
	}
	return out
}

func TestAssign(t *testing.T) {
	a, b := NewTree("a", ID{PID: 100001, Start: 100001}), NewTree("b", ID{PID: 100002, Start: 100002})
	trees := map[string]*Tree{"a": a, "b": b}
	markers := map[int]string{100040: "b", 100050: "c"}
	got := assigned(trees, []Process{
		process(1, 0, 1),
		process(100001, 1, 100001),      // leader
		process(100010, 1, 100001),      // in its session
		process(100020, 100001, 100020), // its child, in another session
		process(100021, 100020, 100020), // and that one's
		process(100002, 1, 100002),
		process(100040, 1, 100040),      // by its marker only
		process(100041, 100040, 100041), // child of that
		process(100050, 1, 100050),      // somebody else's marker
		process(100060, 100061, 100060), // a circle
		process(100061, 100060, 100061),
		process(os.Getpid(), 100001, 100001), // never this process
	}, markers)
	want := map[string][]int{"a": {100001, 100010, 100020, 100021}, "b": {100002, 100040, 100041}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	// Who belonged does so without parent, session and marker.
	got = assigned(trees, []Process{process(100021, 1, 100021), process(100041, 1, 100041)}, nil)
	if diff := cmp.Diff(map[string][]int{"a": {100021}, "b": {100041}}, got); diff != "" {
		t.Fatal(diff)
	}
	// A number that was used again is somebody else.
	again := process(100021, 1, 100021)
	again.Start++
	leader := process(100001, 1, 100001)
	leader.Start++
	got = assigned(trees, []Process{again, leader, process(100070, 1, 100001)}, nil)
	if diff := cmp.Diff(map[string][]int{}, got); diff != "" {
		t.Fatal(diff)
	}
}
