// Package conformance holds a driver binary to the contract of sdk/driver and
// sero.driver.v1. Each [Case] is a sentence of the contract. The suite launches
// the built binary as sero does and talks to it over the real wire; what only
// the wire shows (frames, unknown fields, the lifeline) it looks at there.
//
// From a driver's own tests:
//
//	func TestMain(m *testing.M) {
//		conformance.HostMain()
//		os.Exit(m.Run())
//	}
//
//	func TestConformance(t *testing.T) {
//		conformance.Run(t, conformance.Config{Path: build(t)})
//	}
//
// From a program, [Check] gives a [Report]. A driver in any language is tested
// by `sero driver test PATH`.
//
// A capability that the driver declares is tested; one that it does not declare
// must be refused. Cases whose surroundings are missing (no engine, no image)
// say so and leave the verdict open.
//
// Commands in sandboxes are small POSIX shell scripts, so a sandbox's image
// needs sh and the usual tools. Every sandbox of a run carries the label
// dev.sero.conformance and is removed at its end.
package conformance
