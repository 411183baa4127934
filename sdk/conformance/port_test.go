package conformance

import "testing"

// TestFNoPortIsGivenTwice: cases ask for two ports before they use the first. Issue 6,
// row F.
func TestFNoPortIsGivenTwice(t *testing.T) {
	s := &Session{r: &runner{}}
	seen := map[int]bool{}
	for range 500 {
		c := &recorder{}
		port := s.freePort(c)
		if seen[port] || c.failed {
			t.Fatalf("port %d came twice, or none is free: %v", port, c.lines)
		}
		seen[port] = true
	}
}
