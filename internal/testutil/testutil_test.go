package testutil

import (
	"runtime"
	"testing"
)

// recorder notes how a test was ended.
type recorder struct {
	testing.TB
	skipped, failed bool
}

func (r *recorder) Helper() {}

func (r *recorder) Skipf(string, ...any) {
	r.skipped = true
	runtime.Goexit()
}

func (r *recorder) Fatalf(string, ...any) {
	r.failed = true
	runtime.Goexit()
}

func TestMissing(t *testing.T) {
	for _, test := range []struct {
		require string
		fails   bool
	}{
		{"", false},
		{"race", false},
		{"dockerless", false},
		{"docker", true},
		{"race, docker", true},
		{"all", true},
	} {
		t.Run(test.require, func(t *testing.T) {
			t.Setenv(RequireVariable, test.require)
			r := &recorder{TB: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				Missing(r, "docker", "no engine answers")
			}()
			<-done
			if r.failed != test.fails || r.skipped == test.fails {
				t.Errorf("failed %v, skipped %v; want failed %v", r.failed, r.skipped, test.fails)
			}
		})
	}
}

// A port that was free once is not given again: tests ask for two before they use
// the first. Issue 6, row F.
func TestFNoPortIsGivenTwice(t *testing.T) {
	seen := map[uint16]bool{}
	for range 500 {
		port := FreePort(t)
		if seen[port] {
			t.Fatalf("port %d came twice", port)
		}
		seen[port] = true
	}
}
