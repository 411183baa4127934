package conformance

import "testing"

// TestFAliveKnowsZombies: a process that has ended is not alive, whatever its name.
// Issue 6, row F.
func TestFAliveKnowsZombies(t *testing.T) {
	rest := " 1 7 7 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 "
	for stat, want := range map[string]bool{
		"7 (sleep) S" + rest + "1 0": true, "7 (sleep) T" + rest + "1 0": true, "7 (x) Z 1 (y) R" + rest + "1 0": true,
		"7 (sleep) Z" + rest + "1 0": false, "7 (a\nb) Z" + rest + "1 0": false, "7 (sleep) X" + rest + "0 0": false,
		"7 (server) Z" + rest + "12 0": true, "7 (cut)": false,
	} {
		if got := livesByStat(stat); got != want {
			t.Errorf("%q: %t, want %t", stat, got, want)
		}
	}
}
