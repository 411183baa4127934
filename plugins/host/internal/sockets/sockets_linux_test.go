package sockets

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// A look is made several times a second, for as long as a sandbox runs.
func TestChangedAllocatesNothing(t *testing.T) {
	var f Finder
	defer f.Close()
	if _, err := f.Find([]int{1}); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { f.Changed() }); n > 0 {
		t.Errorf("a look makes %v allocations", n)
	}
}

func TestTakeRefusesNonsense(t *testing.T) {
	for name, part := range map[string][]byte{
		"half a header":        make([]byte, unix.SizeofNlMsghdr-1),
		"no size":              make([]byte, unix.SizeofNlMsghdr),
		"larger than the part": append([]byte{200, 0, 0, 200}, make([]byte, unix.SizeofNlMsghdr)...),
	} {
		if _, err := new(finder).take(part); !errors.Is(err, unix.EPROTO) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
