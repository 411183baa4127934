package proc

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseStat(t *testing.T) {
	const tail = " 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 424242 1000 200"
	for line, want := range map[string]Process{
		"7 (sh) S" + tail:            {ID: ID{7, 424242}, Parent: 1, Group: 2, Session: 3},
		"7 (a) Z (b)) Z" + tail:      {ID: ID{7, 424242}, Parent: 1, Group: 2, Session: 3, Zombie: true},
		"7 (new\nline ) ) T" + tail:  {ID: ID{7, 424242}, Parent: 1, Group: 2, Session: 3, Stopped: true},
		"7 (sh) S" + tail + " 18446": {ID: ID{7, 424242}, Parent: 1, Group: 2, Session: 3},
	} {
		got, err := parseStat(7, []byte(line))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v %s", line, err, diff)
		}
	}
	for _, line := range []string{"", "7", "7 (sh)", "7 (sh) S 1 2", "7 (sh) S x" + tail, "7 (sh) "} {
		if got, err := parseStat(7, []byte(line)); err == nil {
			t.Errorf("%q: got %+v", line, got)
		}
	}
}
